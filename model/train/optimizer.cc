#include "model/train/optimizer.h"

#include <cmath>

namespace ela::train {

Optimizer::Optimizer(const OptimizerOptions& options, const Parameters& parameters)
    : options_(options),
      parameters_(parameters),
      mean_(at::zeros_like(parameters.values())),
      variance_(at::zeros_like(parameters.values())) {}

double Optimizer::LearningRate(int64_t step, int64_t num_steps) const {
  if (step < options_.warmup_steps) {
    return options_.learning_rate * static_cast<double>(step + 1) / options_.warmup_steps;
  }
  const double span = std::max<int64_t>(1, num_steps - options_.warmup_steps);
  const double progress = (step - options_.warmup_steps) / span;
  const double cosine = 0.5 * (1 + std::cos(M_PI * progress));
  return options_.learning_rate *
         (options_.final_fraction + (1 - options_.final_fraction) * cosine);
}

double Optimizer::Step(int64_t step, int64_t num_steps) {
  at::NoGradGuard no_grad;
  at::Tensor gradients = parameters_.gradients();
  const double norm = gradients.norm().item<double>();
  if (!std::isfinite(norm)) return norm;
  if (options_.clip_norm > 0 && norm > options_.clip_norm)
    gradients.mul_(options_.clip_norm / norm);

  const int64_t total = gradients.numel(), decayed = parameters_.num_decayed();
  const auto update = [&](int64_t first, int64_t count, double weight_decay) {
    if (count == 0) return;
    const auto part = [&](const at::Tensor& x) {
      return std::vector<at::Tensor>{x.narrow(0, first, count)};
    };
    // The kernel divides by 1 − beta^step with step counted from 1.
    const std::vector<at::Tensor> counter = {
        at::full({}, static_cast<double>(step + 1), at::kFloat)};
    at::_fused_adamw_(part(parameters_.values()), part(gradients), part(mean_), part(variance_), {},
                      counter, LearningRate(step, num_steps), options_.beta1, options_.beta2,
                      weight_decay, options_.epsilon, /*amsgrad=*/false, /*maximize=*/false);
  };
  update(0, decayed, options_.weight_decay);
  update(decayed, total - decayed, 0.0);
  gradients.zero_();
  return norm;
}

}  // namespace ela::train
