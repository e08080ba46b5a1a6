// Attention of every position of a map to every other (docs/detection.md 1.2; paper section 7).
#ifndef ELA_MODEL_VISION_TORCH_BIDIRECTIONAL_ATTENTION_H_
#define ELA_MODEL_VISION_TORCH_BIDIRECTIONAL_ATTENTION_H_

#include "model/reference/torch_headers.h"

namespace ela::vision {

// Exact linear attention with the kernel hadamard_exp, no mask. With k_jd = log psi_jd the sums
// over positions are softmaxes over positions, and what is left for a query is a softmax over d of
// q_id + logsumexp_j k_jd: two softmaxes, O(P·D·Dv), no overflow at any input. That sum is carried
// in two float parts, so that |q|, |k| of 10,000, where a float's last bit is 0.001, still agree
// with float64 within 1e-5.
// q, k: [N, H, D, P] (already divided by sqrt(D)); v: [N, H, Dv, P]. Returns [N, H, Dv, P].
at::Tensor BidirectionalElaAttention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);

// The usual kernel exp(q·k), O(P²·D), to compare with. Same shapes.
at::Tensor BidirectionalSoftmaxAttention(const at::Tensor& q, const at::Tensor& k,
                                         const at::Tensor& v);

}  // namespace ela::vision

#endif  // ELA_MODEL_VISION_TORCH_BIDIRECTIONAL_ATTENTION_H_
