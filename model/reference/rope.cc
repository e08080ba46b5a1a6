#include "model/reference/rope.h"

namespace ela::reference {

at::Tensor Rope(const at::Tensor& x, double theta) {
  const int64_t length = x.size(2), width = x.size(3);
  const at::Tensor pair = at::arange(0, width, 2, at::kDouble);
  const at::Tensor position = at::arange(length, at::kDouble);
  const at::Tensor angle = at::outer(position, at::pow(theta, -pair / width));  // [L, D/2]
  const at::Tensor cosine = angle.cos().to(x.scalar_type()), sine = angle.sin().to(x.scalar_type());

  const at::Tensor pairs = x.unflatten(-1, {width / 2, 2});
  const at::Tensor even = pairs.select(-1, 0), odd = pairs.select(-1, 1);
  return at::stack({even * cosine - odd * sine, even * sine + odd * cosine}, -1).flatten(-2);
}

}  // namespace ela::reference
