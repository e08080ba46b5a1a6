// A Memory Lobe as it is served (docs/model.md 2; paper 5.3): its weights, and where its heads lie
// in a slot. The model's own, or one that was plugged in beside it.
#ifndef ELA_MODEL_LANGUAGE_LOBE_H_
#define ELA_MODEL_LANGUAGE_LOBE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "model/checkpoint/weights.h"
#include "model/config.h"
#include "model/kernels/packed_matrix.h"
#include "model/language/state_layout.h"

namespace ela {

// Immutable, thread-safe.
struct Lobe {
  LobeConfig config;
  std::string fingerprint;  // hex, of config and tensors
  StateLayout::Head head;
  std::vector<PackedMatrix> layers;  // d -> q, k, v (3d)
  int64_t bytes = 0;                 // resident

  // A position of a prompt segment sees the segment's end: the segment runs layer by layer.
  bool sees_ahead() const { return config.mode != LobeMode::kCausal; }

  // config.memory_lobe is set, and `weights` hold its tensors; `layout` has room for it.
  static Lobe Pack(const LanguageConfig& config, const Weights& weights, const StateLayout& layout);
};

}  // namespace ela

#endif  // ELA_MODEL_LANGUAGE_LOBE_H_
