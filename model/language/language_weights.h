// A checkpoint's tensors, but for the lobe's (lobe.h), in the form that the kernels read: float32,
// packed, and side by side where they multiply the same input.
#ifndef ELA_MODEL_LANGUAGE_LANGUAGE_WEIGHTS_H_
#define ELA_MODEL_LANGUAGE_LANGUAGE_WEIGHTS_H_

#include <cstdint>
#include <vector>

#include "model/checkpoint/weights.h"
#include "model/config.h"
#include "model/kernels/packed_matrix.h"

namespace ela {

struct ExpertWeights {
  PackedMatrix in;   // d -> 2h: gate rows, then value rows
  PackedMatrix out;  // h -> d
};

struct LayerWeights {
  std::vector<float> attention_norm;  // [d]
  std::vector<float> moe_norm;        // [d], standard residual only
  // d -> q, k, v (3d), then the output gate (d) and the decay's first factor (16) where configured.
  PackedMatrix input;
  int64_t gate_column = -1, decay_column = -1;  // -1: absent
  PackedMatrix decay_out;                       // 16 -> d
  std::vector<float> decay_bias;                // [d]
  std::vector<float> convolution;               // [W, 3d], oldest tap first
  PackedMatrix output;                          // d -> d
  PackedMatrix router;                          // d -> E
  std::vector<float> router_bias;               // [E]
  std::vector<float> labels;                    // [E, d]: the router's rows, with a moe_bias only
  std::vector<ExpertWeights> experts;           // [E]
};

// Immutable after Load, thread-safe.
struct LanguageWeights {
  PackedMatrix embedding;         // d -> V: the tied head; its outputs are the tokens' vectors
  std::vector<float> final_norm;  // [d] or empty
  std::vector<LayerWeights> layers;
  int64_t bytes = 0;  // resident

  static LanguageWeights Pack(const LanguageConfig& config, const Weights& weights);
};

}  // namespace ela

#endif  // ELA_MODEL_LANGUAGE_LANGUAGE_WEIGHTS_H_
