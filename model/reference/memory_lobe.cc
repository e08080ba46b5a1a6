#include "model/reference/memory_lobe.h"

namespace ela::reference {

Visibility LobeVisibility(LobeMode mode, int64_t length, absl::Span<const Segment> segments) {
  Visibility end = CausalVisibility(length);
  if (mode == LobeMode::kCausal) return end;
  if (mode == LobeMode::kBidirectional || segments.empty()) return Visibility(length, length);
  int64_t first = 0;
  for (const Segment& segment : segments) {
    const int64_t last = std::min(first + segment.length, length);
    for (int64_t i = first; i < last && !segment.generated; ++i) end[i] = last;
    first = last;
  }
  return end;
}

at::Tensor MemoryLobe(const LobeConfig& config, const LobeWeights& weights, const at::Tensor& flow,
                      const Visibility& visibility, const ComputeOptions& options) {
  const at::Tensor qkv =
      LinearKeepingType(flow, at::cat({weights.q, weights.k, weights.v}, 0), options.precision);
  const std::vector<at::Tensor> heads = SplitHeads(qkv, 3, config.heads);
  const AttentionInputs inputs{heads[0], heads[1], heads[2], {}};
  return MergeHeads(Attend(config.kernel, inputs, visibility, options));
}

}  // namespace ela::reference
