#ifndef ELA_SCHEDULER_PROMPT_CURSOR_H_
#define ELA_SCHEDULER_PROMPT_CURSOR_H_

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/types.h"

namespace ela {

// How far a prompt has been absorbed: segment, pass, position. With several passes a prompt segment
// is walked from its begin to its end once per pass, and outputs exist in the last pass only; a
// generated segment is walked once, in pass 0 (rule 7 of model/worker.h). Thread-compatible.
class PromptCursor {
 public:
  // Cuts `num_tokens` tokens by `lengths` and `kinds`; empty: one prompt segment.
  // `max_segment_tokens` limits prompt segments when passes > 1; 0: no limit. Errors:
  // kInvalidArgument (names the field, its value and the limit).
  static absl::StatusOr<PromptCursor> Create(int64_t num_tokens, absl::Span<const int64_t> lengths,
                                             absl::Span<const SegmentKind> kinds, int32_t passes,
                                             int64_t max_segment_tokens);

  bool done() const { return index_ == segments_.size(); }

  // The rest REQUIRES: not done.
  int64_t position() const { return position_; }  // of the next token
  int64_t left_in_pass() const { return end() - position_; }
  bool in_output_pass() const { return pass_ + 1 == num_passes(); }
  // Absorbing `n` more tokens ends the prompt.
  bool EndsPromptAfter(int64_t n) const {
    return n == left_in_pass() && in_output_pass() && index_ + 1 == segments_.size();
  }
  // As the worker wants to see it.
  Segment segment() const;
  // Several passes: the whole segment was seen before its outputs.
  bool sees_own_future() const { return num_passes() > 1; }
  int64_t end() const { return segments_[index_].begin + segments_[index_].length; }

  // REQUIRES: 0 < n <= left_in_pass().
  void Advance(int64_t n);

 private:
  PromptCursor(std::vector<Segment> segments, int32_t passes)
      : segments_(std::move(segments)), passes_(passes) {}

  int32_t num_passes() const {
    return segments_[index_].kind == SegmentKind::kPrompt ? passes_ : 1;
  }

  // Constant after construction.
  std::vector<Segment> segments_;  // with true lengths, of generated segments too
  int32_t passes_;
  // Changing.
  size_t index_ = 0;
  int32_t pass_ = 0;
  int64_t position_ = 0;
};

}  // namespace ela

#endif  // ELA_SCHEDULER_PROMPT_CURSOR_H_
