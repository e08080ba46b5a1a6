#include "model/reference/decoder_layer.h"

#include "model/reference/rms_norm.h"

namespace ela::reference {

LayerOutput DecoderLayer(const LanguageConfig& config, const DecoderLayerWeights& weights,
                         const at::Tensor& x, const Visibility& lobe_visibility,
                         const ComputeOptions& options) {
  const double eps = config.rms_norm_eps;
  at::Tensor residual = x;
  at::Tensor a = SelfAttention(config, weights.attention, RmsNorm(x, weights.norm, eps), options);
  if (config.residual == Residual::kStandard) {
    residual = x + a;
    a = RmsNorm(residual, weights.norm2, eps);
  }
  const MoeOutput moe = Moe(config, weights.moe, a.flatten(0, 1), options.precision);
  const at::Tensor flow = moe.flow.view_as(a);
  at::Tensor out = residual + flow;
  if (config.memory_lobe) {
    out = out + MemoryLobe(*config.memory_lobe, weights.lobe, flow, lobe_visibility, options);
  }
  return {out, moe.balance_loss};
}

}  // namespace ela::reference
