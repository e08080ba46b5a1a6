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

  if (lengths.empty()) ELA_RETURN_IF_ERROR(add(SegmentKind::kPrompt, num_tokens));
  for (size_t i = 0; i < lengths.size(); ++i) ELA_RETURN_IF_ERROR(add(kinds[i], lengths[i]));
  if (begin != num_tokens) {
    return absl::InvalidArgumentError(
        absl::StrCat("segment_lengths add up to ", begin, ", tokens has ", num_tokens));
  }
  return PromptCursor(std::move(segments), passes);
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
