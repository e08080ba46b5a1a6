// How sequences end: what ends them, what they leave behind, who is told, and when their slot is
// free again.
#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "scheduler/engine.h"
#include "scheduler/session.h"

namespace ela {
namespace {

constexpr absl::Duration kRetryElsewhere = absl::Seconds(1);

}  // namespace

void Engine::EndOverdue() {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now_) {
    Sequence& sequence = *sequences_.at(deadlines_.begin()->second);
    deadlines_.erase(deadlines_.begin());
    Finish(
        sequence,
        absl::DeadlineExceededError(absl::StrCat(
            "the deadline passed ", sequence.counted ? "in the queue" : "while running", ", after ",
            sequence.num_generated(), " of ", sequence.request.max_new_tokens, " tokens")),
        FinishReason::kCancelled);
  }
  for (size_t i = paused_.size(); i-- > 0;) {
    Sequence& sequence = *paused_[std::min(i, paused_.size() - 1)];
    if (now_ < sequence.paused_since + options_.slow_reader_timeout) continue;
    Finish(
        sequence,
        absl::ResourceExhaustedError(absl::StrCat(
            "the reader has taken nothing for ", absl::FormatDuration(now_ - sequence.paused_since),
            ", this server allows slow_reader_timeout ",
            absl::FormatDuration(options_.slow_reader_timeout))),
        FinishReason::kCancelled);
    if (paused_.empty()) break;
  }
  if (now_ < drain_deadline_) return;
  std::vector<Sequence*> left;
  for (auto& [ticket, sequence] : sequences_) left.push_back(sequence.get());
  for (Sequence* sequence : left) {
    Finish(*sequence,
           WithRetryAfter(absl::UnavailableError("the server has shut down"), kRetryElsewhere),
           FinishReason::kCancelled);
  }
}

void Engine::Finish(Sequence& sequence, const absl::Status& status, FinishReason reason) {
  if (sequence.ended) return;
  sequence.ended = true;
  sequence.outcome = status;
  sequence.reason = reason;
  Unpause(sequence);
  StopWaiting(sequence);
  if (sequence.transfer == Transfer::kNone) Settle(sequence);
}

// Keeps the end of a session, as far as it has come; the rest when that is there. REQUIRES: ended,
// no transfer under way.
void Engine::Settle(Sequence& sequence) {
  Session* session = sequence.session;
  if (session != nullptr && !stopping_ && sequence.begun && sequence.whole()) {
    const int64_t position = sequence.position();
    if (sequence.parked != nullptr && sequence.parked->position == position) {
      session->AddEnd(sequence.parked, options_.session_every_tokens);
    }
    if (sequence.slot >= 0 && sequence.slot_good && !sequence.stays && position > 0 &&
        !session->HasStateAt(position) && CopyOut(sequence, Transfer::kEnd, 0)) {
      return;  // Moved goes on
    }
    return SealEnd(sequence);
  }
  Conclude(sequence);
}

// Lets go of everything but the slot, which Retire frees, at the latest at this turn's end.
void Engine::Conclude(Sequence& sequence) {
  if (sequence.swapped) --num_swapped_;
  sequence.swapped = false;
  sequence.parked = nullptr;
  DropClaim(sequence);
  sequence.told = true;
  finished_.push_back(&sequence);
  const bool later = KeepEnd(sequence);
  ReleaseSession(sequence);
  if (later) return;
  if (sequence.errand != nullptr) return TellErrand(sequence);
  Tell(sequence);
}

void Engine::Tell(Sequence& sequence) {
  const Usage usage = sequence.usage(now_);
  if (sequence.group != nullptr) return TellChoice(sequence, usage);
  sequence.sink->OnFinish(sequence.outcome, sequence.reason, usage);
  observer_.OnFinish(sequence.request, sequence.outcome, sequence.reason, usage);
}

// The request ends when its last choice does; the first error ends them all.
void Engine::TellChoice(Sequence& sequence, const Usage& usage) {
  const std::shared_ptr<ChoiceGroup> group = sequence.group;
  --group->num_left;
  const int64_t generated = group->usage.generated_tokens + usage.generated_tokens;
  const absl::Duration decode_time = std::max(group->usage.decode_time, usage.decode_time);
  if (sequence.choice_index() == 0) {
    group->usage = usage;
    if (group->reason == FinishReason::kNone) group->reason = sequence.reason;
  }
  group->usage.generated_tokens = generated;
  group->usage.decode_time = decode_time;

  if (sequence.outcome.ok()) {
    sequence.sink->OnChoiceFinish(sequence.choice_index(), sequence.reason);
  } else if (group->status.ok()) {
    group->status = sequence.outcome;
    group->reason = sequence.reason;
    for (Sequence* other : ChoicesOf(group->first_ticket)) {
      Finish(*other, sequence.outcome, sequence.reason);
    }
  }
  if (group->num_left > 0 || group->told) return;
  group->told = true;
  if (group->has_claim) pool_.Unclaim();
  groups_.erase(group->first_ticket);
  sequence.sink->OnFinish(group->status, group->reason, group->usage);
  observer_.OnFinish(sequence.request, group->status, group->reason, group->usage);
}

void Engine::Retire() {
  if (finished_.empty()) return;
  active_.erase(std::remove_if(active_.begin(), active_.end(),
                               [](const Sequence* sequence) { return sequence->told; }),
                active_.end());
  for (const Sequence* sequence : finished_) {
    if (sequence->slot >= 0) {
      // A segment that was left between its passes gives its scratch back.
      if (!sequence->whole() || !sequence->slot_good) {
        worker_.ResetSlot(sequence->slot, "").IgnoreError();
      }
      slots_.Free(sequence->slot);
    }
    if (sequence->queued) admission_.Remove(EntryOf(*sequence));
    if (sequence->counted) inbox_.LeftQueue(*sequence);
    deadlines_.erase({sequence->request.deadline, sequence->ticket});
    const auto owned = sequences_.find(sequence->ticket);
    if (sequence->held) held_[sequence->ticket] = std::move(owned->second);
    sequences_.erase(owned);
  }
  finished_.clear();
}

}  // namespace ela
