// Exact linear attention of a step's rows against the states of their slots, in blocks of 16 tokens
// that lie at absolute positions (docs/model.md 1). A chunk of a prompt and a single decoded token
// go through the same three calls, so that cutting a prompt differently changes no bit.
#ifndef ELA_MODEL_LANGUAGE_ATTENTION_H_
#define ELA_MODEL_LANGUAGE_ATTENTION_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "model/kernels/aligned_buffer.h"
#include "model/language/dense_layer.h"
#include "model/language/sequence_rows.h"
#include "model/language/state_layout.h"

namespace ela {

// Rows of a step, row-major; heads lie side by side in a row.
struct AttentionRows {
  const float* q = nullptr;
  const float* k = nullptr;
  const float* v = nullptr;
  int64_t ld = 0;            // of q, k and v
  const float* g = nullptr;  // log decays, or null
  int64_t ldg = 0;
  float* y = nullptr;
  int64_t ldy = 0;
};

// Owns the scratch of each thread. Engine thread only.
class Attention {
 public:
  Attention(const StateLayout& layout, const Compute& compute);

  // Absorbs the rows into the heads `head` (the layout's attention, or a lobe) of `layer` and
  // writes the outputs. Parallel over slots and heads.
  void Run(int layer, const StateLayout::Head& head, absl::Span<const SequenceRows> sequences,
           const AttentionRows& rows);

  // The two halves of a lobe that sees ahead, in different passes: Absorb takes keys and values and
  // writes nothing; Query asks what the state holds when its segment has been absorbed to its end.
  void Absorb(int layer, const StateLayout::Head& head, absl::Span<const SequenceRows> sequences,
              const AttentionRows& rows);
  void Query(int layer, const StateLayout::Head& head, absl::Span<const SequenceRows> sequences,
             const AttentionRows& rows);

  // Computes again what a loaded tail of `tail` tokens implies.
  void Derive(int layer, const StateLayout::Head& head, char* state, int64_t merged, int tail);

 private:
  const StateLayout& layout_;
  const Compute compute_;
  std::vector<AlignedBuffer> scratch_;  // by thread
};

}  // namespace ela

#endif  // ELA_MODEL_LANGUAGE_ATTENTION_H_
