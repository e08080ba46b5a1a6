// The ranges of what a caller may ask of a detector, checked once where a request enters.
#ifndef ELA_MODEL_DETECTION_OPTIONS_H_
#define ELA_MODEL_DETECTION_OPTIONS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "model/detector.h"

namespace ela {

constexpr int32_t kMaxCandidates = 10000;
constexpr int32_t kMaxDetections = 1000;

// The first thing that is wrong, with its value and limit. NaN is out of every range.
// Errors: kInvalidArgument.
absl::Status CheckDetectionOptions(const DetectionOptions& options, int32_t num_classes);

}  // namespace ela

#endif  // ELA_MODEL_DETECTION_OPTIONS_H_
