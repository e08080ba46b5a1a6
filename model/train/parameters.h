// All parameters of a model in one flat buffer, their gradients in another: the optimizer, clipping
// and the saved state are then a few operations on long vectors instead of loops over a hundred
// tensors.
#ifndef ELA_MODEL_TRAIN_PARAMETERS_H_
#define ELA_MODEL_TRAIN_PARAMETERS_H_

#include <cstdint>
#include <vector>

#include "model/config.h"
#include "model/reference/language_model.h"
#include "model/reference/torch_headers.h"

namespace ela::train {

class Parameters {
 public:
  // Random values that depend on `seed` and the config alone: matrices uniform in ±1/sqrt(columns),
  // token embedding normal with deviation 0.02, norms 1, biases 0; short convolutions begin near
  // the identity, and decays spread from a few tokens to a thousand. Float32.
  Parameters(const LanguageConfig& config, uint64_t seed);

  // Copies of `initial`, float32, under the same names and in the same order.
  explicit Parameters(const std::vector<reference::NamedParameter>& initial);

  // The same values with gradients of its own: one per thread that runs a part of the batch.
  Parameters Replica() const;

  const at::Tensor& values() const { return values_; }        // [P]
  const at::Tensor& gradients() const { return gradients_; }  // [P], what backward() adds to
  // The first of the P are matrices and two-dimensional convolutions, to which weight decay
  // applies; the rest are vectors and short convolutions.
  int64_t num_decayed() const { return num_decayed_; }

  // Views of values(), in the order of ExpectedTensors or of `initial`, each with its gradient in
  // gradients().
  const std::vector<reference::NamedParameter>& named() const { return named_; }

 private:
  Parameters() = default;
  void MakeViews(const std::vector<TensorSpec>& specs);

  at::Tensor values_, gradients_;
  int64_t num_decayed_ = 0;
  std::vector<reference::NamedParameter> named_;
};

}  // namespace ela::train

#endif  // ELA_MODEL_TRAIN_PARAMETERS_H_
