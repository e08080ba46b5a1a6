#include "model/train/detector/detector_weights.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

namespace ela::train {
namespace {

using reference::NamedParameter;

std::vector<NamedParameter> Trained(const std::vector<NamedParameter>& all, bool statistics) {
  std::vector<NamedParameter> some;
  for (const NamedParameter& tensor : all) {
    if (vision::IsRunningStatistic(tensor.name) == statistics) some.push_back(tensor);
  }
  return some;
}

at::Tensor Flattened(const std::vector<NamedParameter>& tensors) {
  std::vector<at::Tensor> flat;
  for (const NamedParameter& tensor : tensors) flat.push_back(tensor.value.flatten());
  return flat.empty() ? at::empty({0}, at::kFloat) : at::cat(flat).contiguous();
}

// All tensors in the order of `all`: trained ones as views of `values` laid out as in `parameters`,
// statistics as views of `statistics`.
std::vector<NamedParameter> Views(const std::vector<NamedParameter>& all,
                                  const Parameters& parameters, const at::Tensor& values,
                                  const at::Tensor& statistics) {
  const bool own = values.is_same(parameters.values());
  std::map<std::string, at::Tensor> trained;
  for (const NamedParameter& parameter : parameters.named()) {
    const at::Tensor& value = parameter.value;
    trained[parameter.name] =
        own ? value : values.as_strided(value.sizes(), value.strides(), value.storage_offset());
  }
  std::vector<NamedParameter> views;
  int64_t next = 0;
  for (const NamedParameter& tensor : all) {
    if (!vision::IsRunningStatistic(tensor.name)) {
      views.push_back({tensor.name, trained.at(tensor.name)});
      continue;
    }
    views.push_back({tensor.name, statistics.narrow(0, next, tensor.value.numel())});
    next += tensor.value.numel();
  }
  return views;
}

}  // namespace

DetectorWeights::DetectorWeights(const DetectorConfig& config, uint64_t seed)
    : DetectorWeights(config, vision::InitialTensors(config, seed)) {}

DetectorWeights::DetectorWeights(const DetectorConfig& config,
                                 const std::vector<NamedParameter>& initial)
    : parameters_(Trained(initial, /*statistics=*/false)),
      statistics_(Flattened(Trained(initial, /*statistics=*/true))),
      average_values_(parameters_.values().clone()),
      average_statistics_(statistics_.clone()),
      network_(config, Views(initial, parameters_, parameters_.values(), statistics_)),
      average_(config, Views(initial, parameters_, average_values_, average_statistics_)) {}

void DetectorWeights::MoveAverage(int64_t step, double decay) {
  at::NoGradGuard no_grad;
  const double d = std::min(decay, (1.0 + step) / (10.0 + step));
  average_values_.mul_(d).add_(parameters_.values(), 1 - d);
  average_statistics_.mul_(d).add_(statistics_, 1 - d);
}

std::vector<NamedBuffer> DetectorWeights::Buffers() const {
  return {{"values", parameters_.values()},
          {"statistics", statistics_},
          {"average", average_values_},
          {"average_statistics", average_statistics_}};
}

}  // namespace ela::train
