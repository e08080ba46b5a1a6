#ifndef ELA_MODEL_REFERENCE_MEMORY_LOBE_H_
#define ELA_MODEL_REFERENCE_MEMORY_LOBE_H_

#include <string>
#include <vector>

#include "absl/types/span.h"
#include "model/config.h"
#include "model/reference/self_attention.h"
#include "model/reference/torch_headers.h"

namespace ela::reference {

struct LobeWeights {
  at::Tensor q, k, v;  // [d, d]
};

// A sequence is a row of segments; their cut matters to the prefix lobe alone.
struct Segment {
  int64_t length;
  bool generated;  // else part of a prompt
};

// What each of `length` positions of the lobe sees (docs/model.md 2, lobe modes). Without segments
// the whole sequence is one prompt.
Visibility LobeVisibility(LobeMode mode, int64_t length, absl::Span<const Segment> segments);

// Attention over the layer's flow f [B, L, d], without position encoding (paper 5.3).
at::Tensor MemoryLobe(const LobeConfig& config, const LobeWeights& weights, const at::Tensor& flow,
                      const Visibility& visibility, const ComputeOptions& options);

}  // namespace ela::reference

#endif  // ELA_MODEL_REFERENCE_MEMORY_LOBE_H_
