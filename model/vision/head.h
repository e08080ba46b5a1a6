// Reads boxes and scores out of a network's raw maps (docs/detection.md 1.3 and 2.3). Plain C++ on
// borrowed memory: serving, the trainer's validation and the golden check share it.
#ifndef ELA_MODEL_VISION_HEAD_H_
#define ELA_MODEL_VISION_HEAD_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "model/detector.h"
#include "model/vision/boxes.h"
#include "model/vision/detector_config.h"

namespace ela {

// A raw map [channels, rows, columns] in any memory order. Borrowed.
struct MapView {
  const float* data = nullptr;
  int64_t channel_stride = 0;  // floats
  int64_t row_stride = 0;
  int64_t column_stride = 0;
  float At(int64_t channel, int64_t row, int64_t column) const {
    return data[channel * channel_stride + row * row_stride + column * column_stride];
  }
};

// One scale; see HeadOutput.
struct HeadMaps {
  MapView scores;
  MapView distances;  // kLatMs only
  int32_t rows = 0;
  int32_t columns = 0;
  int32_t stride = 0;  // input pixels per cell
};

// Scratch memory that one picture's reading needs; keeps its capacity. Thread-compatible.
struct HeadReading {
  std::vector<Box> boxes;     // [places], input pixels, not clipped; scale by scale, row-major
  std::vector<float> scores;  // [places, num_classes]
  Predictions AsPredictions(int32_t num_classes) const {
    return {boxes, scores, num_classes, /*every_class=*/false};
  }
};

// kLat, kLatDsc: centre (cell + sigmoid) * stride, size 2 * sigmoid * stride; score of a class
// sigmoid(objectness) * softmax(classes), objectness alone with one class.
// kLatMs: centre of a cell minus/plus stride * softplus(distance); score sigmoid per class.
// Places whose best score is under `threshold` are left out (0 keeps all): most cost one comparison
// of raw values. kDataLoss when a map that is read holds NaN or infinity.
absl::Status ReadHead(DetectorVariant variant, int32_t num_classes, absl::Span<const HeadMaps> maps,
                      float threshold, HeadReading* reading);

}  // namespace ela

#endif  // ELA_MODEL_VISION_HEAD_H_
