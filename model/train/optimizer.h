#ifndef ELA_MODEL_TRAIN_OPTIMIZER_H_
#define ELA_MODEL_TRAIN_OPTIMIZER_H_

#include <cstdint>

#include "model/reference/torch_headers.h"
#include "model/train/parameters.h"

namespace ela::train {

struct OptimizerOptions {
  double learning_rate = 3e-3;
  int64_t warmup_steps = 50;
  double final_fraction = 0.05;  // of learning_rate, at the last step
  double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8;
  double weight_decay = 0.1;  // on matrices
  double clip_norm = 1.0;     // of the whole gradient; 0: no clipping
};

// AdamW with decoupled weight decay over a Parameters buffer. Thread-compatible.
class Optimizer {
 public:
  Optimizer(const OptimizerOptions& options, const Parameters& parameters);

  // One update from the gradients in `parameters`, which are then zero. `step` counts from 0 of
  // `num_steps`. Returns the gradient's norm before clipping; when it is not finite nothing is
  // changed.
  double Step(int64_t step, int64_t num_steps);

  // Linear warm-up, then a cosine down to final_fraction.
  double LearningRate(int64_t step, int64_t num_steps) const;

  const at::Tensor& mean() const { return mean_; }          // [P], moving average of the gradient
  const at::Tensor& variance() const { return variance_; }  // [P], of its square

 private:
  const OptimizerOptions options_;
  const Parameters& parameters_;
  at::Tensor mean_, variance_;
};

}  // namespace ela::train

#endif  // ELA_MODEL_TRAIN_OPTIMIZER_H_
