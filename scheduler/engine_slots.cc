// How sequences come into slots and leave them: from nothing, from a session's or a kept prefix's
// state, back from being swapped out; and what is copied out on the way. A transfer may take some
// turns (rule 10 of model/worker.h); meanwhile its sequence takes part in no step.
#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/status_macros.h"
#include "scheduler/engine.h"
#include "scheduler/session.h"
#include "scheduler/session_errand.h"

namespace ela {

// --- In ---

void Engine::Enter(Sequence& sequence) {
  if (!sequence.begun) {
    sequence.begun = true;
    if (sequence.session != nullptr) {
      BeginSession(sequence);
    } else {
      BeginPlain(sequence);
    }
  }
  if (sequence.swapped) --num_swapped_;
  sequence.swapped = false;
  if (sequence.session != nullptr) sequence.session->in_slot = true;
  sequence.moving = std::move(sequence.parked);
  if (sequence.sealed != nullptr) {
    sequence.transfer = Transfer::kLoad;
    return Started(sequence, worker_.BeginLoad(sequence.slot, *sequence.sealed));
  }
  if (sequence.moving != nullptr) {
    sequence.transfer = Transfer::kIn;
    return Started(sequence, worker_.BeginCopyIn(sequence.slot, sequence.moving->bytes()));
  }
  const absl::Status reset = worker_.ResetSlot(sequence.slot, sequence.request.lobe);
  if (reset.ok()) return InSlot(sequence);
  sequence.slot_good = false;
  Finish(sequence, reset, FinishReason::kError);
}

// The slot holds the sequence's beginning, or a state that can be taken back to it.
void Engine::InSlot(Sequence& sequence) {
  DropClaim(sequence);
  const bool exports = sequence.errand != nullptr && sequence.errand->exported != nullptr;
  if (sequence.session != nullptr && !exports) table_.StateTaken(*sequence.session);
  if (sequence.moving != nullptr && sequence.moving->position > sequence.position()) {
    const absl::Status back = worker_.RewindSlot(sequence.slot, sequence.position());
    if (!back.ok()) {
      sequence.slot_good = false;
      return Finish(sequence, absl::InternalError(back.message()), FinishReason::kError);
    }
  }
  sequence.moving = nullptr;
  sequence.Restored();
  if (exports) {
    sequence.transfer = Transfer::kSave;
    return Started(sequence, worker_.BeginSave(sequence.slot, &sequence.errand->image.state));
  }
  if (sequence.idle()) Finish(sequence, absl::OkStatus(), FinishReason::kLength);
}

void Engine::BeginPlain(Sequence& sequence) {
  const PrefixCache::Hit hit = FindPrefix(sequence);
  if (hit.snapshot != nullptr) {
    sequence.parked = hit.snapshot;
    sequence.BeginAt(hit.position);
  }
  if (sequence.group == nullptr || sequence.group->split) {
    return sequence.SetPlaces(PlacesOf(sequence));
  }
  // The place that the other choices begin from; the beginning may already be there.
  std::vector<SnapshotPlace> places = PlacesOf(sequence);
  const auto split = std::find_if(places.begin(), places.end(),
                                  [](const auto& p) { return (p.uses & kForChoices) != 0; });
  const bool behind = split != places.end() && split->position > hit.position;
  sequence.SetPlaces(std::move(places));
  if (!behind) MakeChoices(sequence, hit.snapshot, hit.position);
}

PrefixCache::Prompt Engine::PromptOf(const Sequence& sequence) const {
  PrefixCache::Prompt prompt{*sequence.prefix_key(), sequence.request.tokens, {}};
  if (worker_.Info().segment_passes > 1) prompt.segments = sequence.prompt().segments();
  return prompt;
}

// Something is left to absorb, since something is sampled or scored behind it.
PrefixCache::Hit Engine::FindPrefix(const Sequence& sequence) {
  const Request& request = sequence.request;
  if (sequence.prefix_key() == nullptr || request.prefix.no_reading || request.score_prompt) {
    return {};
  }
  return prefixes_.Find(PromptOf(sequence), sequence.prompt_end() - 1);
}

// Where its state is copied out while its prompt is absorbed. A state at a prompt's end can be
// taken back by the one token that an equal prompt must absorb, unless its last block has just
// merged; then the place lies one token before.
std::vector<SnapshotPlace> Engine::PlacesOf(const Sequence& sequence) const {
  std::vector<SnapshotPlace> places;
  if (pool_.num_places() == 0) return places;
  const bool one_pass = worker_.Info().segment_passes == 1;
  const PromptCursor& prompt = sequence.prompt();
  const int64_t begin = prompt.position();
  const int64_t end = prompt.num_tokens();
  const bool samples = sequence.request.max_new_tokens > 0;
  const int64_t end_place = one_pass && samples && end % kChunkAlignment == 0 ? end - 1 : end;
  const auto add = [&](int64_t position, uint32_t uses) {
    if (position > 0 && position <= end && prompt.CanStandAt(position)) {
      places.push_back({position, uses});
    }
  };
  const auto add_every = [&](int64_t every, uint32_t uses) {
    if (every == 0) return;
    for (int64_t p = (begin / every + 1) * every - 1; p < end; p += every) add(p, uses);
  };

  const bool from_start = sequence.prefix_key() != nullptr && sequence.session_tokens() == 0;
  if (from_start && !sequence.request.prefix.no_keeping) {
    for (const int64_t position : sequence.request.prefix.keep_at) add(position, kForPrefix);
    add_every(options_.prefix_every_tokens, kForPrefix);
    if (end_place >= options_.prefix_min_tokens) add(end_place, kForPrefix);
    for (const Segment& segment : prompt.segments()) {
      const int64_t segment_end = segment.begin + segment.length;
      if (!one_pass && segment_end >= options_.prefix_min_tokens) add(segment_end, kForPrefix);
    }
  }
  if (sequence.session != nullptr) add_every(options_.session_every_tokens, kForSession);
  if (sequence.group != nullptr && !sequence.group->split) {
    const Segment& last = prompt.segments().back();
    const bool whole = !one_pass && last.kind == SegmentKind::kPrompt;
    add(one_pass ? end_place : (whole ? last.begin : end - 1), kForChoices);
  }

  std::sort(places.begin(), places.end(),
            [](const auto& a, const auto& b) { return a.position < b.position; });
  std::vector<SnapshotPlace> merged;
  for (const SnapshotPlace& place : places) {
    if (!merged.empty() && merged.back().position == place.position) {
      merged.back().uses |= place.uses;
    } else {
      merged.push_back(place);
    }
  }
  return merged;
}

// --- Transfers ---

// False: no memory for it.
bool Engine::CopyOut(Sequence& sequence, Transfer transfer, uint32_t uses) {
  absl::Span<char> memory;
  int64_t lowest = sequence.lowest();
  if (sequence.session != nullptr) {
    lowest = std::max(lowest, sequence.session->LastPromptEnd(sequence.position()));
  }
  SnapshotRef snapshot = pool_.Take(sequence.position(), lowest, &memory);
  if (snapshot == nullptr) return false;
  sequence.moving = std::move(snapshot);
  sequence.moving_uses = uses;
  sequence.transfer = transfer;
  if (transfer == Transfer::kOut) ++num_leaving_;
  Started(sequence, worker_.BeginCopyOut(sequence.slot, memory));
  return true;
}

// A transfer was begun with `status`; on a CPU it is done at once.
void Engine::Started(Sequence& sequence, const absl::Status& status) {
  if (status.ok()) {
    const absl::StatusOr<bool> done = worker_.PollTransfer(sequence.slot);
    if (done.ok() && !*done) {
      moving_.push_back(&sequence);
      return;
    }
    if (done.ok()) return Moved(sequence, absl::OkStatus());
    return Moved(sequence, done.status());
  }
  Moved(sequence, status);
}

void Engine::PollTransfers() {
  if (moving_.empty()) return;
  arrived_.swap(moving_);
  for (Sequence* sequence : arrived_) {
    const absl::StatusOr<bool> done = worker_.PollTransfer(sequence->slot);
    if (done.ok() && !*done) {
      moving_.push_back(sequence);
    } else {
      Moved(*sequence, done.status());
    }
  }
  arrived_.clear();
}

void Engine::Moved(Sequence& sequence, const absl::Status& status) {
  const Transfer transfer = std::exchange(sequence.transfer, Transfer::kNone);
  if (transfer == Transfer::kOut) --num_leaving_;
  if (absl::IsFailedPrecondition(status) && sequence.slot_good &&
      (transfer == Transfer::kKeep || transfer == Transfer::kOut || transfer == Transfer::kEnd)) {
    return StaysInSlot(sequence, transfer);
  }
  if (!status.ok()) {
    sequence.slot_good = false;
    sequence.moving = nullptr;
    sequence.sealing = nullptr;
    if (transfer == Transfer::kSeal) return Conclude(sequence);
    // A sealed state that is refused is no loss: the log is the truth.
    if (transfer == Transfer::kLoad && sequence.session != nullptr) {
      sequence.session->sealed = nullptr;
    }
    if (sequence.ended) return Settle(sequence);
    return Finish(sequence, status, FinishReason::kError);
  }
  switch (transfer) {
    case Transfer::kNone:
      break;
    case Transfer::kIn:
    case Transfer::kLoad:
      if (sequence.ended) {
        // The slot may hold more than was asked for; a state of its own is kept nevertheless.
        sequence.slot_good = false;
        sequence.parked = std::move(sequence.moving);
        return Settle(sequence);
      }
      if (transfer == Transfer::kIn) return InSlot(sequence);
      return Loaded(sequence);
    case Transfer::kSave:
      if (sequence.ended) return Settle(sequence);
      return Finish(sequence, absl::OkStatus(), FinishReason::kLength);
    case Transfer::kKeep: {
      const SnapshotRef snapshot = std::move(sequence.moving);
      FileSnapshot(sequence, snapshot, sequence.moving_uses);
      if (sequence.ended) Settle(sequence);
      return;
    }
    case Transfer::kOut:
      sequence.parked = std::move(sequence.moving);
      LeaveSlot(sequence);
      if (sequence.ended) return Settle(sequence);
      if (!sequence.paused()) Enqueue(sequence, now_);
      return;
    case Transfer::kEnd:
      sequence.session->AddEnd(std::move(sequence.moving), options_.session_every_tokens);
      return SealEnd(sequence);
    case Transfer::kSeal:
      return Conclude(sequence);
  }
}

// A state under a lobe that was removed cannot leave its slot, but goes on there to its end.
void Engine::StaysInSlot(Sequence& sequence, Transfer transfer) {
  sequence.moving = nullptr;
  sequence.stays = true;
  DropClaim(sequence);
  if (transfer == Transfer::kEnd) return Conclude(sequence);
  if (transfer == Transfer::kKeep && (sequence.moving_uses & kForChoices) != 0) {
    MakeChoices(sequence, nullptr, 0);
  }
  if (sequence.ended) Settle(sequence);
}

// A sealed state has become the slot's. That it stands where its image says is seen by taking it
// back to there, which moves nothing if it does.
void Engine::Loaded(Sequence& sequence) {
  sequence.sealed = nullptr;
  if (sequence.session != nullptr) sequence.session->sealed = nullptr;
  const absl::Status stands = worker_.RewindSlot(sequence.slot, sequence.position());
  if (stands.ok()) return InSlot(sequence);
  sequence.slot_good = false;
  Finish(sequence,
         absl::DataLossError(absl::StrCat("the state does not stand at position ",
                                          sequence.position(), ", as its record says")),
         FinishReason::kError);
}

// --- Snapshots on the way ---

// What only saves time is not taken when memory is short.
void Engine::TakeSnapshot(Sequence& sequence, uint32_t uses) {
  const bool is_new = (uses & kForPrefix) != 0 && sequence.prefix_key() != nullptr &&
                      !prefixes_.Has(PromptOf(sequence), sequence.position());
  if (!is_new) uses &= ~uint32_t{kForPrefix};
  if ((uses & kForChoices) != 0) {
    sequence.group->has_claim = pool_.Claim();
    if (!sequence.group->has_claim) {
      MakeChoices(sequence, nullptr, 0);
      uses &= ~uint32_t{kForChoices};
    }
  }
  if (uses == 0 || CopyOut(sequence, Transfer::kKeep, uses)) return;
  if ((uses & kForChoices) != 0) MakeChoices(sequence, nullptr, 0);
}

void Engine::FileSnapshot(Sequence& sequence, const SnapshotRef& snapshot, uint32_t uses) {
  if ((uses & kForPrefix) != 0) prefixes_.Keep(PromptOf(sequence), snapshot);
  if (sequence.session != nullptr) table_.KeepSnapshot(*sequence.session, snapshot);
  if ((uses & kForChoices) == 0) return;
  MakeChoices(sequence, snapshot, std::min(snapshot->position, sequence.prompt_end() - 1));
}

// The other choices of `first`, from the state that it had at `start`; null: each absorbs the
// prompt itself.
void Engine::MakeChoices(Sequence& first, const SnapshotRef& snapshot, int64_t start) {
  ChoiceGroup& group = *first.group;
  if (group.split || (first.ended && !first.outcome.ok())) return;
  group.split = true;
  if (snapshot != nullptr && !group.has_claim) group.has_claim = pool_.Claim();
  const bool shares = snapshot != nullptr && group.has_claim;
  if (!shares) start = 0;
  for (int32_t i = 1; i < group.num_choices; ++i) {
    std::unique_ptr<Sequence> choice = first.MakeChoice(first.ticket + i, i, start);
    if (shares) choice->parked = snapshot;
    Sequence& made = *choice;
    ++group.num_left;
    Adopt(std::move(choice));
    Enqueue(made, first.submitted);
  }
}

bool Engine::DropSnapshot() { return prefixes_.DropOldest() || table_.DropSnapshot(); }

// --- Out ---

// A slot for somebody who waits. False: there is none now.
bool Engine::MakeRoom() {
  if (options_.swap_quantum == 0 || num_leaving_ >= admission_.num_waiting()) return false;
  Sequence* victim = ChooseVictim();
  if (victim == nullptr) return false;
  if (victim->session == nullptr) {
    if (!pool_.Claim()) return false;
    victim->has_claim = true;
  }
  if (!CopyOut(*victim, Transfer::kOut, 0)) DropClaim(*victim);
  return slots_.num_free() > 0;
}

// One that is paused, whose slot does nothing; else, of those that have had their quantum and would
// now stand behind somebody who waits, the one that has been served most.
Sequence* Engine::ChooseVictim() {
  Sequence* victim = nullptr;
  for (Sequence* sequence : active_) {
    if (sequence->ended || sequence->stays || sequence->transfer != Transfer::kNone ||
        !sequence->whole() || sequence->position() == 0) {
      continue;
    }
    if (sequence->paused()) return sequence;
    if (sequence->served_since_admitted < options_.swap_quantum) continue;
    if (victim != nullptr && victim->served_since_admitted >= sequence->served_since_admitted) {
      continue;
    }
    Admission::Entry entry = EntryOf(*sequence);
    entry.submitted = now_;
    if (admission_.WouldPass(entry)) victim = sequence;
  }
  return victim;
}

void Engine::LeaveSlot(Sequence& sequence) {
  active_.erase(std::find(active_.begin(), active_.end(), &sequence));
  slots_.Free(sequence.slot);
  sequence.slot = -1;
  sequence.swapped = true;
  ++num_swapped_;
  if (sequence.session != nullptr) sequence.session->in_slot = false;
}

void Engine::DropClaim(Sequence& sequence) {
  if (sequence.has_claim) pool_.Unclaim();
  sequence.has_claim = false;
}

}  // namespace ela
