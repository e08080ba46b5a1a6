// Where everything lies inside a slot: the only place that knows bytes per slot. A slot is one
// stretch of memory, head after head, so that a fork is one copy and a decode step one linear read.
//
//   per layer: rows before the short convolution [W-1 + 16, 3d]
//              attention heads, lobe heads; each: base, tail, derived (HeadState in kernels.h)
//
// With pluggable lobes of other shapes than the model's own, the last part of every layer is as
// large as the largest of them takes.
//
// Every part begins on a 64-byte boundary. Position and the like are kept by the pool, not here.
#ifndef ELA_MODEL_LANGUAGE_STATE_LAYOUT_H_
#define ELA_MODEL_LANGUAGE_STATE_LAYOUT_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "model/config.h"
#include "model/kernels/kernels.h"

namespace ela {

// Immutable, thread-safe. The device decides the allocator, not the layout.
class StateLayout {
 public:
  // Of one head of the attention, or of the lobe.
  struct Head {
    AttentionKernel kernel = AttentionKernel::kHadamardExp;
    int count = 0;      // heads; 0: no lobe
    int64_t width = 0;  // D = Dv
    bool decay = false;
    int64_t bytes = 0;   // of one head
    int64_t offset = 0;  // of the first head within a layer
    // Within a head; a part that the kernel has no use for is absent (-1).
    int64_t matrix = -1, row_max = -1, row_sum = -1, key_mean = -1, value_mean = -1, third = -1,
            totals = -1, keys = -1, values = -1, decays = -1, features = -1, anchor = -1,
            weights = -1, direct = -1;
  };

  // Slots have room for the model's own lobe and for each of `others`.
  explicit StateLayout(const LanguageConfig& config, absl::Span<const LobeConfig> others = {});
  // One head, every kernel: what they have room for suits every lobe whose heads are not very
  // narrow (under 16).
  static std::vector<LobeConfig> AnyLobe();

  int64_t slot_bytes() const { return layers_ * layer_bytes_; }
  int layers() const { return layers_; }
  const Head& attention() const { return attention_; }
  const Head& lobe() const { return lobe_; }  // the model's own
  // Where a lobe's heads lie. There is room for it if its count * bytes is at most lobe_bytes().
  Head PlaceLobe(const LobeConfig& config) const;
  int64_t lobe_bytes() const { return lobe_bytes_; }  // for lobe heads, in each layer
  int64_t widest_head() const;

  int64_t convolution_window() const { return window_; }            // W; 0: no convolution
  int64_t convolution_width() const { return convolution_width_; }  // 3d
  int64_t convolution_rows() const { return window_ == 0 ? 0 : window_ - 1 + kBlock; }
  float* Convolution(char* slot, int layer) const;

  // Views into a slot; `head` of attention() or lobe().
  HeadState View(char* slot, int layer, const Head& head, int index) const;

 private:
  int layers_ = 0;
  int64_t window_ = 0, convolution_width_ = 0;
  int64_t layer_bytes_ = 0, lobe_bytes_ = 0;
  Head attention_, lobe_;
};

}  // namespace ela

#endif  // ELA_MODEL_LANGUAGE_STATE_LAYOUT_H_
