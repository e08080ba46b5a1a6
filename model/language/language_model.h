// ELA-GPT on the serving kernels (docs/model.md 2): the rows of a step, from many sequences,
// through all layers, with the sequences' states updated in place. A prompt segment whose lobe sees
// ahead goes through layer by layer instead: in pass p its rows ask lobe p - 1, which by then has
// absorbed the whole segment, and run layer p; scratch carries them to the next pass.
#ifndef ELA_MODEL_LANGUAGE_LANGUAGE_MODEL_H_
#define ELA_MODEL_LANGUAGE_LANGUAGE_MODEL_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "model/config.h"
#include "model/kernels/aligned_buffer.h"
#include "model/language/attention.h"
#include "model/language/dense_layer.h"
#include "model/language/language_weights.h"
#include "model/language/mixture_of_experts.h"
#include "model/language/sequence_rows.h"
#include "model/language/state_layout.h"
#include "model/types.h"

namespace ela {

// Owns the scratch of a step; nothing is allocated after construction. Engine thread only.
class LanguageModel {
 public:
  // All references are borrowed for the model's life.
  LanguageModel(const LanguageConfig& config, const LanguageWeights& weights,
                const StateLayout& layout, const Compute& compute, int64_t max_rows);

  // Absorbs tokens[i] as row i of the step into the states that `sequences` names. REQUIRES: the
  // sequences stand in the order of their rows, which cover [0, tokens.size()); those of the same
  // pass are neighbours, and among them those with the same lobe; tokens.size() <= max_rows.
  void Run(absl::Span<const SequenceRows> sequences, absl::Span<const TokenId> tokens);

  // Floats of scratch that a row of a prompt segment needs from pass to pass: x and the lobe's
  // query, 2d, and the experts that it went to.
  int64_t scratch_floats() const {
    return 2 * config_.hidden_size + 2 * config_.num_hidden_layers * config_.num_experts_per_tok;
  }

  // Logits of rows of the last Run that have gone through all layers, into logits[rows.size(), ld].
  // At most kLogitRows at a time.
  static constexpr int64_t kLogitRows = 64;
  int64_t logits_ld() const { return weights_.embedding.padded_n(); }
  void Logits(absl::Span<const int64_t> rows, float* logits);

  // Experts and weights of the last Run, [layer][row][K] in rank order.
  const int32_t* chosen(int layer, int64_t row) const;
  const float* chosen_weights(int layer, int64_t row) const;
  // Rows routed to each expert by the last Run: [layers, E].
  absl::Span<const int64_t> expert_rows() const { return expert_rows_; }

  // What a loaded state implies but does not hold.
  void Derive(char* state, const Lobe* lobe, int64_t position);

 private:
  // Neighbouring sequences of a step, and the rows [first, first + count) that they cover.
  struct Group {
    absl::Span<const SequenceRows> sequences;
    int64_t first = 0, count = 0;

    explicit Group(absl::Span<const SequenceRows> members)
        : sequences(members),
          first(members.front().first_row),
          count(members.back().first_row + members.back().rows - first) {}
  };

  template <class Body>
  void ForRowsOf(const Group& group, Body body);
  void RunGroup(const Group& group, absl::Span<const TokenId> tokens);
  void RunLayer(int layer, const Group& group);
  void Attend(int layer, const Group& group);
  void AddFlow(int layer, const Group& group);
  void Convolve(int layer, absl::Span<const SequenceRows> sequences);
  void Angles(absl::Span<const SequenceRows> sequences);
  void Suspend(int layer, const Group& group);
  void Resume(int layer, const Group& group);

  const LanguageConfig config_;
  const LanguageWeights& weights_;
  const StateLayout& layout_;
  const Compute compute_;
  const int64_t max_rows_;
  const int64_t ld_;                 // d rounded up to whole panels
  const int64_t ld_input_;           // of projected_
  const int64_t ld_lobe_;            // of lobe_rows_
  std::vector<double> frequencies_;  // [D/2]; empty without RoPE

  Attention attention_;
  MixtureOfExperts experts_;

  // Scratch of one step, [m, …].
  AlignedBuffer x_;              // [m, d]: the residual stream
  AlignedBuffer normed_;         // [m, d]
  AlignedBuffer projected_;      // [m, ld_input]: q, k, v, gate, decay
  AlignedBuffer convolved_;      // [m, 3d], with a short convolution
  AlignedBuffer decays_;         // [m, ld]
  AlignedBuffer attended_;       // [m, d]
  AlignedBuffer a_;              // [m, ld]: what the experts see
  AlignedBuffer flow_;           // [m, d]
  AlignedBuffer lobe_rows_;      // [m, ld_lobe]: q, k, v
  AlignedBuffer cosine_, sine_;  // [m, D/2]
  AlignedBuffer head_rows_;      // [kLogitRows, d]
  std::vector<int32_t> chosen_;  // [layers, max_rows, K]
  std::vector<float> chosen_weights_;
  std::vector<int64_t> expert_rows_;
};

}  // namespace ela

#endif  // ELA_MODEL_LANGUAGE_LANGUAGE_MODEL_H_
