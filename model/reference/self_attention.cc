#include "model/reference/self_attention.h"

#include "model/reference/rope.h"
#include "model/reference/short_conv.h"

namespace ela::reference {
namespace {

constexpr double kDecayDivisor = 4;  // g = max(log sigmoid(·) / 4, −0.6), docs/model.md 2
constexpr double kStrongestDecay = -0.6;

bool IsCausal(const Visibility& visibility) {
  return visibility == CausalVisibility(visibility.size());
}

at::Tensor LogDecay(const SelfAttentionWeights& weights, const at::Tensor& low_rank) {
  const at::Tensor raw = at::linear(low_rank, weights.decay_out, weights.decay_out_bias);
  return (at::log_sigmoid(raw) / kDecayDivisor).clamp_min(kStrongestDecay);
}

}  // namespace

std::vector<at::Tensor> SplitHeads(const at::Tensor& x, int64_t parts, int64_t heads) {
  return x.unflatten(-1, {parts, heads, -1}).permute({2, 0, 3, 1, 4}).contiguous().unbind(0);
}

at::Tensor MergeHeads(const at::Tensor& x) { return x.transpose(1, 2).flatten(2); }

at::Tensor Attend(AttentionKernel kernel, const AttentionInputs& inputs,
                  const Visibility& visibility, const ComputeOptions& options) {
  if (options.form == AttentionForm::kQuadratic || !IsCausal(visibility)) {
    return QuadraticAttention(kernel, inputs, visibility);
  }
  return options.form == AttentionForm::kChunked ? ChunkedAttention(kernel, inputs)
                                                 : RecurrentAttention(kernel, inputs);
}

at::Tensor SelfAttention(const LanguageConfig& config, const SelfAttentionWeights& weights,
                         const at::Tensor& n, const ComputeOptions& options) {
  const int64_t d = config.hidden_size;
  // One product for everything that is a projection of n.
  std::vector<at::Tensor> projections = {weights.q_proj, weights.k_proj, weights.v_proj};
  if (config.output_gate) projections.push_back(weights.gate_proj);
  if (config.decay == Decay::kGated) projections.push_back(weights.decay_in);
  std::vector<int64_t> widths = {3 * d};
  for (size_t i = 3; i < projections.size(); ++i) widths.push_back(projections[i].size(0));
  std::vector<at::Tensor> parts =
      Linear(n, at::cat(projections, 0), options.precision).split_with_sizes(widths, -1);
  for (at::Tensor& part : parts) part = part.to(n.scalar_type());

  at::Tensor qkv = parts[0];
  if (config.short_conv > 0) {
    qkv = ShortConv(qkv, at::cat({weights.q_conv, weights.k_conv, weights.v_conv}, 0).squeeze(1));
  }
  const std::vector<at::Tensor> heads = SplitHeads(qkv, 3, config.num_attention_heads);
  AttentionInputs inputs{heads[0], heads[1], heads[2], {}};
  if (config.position_encoding == PositionEncoding::kRope) {
    inputs.q = Rope(inputs.q, config.rope_theta);
    inputs.k = Rope(inputs.k, config.rope_theta);
  }
  if (config.qk_scale != 1.0f) {
    inputs.q = inputs.q * static_cast<double>(config.qk_scale);
    inputs.k = inputs.k * static_cast<double>(config.qk_scale);
  }
  if (config.decay == Decay::kGated) {
    inputs.log_decay =
        SplitHeads(LogDecay(weights, parts.back()), 1, config.num_attention_heads)[0];
  }
  const Visibility visibility = CausalVisibility(n.size(1));
  at::Tensor y = MergeHeads(Attend(config.attention_kernel, inputs, visibility, options));
  if (config.output_gate) y = y * at::silu(parts[1]);
  return LinearKeepingType(y, weights.out_proj, options.precision);
}

}  // namespace ela::reference
