#include "model/train/parameters.h"

#include <ATen/CPUGeneratorImpl.h>

#include <cmath>
#include <functional>
#include <numeric>
#include <utility>

#include "absl/strings/match.h"

namespace ela::train {
namespace {

int64_t Count(const TensorSpec& spec) {
  return std::accumulate(spec.shape.begin(), spec.shape.end(), int64_t{1}, std::multiplies<>());
}

bool IsDecayed(const TensorSpec& spec) { return spec.shape.size() == 2 || spec.shape.size() == 4; }

// Values of all `specs`, and how many of them are decayed.
std::pair<int64_t, int64_t> Totals(const std::vector<TensorSpec>& specs) {
  int64_t total = 0, decayed = 0;
  for (const TensorSpec& spec : specs) {
    total += Count(spec);
    if (IsDecayed(spec)) decayed += Count(spec);
  }
  return {total, decayed};
}

void Initialize(const TensorSpec& spec, at::Tensor value, const at::Generator& random) {
  const auto ends = [&](const char* suffix) { return absl::EndsWith(spec.name, suffix); };
  if (ends("token_embed.weight")) {
    value.normal_(0, 0.02, random);
  } else if (ends("_conv.weight")) {
    // The present token at full weight, its neighbours a little, so that both carry gradient from
    // the start.
    value.uniform_(-0.3, 0.3, random);
    value.select(2, value.size(2) - 1).add_(1.0);
  } else if (ends("decay_out.bias")) {
    // log sigmoid(b)/4: half-lives from 2 tokens (b = −1) to about 1,100 (b = 6).
    value.uniform_(-1.0, 6.0, random);
  } else if (spec.shape.size() == 2) {
    const double bound = 1.0 / std::sqrt(static_cast<double>(spec.shape[1]));
    value.uniform_(-bound, bound, random);
  } else {
    value.fill_(absl::StrContains(spec.name, "norm") ? 1.0 : 0.0);
  }
}

}  // namespace

Parameters::Parameters(const LanguageConfig& config, uint64_t seed) {
  const std::vector<TensorSpec> specs = ExpectedTensors(config);
  const auto [total, decayed] = Totals(specs);
  num_decayed_ = decayed;
  values_ = at::empty({total}, at::kFloat);
  MakeViews(specs);
  at::NoGradGuard no_grad;
  const at::Generator random = at::detail::createCPUGenerator(seed);
  for (size_t i = 0; i < specs.size(); ++i) Initialize(specs[i], named_[i].value, random);
}

Parameters::Parameters(const std::vector<reference::NamedParameter>& initial) {
  std::vector<TensorSpec> specs;
  for (const auto& parameter : initial) {
    specs.push_back({parameter.name, parameter.value.sizes().vec()});
  }
  const auto [total, decayed] = Totals(specs);
  num_decayed_ = decayed;
  values_ = at::empty({total}, at::kFloat);
  MakeViews(specs);
  at::NoGradGuard no_grad;
  for (size_t i = 0; i < initial.size(); ++i) named_[i].value.copy_(initial[i].value);
}

Parameters Parameters::Replica() const {
  Parameters replica;
  replica.values_ = values_;
  replica.num_decayed_ = num_decayed_;
  std::vector<TensorSpec> specs;
  for (const reference::NamedParameter& parameter : named_) {
    specs.push_back({parameter.name, parameter.value.sizes().vec()});
  }
  replica.MakeViews(specs);
  return replica;
}

void Parameters::MakeViews(const std::vector<TensorSpec>& specs) {
  gradients_ = at::zeros_like(values_);
  int64_t next_decayed = 0, next_other = num_decayed_;
  for (const TensorSpec& spec : specs) {
    int64_t& next = IsDecayed(spec) ? next_decayed : next_other;
    at::Tensor value = values_.narrow(0, next, Count(spec)).view(spec.shape).detach();
    value.set_requires_grad(true);
    value.mutable_grad() = gradients_.narrow(0, next, Count(spec)).view(spec.shape);
    named_.push_back({spec.name, value});
    next += Count(spec);
  }
}

}  // namespace ela::train
