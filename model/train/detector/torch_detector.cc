#include "model/train/detector/torch_detector.h"

#include <exception>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "model/image/fit.h"
#include "model/status_macros.h"

namespace ela::train {
namespace {

constexpr int32_t kMaxBatch = 8;

absl::Status FindBoxes(const DetectorConfig& config, const std::vector<HeadMaps>& maps,
                       const DetectionOptions& options, HeadReading* reading, BoxSelector* selector,
                       DetectOutput* output) {
  ELA_RETURN_IF_ERROR(
      ReadHead(config.variant, config.num_classes(), maps, options.score_threshold, reading));
  const Selection selection =
      selector->Select(reading->AsPredictions(config.num_classes()), options, &output->detections);
  output->num_candidates = selection.num_candidates;
  output->truncated = selection.truncated;
  return absl::OkStatus();
}

}  // namespace

TorchDetector::TorchDetector(vision::TorchNetwork network) : network_(std::move(network)) {
  const DetectorConfig& config = network_.config();
  info_.variant = std::string(Name(config.variant));
  info_.numerics_id = "torch-cpu-f32";
  info_.device = "cpu";
  info_.num_parameters = NumInferenceParameters(network_.plan());
  info_.weight_bytes = info_.num_parameters * 4;
  info_.class_names = config.class_names;
  info_.input_width = config.input_width;
  info_.input_height = config.input_height;
  info_.size_multiple = SizeMultiple(config.variant);
  info_.max_input_side = kMaxDetectorInputSide;
  info_.fit = config.fit;
  info_.max_batch = info_.preferred_batch = kMaxBatch;
  info_.defaults.score_threshold = config.score_threshold;
  info_.defaults.iou_threshold = config.iou_threshold;
}

DetectTimes TorchDetector::Detect(int32_t, int32_t width, int32_t height,
                                  absl::Span<const DetectItem> items,
                                  absl::Span<DetectOutput> outputs) {
  const absl::Time start = absl::Now();
  const auto count = static_cast<int64_t>(items.size());
  DetectTimes times;
  try {
    at::NoGradGuard no_grad;
    const at::Tensor images = at::empty({count, 3, height, width}, at::kFloat);
    const size_t values = size_t{3} * width * height;
    for (int64_t i = 0; i < count; ++i) {
      ToPlanes(items[i].pixels, width, height,
               absl::MakeSpan(images.data_ptr<float>() + i * values, values));
    }
    const std::vector<vision::RawMaps> maps = network_.Forward(images, {});
    const absl::Time computed = absl::Now();
    times.network = computed - start;
    for (int64_t i = 0; i < count; ++i) {
      outputs[i].status = FindBoxes(network_.config(), vision::MapsOfPicture(maps, i),
                                    *items[i].options, &reading_, &selector_, &outputs[i]);
    }
    times.postprocess = absl::Now() - computed;
  } catch (const std::exception& error) {
    for (DetectOutput& output : outputs) {
      output.status = absl::InternalError(absl::StrCat("LibTorch: ", error.what()));
    }
  }
  return times;
}

}  // namespace ela::train
