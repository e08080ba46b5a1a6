#include <ATen/CPUGeneratorImpl.h>

#include <cmath>

#include "absl/strings/match.h"
#include "model/vision/torch/torch_network.h"

namespace ela::vision {
namespace {

// A network that at first calls every place an object would spend its first hundred steps on
// unlearning that (the focal loss paper's prior, section 4.1).
constexpr double kPrior = 0.01;
constexpr double kDistance = 2.0;  // cells, to each side

void InitializeHead(DetectorVariant variant, at::Tensor weight, at::Tensor bias, bool is_distance,
                    const at::Generator& random) {
  weight.normal_(0, 0.01, random);
  bias.zero_();
  const double rare = -std::log((1 - kPrior) / kPrior);
  if (variant != DetectorVariant::kLatMs) {
    bias[0].fill_(rare);
  } else if (is_distance) {
    bias.fill_(std::log(std::expm1(kDistance)));  // softplus of it is kDistance
  } else {
    bias.fill_(rare);
  }
}

void Initialize(const TensorSpec& spec, at::Tensor value, const at::Generator& random) {
  if (spec.shape.size() == 4) {
    const int64_t fan_in = spec.shape[1] * spec.shape[2] * spec.shape[3];
    value.normal_(0, std::sqrt(2.0 / static_cast<double>(fan_in)), random);
  } else {
    const bool one = absl::EndsWith(spec.name, ".weight") || absl::EndsWith(spec.name, "_var");
    value.fill_(one ? 1.0 : 0.0);
  }
}

}  // namespace

std::vector<NamedParameter> InitialTensors(const DetectorConfig& config, uint64_t seed) {
  const NetworkPlan plan = MakeNetworkPlan(config);
  const at::Generator random = at::detail::createCPUGenerator(seed);
  at::NoGradGuard no_grad;
  std::vector<NamedParameter> tensors;
  for (const TensorSpec& spec : ExpectedTensors(plan)) {
    tensors.push_back({spec.name, at::empty(spec.shape, at::kFloat)});
    Initialize(spec, tensors.back().value, random);
  }
  const auto named = [&](const std::string& name) {
    for (const NamedParameter& tensor : tensors) {
      if (tensor.name == name) return tensor.value;
    }
    return at::Tensor();
  };
  for (const HeadOutput& output : plan.outputs) {
    for (const int32_t index : {output.scores, output.distances}) {
      if (index < 0) continue;
      const std::string& name = plan.layers[index].name;
      InitializeHead(config.variant, named(name + ".weight"), named(name + ".bias"),
                     index == output.distances, random);
    }
  }
  return tensors;
}

}  // namespace ela::vision
