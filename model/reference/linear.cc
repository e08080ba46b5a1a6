#include "model/reference/linear.h"

namespace ela::reference {

at::Tensor Linear(const at::Tensor& x, const at::Tensor& weight, Precision precision) {
  if (precision == Precision::kFull) return at::linear(x, weight);
  return at::linear(x.to(at::kBFloat16), weight.to(at::kBFloat16));
}

at::Tensor LinearKeepingType(const at::Tensor& x, const at::Tensor& weight, Precision precision) {
  return Linear(x, weight, precision).to(x.scalar_type());
}

}  // namespace ela::reference
