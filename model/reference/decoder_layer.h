#ifndef ELA_MODEL_REFERENCE_DECODER_LAYER_H_
#define ELA_MODEL_REFERENCE_DECODER_LAYER_H_

#include "model/config.h"
#include "model/reference/memory_lobe.h"
#include "model/reference/moe.h"
#include "model/reference/self_attention.h"
#include "model/reference/torch_headers.h"

namespace ela::reference {

struct DecoderLayerWeights {
  at::Tensor norm;   // [d]; norm1 with the standard residual
  at::Tensor norm2;  // [d], standard residual only
  SelfAttentionWeights attention;
  MoeWeights moe;
  LobeWeights lobe;  // undefined without a lobe
};

struct LayerOutput {
  at::Tensor x;             // [B, L, d]
  at::Tensor balance_loss;  // scalar, see MoeOutput
};

// One layer of the model (docs/model.md 2; paper 5.2). With Hyper-Link there is no residual around
// attention: x' = x + f + Lobe(f), f = MoE(attention(norm(x))). `lobe_visibility` has one entry per
// position.
LayerOutput DecoderLayer(const LanguageConfig& config, const DecoderLayerWeights& weights,
                         const at::Tensor& x, const Visibility& lobe_visibility,
                         const ComputeOptions& options);

}  // namespace ela::reference

#endif  // ELA_MODEL_REFERENCE_DECODER_LAYER_H_
