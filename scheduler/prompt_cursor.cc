#include "scheduler/prompt_cursor.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "model/status_macros.h"

namespace ela {

absl::StatusOr<PromptCursor> PromptCursor::Create(int64_t num_tokens,
                                                  absl::Span<const int64_t> lengths,
                                                  absl::Span<const SegmentKind> kinds,
                                                  int32_t passes, int64_t max_segment_tokens) {
  if (lengths.size() != kinds.size()) {
    return absl::InvalidArgumentError(absl::StrCat("segment_kinds has ", kinds.size(),
                                                   " entries, segment_lengths ", lengths.size()));
  }
  std::vector<Segment> segments;
  int64_t begin = 0;
  const auto add = [&](SegmentKind kind, int64_t length) -> absl::Status {
    const size_t i = segments.size();
    if (length < 1 || length > num_tokens - begin) {
      return absl::InvalidArgumentError(absl::StrCat("segment_lengths[", i, "] is ", length,
                                                     ", must be in [1, ", num_tokens - begin,
                                                     "]: the tokens that are left"));
    }
    if (kind == SegmentKind::kPrompt && passes > 1 && max_segment_tokens > 0 &&
        length > max_segment_tokens) {
      return absl::InvalidArgumentError(absl::StrCat("prompt segment ", i, " has ", length,
                                                     " tokens, this model allows ",
                                                     max_segment_tokens));
    }
    segments.push_back({kind, begin, length, 0});
    begin += length;
    return absl::OkStatus();
  };

  if (lengths.empty() && num_tokens > 0) ELA_RETURN_IF_ERROR(add(SegmentKind::kPrompt, num_tokens));
  for (size_t i = 0; i < lengths.size(); ++i) ELA_RETURN_IF_ERROR(add(kinds[i], lengths[i]));
  if (begin != num_tokens) {
    return absl::InvalidArgumentError(
        absl::StrCat("segment_lengths add up to ", begin, ", tokens has ", num_tokens));
  }
  return PromptCursor(std::move(segments), passes);
}

void PromptCursor::Behind(absl::Span<const Segment> past, int64_t start, bool leave_last) {
  const int64_t past_end = past.empty() ? 0 : past.back().begin + past.back().length;
  for (Segment& segment : segments_) segment.begin += past_end;
  segments_.insert(segments_.begin(), past.begin(), past.end());
  StartAt(start);
  if (done()) return;
  const bool shorter =
      leave_last && (passes_ == 1 || segments_.back().kind == SegmentKind::kGenerated);
  if (passes_ > 1) {
    if (shorter && --segments_.back().length == 0) segments_.pop_back();
    return;
  }
  const int64_t end = num_tokens() - (shorter ? 1 : 0);
  segments_.clear();
  index_ = 0;
  if (end > start) segments_.push_back({SegmentKind::kPrompt, start, end - start, 0});
}

void PromptCursor::StartAt(int64_t position) {
  ELA_CHECK(whole(), "a start lies where a state can be");
  while (!done() && end() <= position) ++index_;
  position_ = position;
  if (done() || segments_[index_].begin >= position) return;
  if (passes_ == 1) {
    segments_[index_].length = end() - position;
    segments_[index_].begin = position;
  } else {
    ELA_CHECK(segments_[index_].kind == SegmentKind::kGenerated,
              "with several passes no sequence starts inside a prompt segment");
  }
}

PromptCursor PromptCursor::Again(int64_t position) const {
  std::vector<Segment> segments = segments_;
  if (passes_ == 1) segments = {{SegmentKind::kPrompt, 0, num_tokens(), 0}};
  PromptCursor cursor(std::move(segments), passes_);
  cursor.StartAt(position);
  return cursor;
}

bool PromptCursor::CanStandAt(int64_t position) const {
  for (const Segment& segment : segments_) {
    if (segment.kind == SegmentKind::kPrompt && segment.begin < position &&
        position < segment.begin + segment.length) {
      return passes_ == 1;
    }
  }
  return true;
}

int64_t PromptCursor::last_prompt_end() const {
  if (passes_ == 1) return 0;
  int64_t last = 0;
  for (const Segment& segment : segments_) {
    const int64_t end = segment.begin + segment.length;
    if (segment.kind == SegmentKind::kPrompt && end <= position_) last = end;
  }
  return last;
}

Segment PromptCursor::segment() const {
  Segment segment = segments_[index_];
  if (segment.kind == SegmentKind::kGenerated) segment.length = 0;
  segment.pass = pass_;
  return segment;
}

void PromptCursor::Advance(int64_t n) {
  ELA_CHECK(n > 0 && n <= left_in_pass(), "a chunk ends inside its segment");
  position_ += n;
  if (position_ < end()) return;
  if (++pass_ < num_passes()) {
    position_ = segments_[index_].begin;
    return;
  }
  pass_ = 0;
  ++index_;
}

}  // namespace ela
