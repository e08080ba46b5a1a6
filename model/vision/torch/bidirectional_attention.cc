#include "model/vision/torch/bidirectional_attention.h"

namespace ela::vision {
namespace {

// What rounding took from sum = fl(a + b): exact (Knuth's two-sum), and a constant to gradients.
at::Tensor RoundingError(const at::Tensor& a, const at::Tensor& b, const at::Tensor& sum) {
  at::NoGradGuard no_grad;
  const at::Tensor of_b = sum - a;
  return (a - (sum - of_b)) + (b - of_b);
}

}  // namespace

at::Tensor BidirectionalElaAttention(const at::Tensor& q, const at::Tensor& k,
                                     const at::Tensor& v) {
  // Any constant may be taken off k and put on q, so the two maxima are constants to gradients.
  const at::Tensor k_max = k.detach().amax({-1}, /*keepdim=*/true);  // [N, H, D, 1]
  const at::Tensor k_exp = (k - k_max).exp();
  const at::Tensor k_sum = k_exp.sum(-1, /*keepdim=*/true);                    // in [1, P]
  const at::Tensor values = at::matmul(v, (k_exp / k_sum).transpose(-1, -2));  // [N, H, Dv, D]

  const at::Tensor sum = q + k_max;
  const at::Tensor rest = RoundingError(q, k_max, sum);
  const at::Tensor logits = (sum - sum.detach().amax({2}, /*keepdim=*/true)) + (k_sum.log() + rest);
  return at::matmul(values, at::softmax(logits, 2));
}

at::Tensor BidirectionalSoftmaxAttention(const at::Tensor& q, const at::Tensor& k,
                                         const at::Tensor& v) {
  const at::Tensor weights = at::softmax(at::matmul(q.transpose(-1, -2), k), -1);  // [N, H, P, P]
  return at::matmul(v, weights.transpose(-1, -2));
}

}  // namespace ela::vision
