#include <utility>

#include "model/checkpoint/weights.h"
#include "model/kernels/convolution.h"
#include "model/status_macros.h"
#include "model/vision/cpu_network.h"
#include "model/vision/detector_config.h"
#include "tests/golden_paths.h"

namespace ela::golden {
namespace {

class ServingDetector : public DetectorModel {
 public:
  ServingDetector(const DetectorConfig& config, const NetworkPlan& plan, const Weights& weights)
      : num_channels_(5 + config.num_classes()),
        network_(plan, weights, *FindConvolutionKernels("")) {}

  absl::StatusOr<RawMap> Map(const Picture& picture) override {
    const size_t area = static_cast<size_t>(picture.width) * picture.height;
    std::vector<float> interleaved(3 * area);
    for (size_t i = 0; i < area; ++i) {
      for (size_t c = 0; c < 3; ++c) interleaved[3 * i + c] = picture.values[c * area + i];
    }
    NetworkInput input;
    input.width = picture.width;
    input.height = picture.height;
    input.values = interleaved.data();
    const HeadMaps& maps = network_.Run(input, &scratch_)[0];
    RawMap map;
    map.channels = num_channels_;
    map.rows = maps.rows;
    map.columns = maps.columns;
    map.stride = maps.stride;
    for (int32_t c = 0; c < map.channels; ++c) {
      for (int32_t row = 0; row < map.rows; ++row) {
        for (int32_t column = 0; column < map.columns; ++column) {
          map.values.push_back(maps.scores.At(c, row, column));
        }
      }
    }
    return map;
  }

 private:
  const int32_t num_channels_;
  const CpuNetwork network_;
  CpuNetwork::Scratch scratch_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<DetectorModel>> LoadServingDetector(const std::string& directory) {
  ELA_ASSIGN_OR_RETURN(const DetectorConfig config, LoadDetectorConfig(directory));
  const NetworkPlan plan = MakeNetworkPlan(config);
  ELA_ASSIGN_OR_RETURN(const Weights weights, Weights::Load(directory, ExpectedTensors(plan)));
  return std::unique_ptr<DetectorModel>(new ServingDetector(config, plan, weights));
}

}  // namespace ela::golden
