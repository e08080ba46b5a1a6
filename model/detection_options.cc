#include "model/detection_options.h"

#include "absl/strings/str_cat.h"
#include "model/status_macros.h"

namespace ela {
namespace {

absl::Status CheckShare(absl::string_view name, float value) {
  if (value >= 0 && value <= 1) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, " is ", value, ", allowed are 0 to 1"));
}

absl::Status CheckCount(absl::string_view name, int32_t value, int32_t max) {
  if (value >= 1 && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, " is ", value, ", allowed are 1 to ", max));
}

}  // namespace

absl::Status CheckDetectionOptions(const DetectionOptions& options, int32_t num_classes) {
  ELA_RETURN_IF_ERROR(CheckShare("score_threshold", options.score_threshold));
  ELA_RETURN_IF_ERROR(CheckShare("iou_threshold", options.iou_threshold));
  ELA_RETURN_IF_ERROR(CheckCount("max_candidates", options.max_candidates, kMaxCandidates));
  ELA_RETURN_IF_ERROR(CheckCount("max_detections", options.max_detections, kMaxDetections));
  for (const int32_t id : options.classes) {
    if (id < 0 || id >= num_classes) {
      return absl::InvalidArgumentError(
          absl::StrCat("class ", id, " is unknown, this model has classes 0 to ", num_classes - 1));
    }
  }
  return absl::OkStatus();
}

}  // namespace ela
