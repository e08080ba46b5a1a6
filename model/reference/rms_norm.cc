#include "model/reference/rms_norm.h"

namespace ela::reference {

at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const at::Tensor scale = at::rsqrt(at::mean(x * x, {-1}, /*keepdim=*/true) + eps);
  return x * scale * weight;
}

}  // namespace ela::reference
