#ifndef ELA_MODEL_REFERENCE_MOE_H_
#define ELA_MODEL_REFERENCE_MOE_H_

#include <vector>

#include "model/config.h"
#include "model/reference/linear.h"
#include "model/reference/torch_headers.h"

namespace ela::reference {

struct ExpertWeights {
  at::Tensor linear;    // [2h, d], gate rows first
  at::Tensor out_proj;  // [d, h]
};

struct MoeWeights {
  at::Tensor gate, gate_bias;  // [E, d], [E]
  std::vector<ExpertWeights> experts;
};

struct MoeOutput {
  at::Tensor flow;  // [N, d], ΔX of the layer
  at::Tensor
      balance_loss;  // scalar: E · Σ_e (share of e among the choices) · (mean p_e); 1 when even
};

// Mixture of SwiGLU experts with top-K routing (docs/model.md 2; paper 5.1). a: [N, d], N tokens.
// Tokens are sorted by expert, so each expert computes its own tokens alone; equal scores go to the
// lower expert. Routing is computed in a's dtype whatever `precision` is.
MoeOutput Moe(const LanguageConfig& config, const MoeWeights& weights, const at::Tensor& a,
              Precision precision);

}  // namespace ela::reference

#endif  // ELA_MODEL_REFERENCE_MOE_H_
