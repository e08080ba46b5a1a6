// What a detector checkpoint's config.json says, "model_type": "yolo_lat": the typed form and the
// checks. The network that follows from it is in network_plan.h.
#ifndef ELA_MODEL_VISION_DETECTOR_CONFIG_H_
#define ELA_MODEL_VISION_DETECTOR_CONFIG_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/detector.h"

namespace ela {

// kLat and kLatDsc are the paper's networks (docs/detection.md 1; paper section 7): one scale, a
// box of at most two cells. kLatMs is ours: three scales, unbounded distances (docs/detection.md
// 2).
enum class DetectorVariant : uint8_t { kLat, kLatDsc, kLatMs };

enum class Activation : uint8_t { kNone, kRelu, kSilu };

// What gathers context over all positions of a map. kSoftmax is there to be compared with in
// training; serving refuses it.
enum class ContextKind : uint8_t { kNone, kEla, kSoftmax };

absl::string_view Name(DetectorVariant variant);  // the words of config.json
absl::string_view Name(Activation activation);
absl::string_view Name(ContextKind context);

// The shape of kLatMs; the defaults are what ships. Widths are multiples of 8 in [8, 512].
struct MultiScaleShape {
  std::array<int32_t, 2> stem = {16, 32};         // dense 3x3 at strides 2 and 4
  std::array<int32_t, 3> widths = {64, 96, 128};  // of the maps at strides 8, 16 and 32
  std::array<int32_t, 3> blocks = {2, 2, 2};      // residual blocks of each, [0, 8]
  int32_t neck = 64;                              // channels of all three neck maps
  int32_t head_blocks = 1;                        // blocks of each branch, [1, 4]
  int32_t neck_kernel = 5;                        // of neck's and head's depthwise layers: 3 or 5
  ContextKind context = ContextKind::kEla;        // on the neck's map at stride 32
  int32_t context_heads = 4;                      // divides `neck`
  Activation activation = Activation::kSilu;
};

struct DetectorConfig {
  DetectorVariant variant = DetectorVariant::kLat;
  std::vector<std::string> class_names;  // 1 to 1000; absent in the file: "0", "1", …
  int32_t input_width = 320;             // what it was trained at; multiples of SizeMultiple
  int32_t input_height = 320;            // "input_size" in the file: both, or [width, height]
  FitMode fit = FitMode::kLetterbox;
  float score_threshold = 0.25f;  // defaults of DetectionOptions
  float iou_threshold = 0.6f;
  MultiScaleShape shape;  // kLatMs only

  int32_t num_classes() const { return static_cast<int32_t>(class_names.size()); }
};

inline constexpr int32_t kMaxDetectorInputSide = 1280;

// Of width and height: 16 for kLat and kLatDsc, 32 for kLatMs.
int32_t SizeMultiple(DetectorVariant variant);

// Every problem at once, one a line; `origin` opens every message. Errors: kInvalidArgument.
absl::StatusOr<DetectorConfig> ParseDetectorConfig(absl::string_view json,
                                                   absl::string_view origin);
absl::StatusOr<DetectorConfig> LoadDetectorConfig(const std::string& directory);

// The text that ParseDetectorConfig reads back to an equal value.
std::string ToJson(const DetectorConfig& config);

// The "model_type" of a checkpoint directory's config.json, "ela_gpt" or "yolo_lat" among them:
// what a directory holds, before anything is loaded. Errors: kNotFound, kInvalidArgument.
absl::StatusOr<std::string> ReadModelType(const std::string& directory);

}  // namespace ela

#endif  // ELA_MODEL_VISION_DETECTOR_CONFIG_H_
