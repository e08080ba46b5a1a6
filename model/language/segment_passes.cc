#include "model/language/segment_passes.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace ela {
namespace {

std::string Text(const Segment& segment) {
  return absl::StrCat("[", segment.begin, ", ", segment.begin + segment.length, ") in pass ",
                      segment.pass);
}

}  // namespace

SegmentPasses::SegmentPasses(const Limits& limits, int64_t row_floats, int32_t num_slots)
    : limits_(limits), row_floats_(row_floats), slots_(num_slots) {}

absl::Status SegmentPasses::Check(int32_t slot, int64_t position, const Segment& segment,
                                  int64_t first_position, int64_t tokens) const {
  const Slot& s = slots_[slot];
  const auto bad = [slot](auto... words) {
    return absl::InternalError(absl::StrCat("slot ", slot, ": ", words...));
  };
  const int64_t expected = under_way(slot) ? s.position : position;
  if (first_position != expected) {
    return bad("first_position is ", first_position, ", the slot stands at ", expected);
  }
  if (segment.kind == SegmentKind::kGenerated) {
    if (under_way(slot)) return bad("prompt segment ", Text(s.segment), " was left before its end");
    if (segment.pass != 0) return bad("pass is ", segment.pass, " in a generated segment");
    return absl::OkStatus();
  }
  if (first_position + tokens > segment.begin + segment.length) {
    return bad("tokens up to ", first_position + tokens, " pass the end of segment ",
               Text(segment));
  }
  if (under_way(slot)) {
    if (segment.begin == s.segment.begin && segment.length == s.segment.length &&
        segment.pass == s.segment.pass) {
      return absl::OkStatus();
    }
    return bad("segment ", Text(segment), " came in the middle of ", Text(s.segment));
  }
  if (segment.begin != position || segment.pass != 0) {
    return bad("segment ", Text(segment), " begins where the slot stands at ", position);
  }
  if (segment.length > limits_.segment_tokens) {
    return bad("a segment of ", segment.length, " tokens, the limit is ", limits_.segment_tokens);
  }
  return absl::OkStatus();
}

absl::Status SegmentPasses::Begin(int32_t slot, const Segment& segment) {
  if (scratch_tokens_ + segment.length > limits_.scratch_tokens) {
    return absl::ResourceExhaustedError(
        absl::StrCat("prompt segments under way hold ", scratch_tokens_, " tokens, a segment of ",
                     segment.length, " would pass the limit of ", limits_.scratch_tokens));
  }
  absl::StatusOr<AlignedBuffer> rows = AlignedBuffer::Allocate(segment.length * row_floats_);
  if (!rows.ok()) return rows.status();
  Slot& s = slots_[slot];
  s.segment = segment;
  s.position = segment.begin;
  s.rows = *std::move(rows);
  scratch_tokens_ += segment.length;
  return absl::OkStatus();
}

float* SegmentPasses::Row(int32_t slot, int64_t position) const {
  const Slot& s = slots_[slot];
  return s.rows.get() + (position - s.segment.begin) * row_floats_;
}

bool SegmentPasses::Advance(int32_t slot, int64_t tokens) {
  Slot& s = slots_[slot];
  s.position += tokens;
  if (s.position < s.segment.begin + s.segment.length) return false;
  s.position = s.segment.begin;
  if (++s.segment.pass < limits_.passes) return false;
  Drop(slot);
  return true;
}

void SegmentPasses::Drop(int32_t slot) {
  Slot& s = slots_[slot];
  scratch_tokens_ -= s.segment.length;
  s.segment = Segment();
  s.rows = AlignedBuffer();
}

}  // namespace ela
