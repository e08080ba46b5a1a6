// Exact linear attention in its three forms (docs/model.md 1; paper sections 2 and 3). They are one
// function and differ in rounding alone; the quadratic form is the definition, and with float64
// inputs the truth that everything else is measured against.
#ifndef ELA_MODEL_REFERENCE_ATTENTION_H_
#define ELA_MODEL_REFERENCE_ATTENTION_H_

#include <vector>

#include "model/config.h"
#include "model/reference/torch_headers.h"

namespace ela::reference {

// q, k, v: [B, H, L, D]. log_decay: [B, H, L, D], each <= 0, or undefined; only with hadamard_exp.
struct AttentionInputs {
  at::Tensor q, k, v;
  at::Tensor log_decay;
};

// How far a position sees: position i attends to positions j < end[i]. Causal: end[i] = i + 1.
using Visibility = std::vector<int64_t>;
Visibility CausalVisibility(int64_t length);

// By definition: every weight k(q_i, k_j) on its own, normalised by the row's sum, in blocks of
// rows. Any dtype; hadamard_exp takes the logarithm of its weights first, so nothing overflows.
// Where all weights are 0 (squared kernels and dir_mag only) the result is the mean of the visible
// values. Cost: O(L²·D).
at::Tensor QuadraticAttention(AttentionKernel kernel, const AttentionInputs& inputs,
                              const Visibility& visibility);

// Causal, `chunk` tokens at a time as products of features, states carried between chunks: what
// training differentiates. hadamard_exp subtracts a running maximum, so that its features never
// overflow; a visible weight underflows in float32 only when it is e^-87 of the largest in its
// chunk. The other kernels use plain sums. Cost: O(L·(chunk + D)·D).
at::Tensor ChunkedAttention(AttentionKernel kernel, const AttentionInputs& inputs,
                            int64_t chunk = 64);

// Causal, one token at a time with the stable states of docs/model.md 1 (means, never growing
// sums). Slow: it exists to show that a state of fixed size computes the same function. No
// gradients.
at::Tensor RecurrentAttention(AttentionKernel kernel, const AttentionInputs& inputs);

}  // namespace ela::reference

#endif  // ELA_MODEL_REFERENCE_ATTENTION_H_
