#include "model/vision/cpu_detector.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "model/checkpoint/weights.h"
#include "model/kernels/convolution.h"
#include "model/status_macros.h"
#include "model/vision/boxes.h"
#include "model/vision/cpu_network.h"
#include "model/vision/detector_config.h"
#include "model/vision/head.h"
#include "model/vision/network_plan.h"

namespace ela {
namespace {

constexpr int32_t kMaxLanes = 64;
constexpr int32_t kMaxBatch = 64;

class CpuDetector : public Detector {
 public:
  CpuDetector(DetectorConfig config, DetectorInfo info, NetworkPlan plan, const Weights& weights)
      : config_(std::move(config)),
        network_(std::move(plan), weights, *FindConvolutionKernels("")),
        info_(Completed(std::move(info), network_.weight_bytes())),
        lanes_(info_.num_lanes) {}

  const DetectorInfo& Info() const override { return info_; }

  DetectTimes Detect(int32_t lane_index, int32_t width, int32_t height,
                     absl::Span<const DetectItem> items,
                     absl::Span<DetectOutput> outputs) override {
    ELA_CHECK(lane_index >= 0 && lane_index < info_.num_lanes, "the lane must be one of the lanes");
    ELA_CHECK(items.size() == outputs.size(), "every item needs an output");
    Lane& lane = lanes_[lane_index];
    DetectTimes times;
    for (size_t i = 0; i < items.size(); ++i) {
      DetectOutput& output = outputs[i];
      output.detections.clear();
      output.num_candidates = 0;
      output.truncated = false;
      output.status = CheckItem(width, height, items[i]);
      if (output.status.ok())
        output.status = Answer(width, height, items[i], &lane, &times, &output);
    }
    return times;
  }

 private:
  struct Lane {
    CpuNetwork::Scratch scratch;
    HeadReading reading;
    BoxSelector selector;
  };

  static DetectorInfo Completed(DetectorInfo info, int64_t weight_bytes) {
    info.weight_bytes = weight_bytes;
    return info;
  }

  absl::Status CheckItem(int32_t width, int32_t height, const DetectItem& item) const {
    for (const int32_t side : {width, height}) {
      if (side < info_.size_multiple || side > info_.max_input_side ||
          side % info_.size_multiple != 0) {
        return absl::InternalError(absl::StrCat("the network's input is ", width, " x ", height,
                                                ", sides are multiples of ", info_.size_multiple,
                                                " up to ", info_.max_input_side));
      }
    }
    if (item.options == nullptr) return absl::InternalError("the item has no options");
    if (item.pixels.size() != size_t{3} * width * height) {
      return absl::InternalError(absl::StrCat("the item has ", item.pixels.size(), " bytes, ",
                                              width, " x ", height, " pixels need ",
                                              int64_t{3} * width * height));
    }
    return absl::OkStatus();
  }

  absl::Status Answer(int32_t width, int32_t height, const DetectItem& item, Lane* lane,
                      DetectTimes* times, DetectOutput* output) const {
    const absl::Time start = absl::Now();
    const absl::Span<const HeadMaps> maps =
        network_.Run({width, height, item.pixels.data(), nullptr}, &lane->scratch);
    const absl::Time computed = absl::Now();
    times->network += computed - start;
    const absl::Status read = ReadHead(config_.variant, config_.num_classes(), maps,
                                       item.options->score_threshold, &lane->reading);
    if (read.ok()) {
      const Selection selection = lane->selector.Select(
          lane->reading.AsPredictions(config_.num_classes()), *item.options, &output->detections);
      output->num_candidates = selection.num_candidates;
      output->truncated = selection.truncated;
    }
    times->postprocess += absl::Now() - computed;
    return read;
  }

  const DetectorConfig config_;
  const CpuNetwork network_;
  const DetectorInfo info_;
  std::vector<Lane> lanes_;  // each changed by the one thread that uses it
};

}  // namespace

absl::StatusOr<std::unique_ptr<Detector>> CreateCpuDetector(const std::string& directory,
                                                            const CpuDetectorOptions& options) {
  if (options.num_lanes < 1 || options.num_lanes > kMaxLanes) {
    return absl::InvalidArgumentError(
        absl::StrCat("num_lanes is ", options.num_lanes, ", allowed are 1 to ", kMaxLanes));
  }
  ELA_ASSIGN_OR_RETURN(DetectorConfig config, LoadDetectorConfig(directory));
  if (config.variant == DetectorVariant::kLatMs && config.shape.context == ContextKind::kSoftmax) {
    return absl::InvalidArgumentError(
        absl::StrCat(directory,
                     "/config.json: shape.context is \"softmax\", which is there to be "
                     "compared with in training; serving knows \"ela\" and \"none\""));
  }
  NetworkPlan plan = MakeNetworkPlan(config);
  ELA_ASSIGN_OR_RETURN(const Weights weights, Weights::Load(directory, ExpectedTensors(plan)));

  DetectorInfo info;
  info.variant = std::string(Name(config.variant));
  info.model_fingerprint = weights.FingerprintOf(ToJson(config));
  info.numerics_id = kConvolutionNumericsId;
  info.device = "cpu";
  info.num_parameters = NumInferenceParameters(plan);
  info.class_names = config.class_names;
  info.input_width = config.input_width;
  info.input_height = config.input_height;
  info.size_multiple = SizeMultiple(config.variant);
  info.max_input_side = kMaxDetectorInputSide;
  info.fit = config.fit;
  info.num_lanes = options.num_lanes;
  info.max_batch = kMaxBatch;
  info.preferred_batch = 1;  // a batch is computed picture by picture
  info.defaults.score_threshold = config.score_threshold;
  info.defaults.iou_threshold = config.iou_threshold;
  return std::unique_ptr<Detector>(
      new CpuDetector(std::move(config), std::move(info), std::move(plan), weights));
}

}  // namespace ela
