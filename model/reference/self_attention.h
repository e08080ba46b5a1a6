#ifndef ELA_MODEL_REFERENCE_SELF_ATTENTION_H_
#define ELA_MODEL_REFERENCE_SELF_ATTENTION_H_

#include "model/config.h"
#include "model/reference/attention.h"
#include "model/reference/linear.h"
#include "model/reference/torch_headers.h"

namespace ela::reference {

enum class AttentionForm { kQuadratic, kChunked, kRecurrent };

// How a forward pass is computed; not what it computes.
struct ComputeOptions {
  AttentionForm form = AttentionForm::kQuadratic;
  Precision precision = Precision::kFull;
};

struct SelfAttentionWeights {
  at::Tensor q_proj, k_proj, v_proj, out_proj;     // [d, d]
  at::Tensor q_conv, k_conv, v_conv;               // [d, 1, W], undefined without short_conv
  at::Tensor decay_in, decay_out, decay_out_bias;  // [16, d], [d, 16], [d], undefined without decay
  at::Tensor gate_proj;                            // [d, d], undefined without output_gate
};

// W_o · ELA(rope(W_q n), rope(W_k n), W_v n) with the extensions that the config asks for
// (docs/model.md 2): convolution before RoPE, qk_scale after it, the gate before W_o. n: [B, L, d],
// normed. Causal.
at::Tensor SelfAttention(const LanguageConfig& config, const SelfAttentionWeights& weights,
                         const at::Tensor& n, const ComputeOptions& options);

// Attention in the form that `options` names; forms other than quadratic are causal only.
at::Tensor Attend(AttentionKernel kernel, const AttentionInputs& inputs,
                  const Visibility& visibility, const ComputeOptions& options);

// [B, L, parts·H·D] -> parts tensors [B, H, L, D].
std::vector<at::Tensor> SplitHeads(const at::Tensor& x, int64_t parts, int64_t heads);
at::Tensor MergeHeads(const at::Tensor& x);  // [B, H, L, D] -> [B, L, H·D]

}  // namespace ela::reference

#endif  // ELA_MODEL_REFERENCE_SELF_ATTENTION_H_
