// The golden format of a detector: config.json, model.safetensors, and cases.safetensors with, for
// case i from 0, image<i> [3, height, width] in 0 to 1, raw<i> [5 + classes, rows, columns],
// boxes<i> [cells, 4] as centre x, y, width, height in parts of the picture, scores<i> [cells] and
// classes<i> [cells], cells row by row.
#ifndef ELA_TESTS_GOLDEN_DETECTOR_H_
#define ELA_TESTS_GOLDEN_DETECTOR_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tests/golden_paths.h"

namespace ela::golden {

// The largest error of one kind over all cases of a directory; NaN when a value was NaN.
struct Deviation {
  std::string what;  // "raw ", …; empty when there is only one kind
  double error = 0, tolerance = 0;
};
using Outcome = std::vector<Deviation>;

using LoadDetector = absl::StatusOr<std::unique_ptr<DetectorModel>> (*)(const std::string&);

// Raw maps within 1e-4, boxes (read by model/vision/head.h) within half a pixel, scores within
// 1e-3, classes equal where the best two differ by more than that.
absl::StatusOr<Outcome> CheckDetector(const std::string& directory, LoadDetector load);

}  // namespace ela::golden

#endif  // ELA_TESTS_GOLDEN_DETECTOR_H_
