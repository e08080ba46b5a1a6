#include "scheduler/session.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/status_macros.h"

namespace ela {
namespace {

bool Before(const SnapshotRef& snapshot, int64_t position) { return snapshot->position < position; }

}  // namespace

SessionDetails Session::Details() const {
  SessionDetails details;
  details.segments = segments_;
  details.time_to_live = time_to_live;
  details.used = used;
  details.durability = durability;
  details.label = label;
  details.last_call = last_call;
  return details;
}

void Session::AppendPrompt(absl::Span<const TokenId> tokens, absl::Span<const Segment> segments) {
  if (tokens.empty()) return;
  const int64_t begin = num_tokens();
  const Segment whole{SegmentKind::kPrompt, 0, static_cast<int64_t>(tokens.size()), 0};
  if (segments.empty()) segments = absl::MakeConstSpan(&whole, 1);
  for (const Segment& segment : segments) {
    segments_.push_back({segment.kind, begin + segment.begin, segment.length, 0});
  }
  log_.Append(tokens);
}

void Session::AppendGenerated(TokenId token) {
  if (segments_.empty() || segments_.back().kind != SegmentKind::kGenerated) {
    segments_.push_back({SegmentKind::kGenerated, num_tokens(), 0, 0});
  }
  ++segments_.back().length;
  log_.Append({&token, 1});
}

int64_t Session::Truncate(int64_t position) {
  const int64_t num_before = num_tokens();
  log_.Truncate(position);
  while (!segments_.empty() && segments_.back().begin >= position) segments_.pop_back();
  if (!segments_.empty()) {
    segments_.back().length = std::min(segments_.back().length, position - segments_.back().begin);
  }
  num_computed_ = std::min(num_computed_, position);
  if (sealed_position > position) sealed = nullptr;
  if (position < num_before) ++stored.epoch;
  stored.submitted = std::min(stored.submitted, position);
  stored.durable = std::min(stored.durable, position);
  while (!snapshots_.empty() && snapshots_.back()->position > position) snapshots_.pop_back();
  int64_t num_gone = 0;
  for (auto checkpoint = checkpoints.begin(); checkpoint != checkpoints.end();) {
    if (checkpoint->second.position <= position) {
      ++checkpoint;
    } else {
      if (checkpoint->second.claimed) ++num_gone;
      checkpoint = checkpoints.erase(checkpoint);
    }
  }
  return num_gone;
}

void Session::CopyPast(const Session& parent, int64_t position) {
  log_ = parent.log_;
  segments_ = parent.segments_;
  num_computed_ = parent.num_computed_;
  snapshots_ = parent.snapshots_;
  lobe_fingerprint = parent.lobe_fingerprint;
  sealed = parent.sealed;
  sealed_position = parent.sealed_position;
  Truncate(position);
  for (const auto& [name, checkpoint] : parent.checkpoints) {
    if (checkpoint.position <= position && checkpoint.snapshot != nullptr) {
      AddSnapshot(checkpoint.snapshot);
    }
  }
}

absl::Status Session::CheckReachable(int64_t position) const {
  if (passes_ == 1) return absl::OkStatus();
  for (const Segment& segment : segments_) {
    if (segment.kind == SegmentKind::kGenerated || position <= segment.begin ||
        position >= segment.begin + segment.length) {
      continue;
    }
    return absl::FailedPreconditionError(absl::StrCat(
        "position ", position, " lies inside the prompt segment [", segment.begin, ", ",
        segment.begin + segment.length,
        "): with a prefix lobe, checkpoints, prefix hits and rewinds are possible at segment ends "
        "and in generated text only"));
  }
  return absl::OkStatus();
}

int64_t Session::StateTarget(int64_t position) const {
  if (position == 0) return 0;
  if (passes_ == 1) return position - 1;
  const auto segment =
      std::find_if(segments_.begin(), segments_.end(), [position](const Segment& s) {
        return s.begin < position && position <= s.begin + s.length;
      });
  return segment->kind == SegmentKind::kGenerated ? position - 1 : position;
}

int64_t Session::LastPromptEnd(int64_t position) const {
  int64_t last = 0;
  if (passes_ == 1) return last;
  for (const Segment& segment : segments_) {
    const int64_t end = segment.begin + segment.length;
    if (segment.kind == SegmentKind::kPrompt && end <= position) last = end;
  }
  return last;
}

Session::Start Session::StartFor(bool needs_output) const {
  int64_t limit = num_tokens();
  if (needs_output && limit > 0) {
    const bool whole = passes_ > 1 && segments_.back().kind == SegmentKind::kPrompt;
    limit = whole ? segments_.back().begin : limit - 1;
  }
  return StartAt(limit);
}

Session::Start Session::StartAt(int64_t position) const {
  Start best;
  const auto consider = [&best, position](const SnapshotRef& snapshot) {
    if (snapshot == nullptr || snapshot->lowest > position) return;
    const int64_t at = std::min(snapshot->position, position);
    if (best.snapshot == nullptr || at > best.position) best = {snapshot, nullptr, at, 0};
  };
  for (const SnapshotRef& snapshot : snapshots_) consider(snapshot);
  for (const auto& [name, checkpoint] : checkpoints) consider(checkpoint.snapshot);
  if (sealed == nullptr) return best;
  const int64_t lowest = std::max(sealed_position / 16 * 16, LastPromptEnd(sealed_position));
  const int64_t at = std::min(sealed_position, position);
  if (lowest <= position && (best.none() || at > best.position)) {
    best = {nullptr, sealed, at, sealed_position};
  }
  return best;
}

bool Session::HasStateAt(int64_t position) const {
  const Start start = StartAt(position);
  return start.snapshot != nullptr && start.snapshot->position == position;
}

void Session::AddSnapshot(SnapshotRef snapshot) {
  const int64_t position = snapshot->position;
  const auto at = std::lower_bound(snapshots_.begin(), snapshots_.end(), position, Before);
  if (at != snapshots_.end() && (*at)->position == position) {
    *at = std::move(snapshot);
  } else {
    snapshots_.insert(at, std::move(snapshot));
  }
}

void Session::AddEnd(SnapshotRef snapshot, int64_t every) {
  const int64_t position = snapshot->position;
  AddSnapshot(std::move(snapshot));
  const size_t n = snapshots_.size();
  if (n < 3 || snapshots_.back()->position != position) return;
  const int64_t before = n == 3 ? 0 : snapshots_[n - 4]->position;
  const int64_t older = snapshots_[n - 3]->position;
  if (every == 0 || older - before < every) snapshots_.erase(snapshots_.end() - 3);
}

void Session::DropSnapshot(int64_t position) {
  const auto at = std::lower_bound(snapshots_.begin(), snapshots_.end(), position, Before);
  if (at != snapshots_.end() && (*at)->position == position) snapshots_.erase(at);
}

int64_t Session::num_claims() const {
  return 1 + std::count_if(checkpoints.begin(), checkpoints.end(),
                           [](const auto& checkpoint) { return checkpoint.second.claimed; });
}

int64_t Session::num_states() const {
  std::set<const SlotSnapshot*> states;
  for (const SnapshotRef& snapshot : snapshots_) states.insert(snapshot.get());
  for (const auto& [name, checkpoint] : checkpoints) {
    if (checkpoint.snapshot != nullptr) states.insert(checkpoint.snapshot.get());
  }
  return static_cast<int64_t>(states.size());
}

}  // namespace ela
