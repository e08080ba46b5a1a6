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
  // Cuts `num_tokens` tokens by `lengths` and `kinds`; empty: one prompt segment, or none if there
  // are no tokens.
  // `max_segment_tokens` limits prompt segments when passes > 1; 0: no limit. Errors:
  // kInvalidArgument (names the field, its value and the limit).
  static absl::StatusOr<PromptCursor> Create(int64_t num_tokens, absl::Span<const int64_t> lengths,
                                             absl::Span<const SegmentKind> kinds, int32_t passes,
                                             int64_t max_segment_tokens);

  // Puts the prompt behind a past that `past` cuts, of which `start` tokens are absorbed already.
  // Positions count from the past's first token. With one pass, where cuts do not matter, what is
  // left is one segment. `leave_last`: the last token is left out, unless it belongs to a prompt
  // segment of several passes. REQUIRES: nothing is absorbed; with several passes no prompt segment
  // holds `start` inside.
  void Behind(absl::Span<const Segment> past, int64_t start, bool leave_last);
  // The slot holds the first `position` tokens, absorbed by another or before it was copied out.
  // With one pass the segment that it lies in begins there. REQUIRES: whole(), position() <=
  // position, and as above.
  void StartAt(int64_t position);

  // A cursor over the same tokens, of which the first `position` are absorbed.
  PromptCursor Again(int64_t position) const;

  bool done() const { return index_ == segments_.size(); }
  // With true lengths.
  absl::Span<const Segment> segments() const { return segments_; }
  int64_t num_tokens() const {
    return segments_.empty() ? position_ : segments_.back().begin + segments_.back().length;
  }
  // What is absorbed is a state that can be copied: not between the passes of a segment.
  bool whole() const {
    return done() || num_passes() == 1 || (pass_ == 0 && position_ == segments_[index_].begin);
  }
  // With several passes: a state can stand behind `position` tokens.
  bool CanStandAt(int64_t position) const;
  // Where the last prompt segment before the position ends, if there are several passes; else 0.
  int64_t last_prompt_end() const;

  int64_t position() const { return position_; }  // of the next token

  // The rest REQUIRES: not done.
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

  std::vector<Segment> segments_;  // with true lengths, of generated segments too
  int32_t passes_;
  size_t index_ = 0;
  int32_t pass_ = 0;
  int64_t position_ = 0;
};

}  // namespace ela

#endif  // ELA_SCHEDULER_PROMPT_CURSOR_H_
