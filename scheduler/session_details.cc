#include "scheduler/session_details.h"

#include <limits>

#include "absl/status/status.h"
#include "model/status_macros.h"

namespace ela {
namespace {

// Version 1: numbers as base-128 varints (least significant first), strings behind their length.
constexpr uint64_t kVersion = 1;

void PutNumber(uint64_t value, std::string* out) {
  for (; value >= 128; value >>= 7) out->push_back(static_cast<char>(value | 128));
  out->push_back(static_cast<char>(value));
}

void PutString(absl::string_view text, std::string* out) {
  PutNumber(text.size(), out);
  out->append(text.data(), text.size());
}

absl::Status Damaged() { return absl::DataLossError("the session's details are damaged"); }

// Takes values off the front; after a failure everything is 0 and empty.
class Reader {
 public:
  explicit Reader(absl::string_view bytes) : bytes_(bytes) {}

  uint64_t Number(uint64_t most = std::numeric_limits<int64_t>::max()) {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (bytes_.empty()) return Fail();
      const auto byte = static_cast<unsigned char>(bytes_.front());
      bytes_.remove_prefix(1);
      value |= static_cast<uint64_t>(byte & 127) << shift;
      if (byte < 128) return value <= most ? value : Fail();
    }
    return Fail();
  }

  std::string String() {
    const uint64_t size = Number();
    if (size > bytes_.size()) {
      Fail();
      return std::string();
    }
    std::string text(bytes_.substr(0, size));
    bytes_.remove_prefix(size);
    return text;
  }

  bool AtEnd() const { return good_ && bytes_.empty(); }
  size_t left() const { return bytes_.size(); }

 private:
  uint64_t Fail() {
    good_ = false;
    bytes_ = {};
    return 0;
  }

  absl::string_view bytes_;
  bool good_ = true;
};

}  // namespace

std::string EncodeDetails(const SessionDetails& details) {
  std::string out;
  PutNumber(kVersion, &out);
  const bool for_ever = details.time_to_live == absl::InfiniteDuration();
  PutNumber(for_ever ? 0 : absl::ToInt64Microseconds(details.time_to_live) + 1, &out);
  PutNumber(absl::ToUnixMicros(details.used), &out);
  PutNumber(static_cast<uint64_t>(details.durability), &out);
  PutString(details.label, &out);
  PutNumber(details.segments.size(), &out);
  for (const Segment& segment : details.segments) {
    PutNumber(segment.length << 1 | (segment.kind == SegmentKind::kGenerated ? 1 : 0), &out);
  }
  PutString(details.last_call.record, &out);
  PutNumber(details.last_call.prompt_end, &out);
  PutNumber(static_cast<uint64_t>(details.last_call.reason), &out);
  return out;
}

absl::StatusOr<SessionDetails> DecodeDetails(absl::string_view bytes) {
  Reader in(bytes);
  if (in.Number() != kVersion) return Damaged();
  SessionDetails details;
  const uint64_t time_to_live = in.Number();
  if (time_to_live > 0) details.time_to_live = absl::Microseconds(time_to_live - 1);
  details.used = absl::FromUnixMicros(static_cast<int64_t>(in.Number()));
  details.durability =
      static_cast<Durability>(in.Number(static_cast<uint64_t>(Durability::kEveryMessage)));
  details.label = in.String();
  const uint64_t num_segments = in.Number();
  if (num_segments > in.left()) return Damaged();  // each takes a byte
  int64_t begin = 0;
  for (uint64_t i = 0; i < num_segments; ++i) {
    const uint64_t word = in.Number(uint64_t{1} << 48);
    Segment segment{(word & 1) != 0 ? SegmentKind::kGenerated : SegmentKind::kPrompt, begin,
                    static_cast<int64_t>(word >> 1), 0};
    if (segment.length == 0 || begin > int64_t{1} << 48) return Damaged();
    begin += segment.length;
    details.segments.push_back(segment);
  }
  details.last_call.record = in.String();
  details.last_call.prompt_end = static_cast<int64_t>(in.Number());
  details.last_call.reason =
      static_cast<FinishReason>(in.Number(static_cast<uint64_t>(FinishReason::kError)));
  if (!in.AtEnd()) return Damaged();
  return details;
}

}  // namespace ela
