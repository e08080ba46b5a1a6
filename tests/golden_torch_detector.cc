#include <utility>

#include "model/status_macros.h"
#include "model/vision/torch/torch_network.h"
#include "tests/golden_paths.h"

namespace ela::golden {
namespace {

class TorchDetector : public DetectorModel {
 public:
  explicit TorchDetector(vision::TorchNetwork network) : network_(std::move(network)) {}

  absl::StatusOr<RawMap> Map(const Picture& picture) override {
    at::NoGradGuard no_grad;
    const at::Tensor image =
        at::tensor(picture.values, at::kFloat).view({1, 3, picture.height, picture.width});
    const vision::RawMaps maps = network_.Forward(image, {})[0];
    const at::Tensor values = maps.scores.contiguous();
    RawMap map;
    map.channels = static_cast<int32_t>(values.size(1));
    map.rows = static_cast<int32_t>(values.size(2));
    map.columns = static_cast<int32_t>(values.size(3));
    map.stride = maps.stride;
    map.values.assign(values.const_data_ptr<float>(),
                      values.const_data_ptr<float>() + values.numel());
    return map;
  }

 private:
  const vision::TorchNetwork network_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<DetectorModel>> LoadTorchDetector(const std::string& directory) {
  ELA_ASSIGN_OR_RETURN(auto network, vision::TorchNetwork::Load(directory));
  return std::unique_ptr<DetectorModel>(new TorchDetector(std::move(network)));
}

}  // namespace ela::golden
