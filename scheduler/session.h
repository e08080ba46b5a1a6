#ifndef ELA_SCHEDULER_SESSION_H_
#define ELA_SCHEDULER_SESSION_H_

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "model/types.h"
#include "scheduler/session_command.h"
#include "scheduler/session_details.h"
#include "scheduler/session_id.h"
#include "scheduler/snapshot_pool.h"
#include "scheduler/token_log.h"

namespace ela {

// What a store has of a session. Positions and numbers count the log's tokens.
struct StoredFacts {
  bool known = false;          // it has a record of it
  int64_t generation = 1;      // under which this server may write
  int64_t submitted = 0;       // handed to the writer
  int64_t durable = 0;         // acknowledged
  int64_t most = 0;            // that its log may hold, if an answer was lost
  int64_t state_position = 0;  // of the newest state that was handed over; 0: none
  int32_t num_pending = 0;     // writes without an answer
  int64_t epoch = 0;           // how often the log was cut: earlier answers say nothing of it
  bool lost = false;           // another server has taken the session over
};

// A past that outlives requests (docs/decisions/0008-sessions.md): the log is the truth, snapshots
// are caches of it, at any positions at or before its end. The state at the end of a session stands
// one token before the log's end where that is possible, so that the next call has a token to
// absorb, whatever its prompt. Engine thread only.
class Session {
 public:
  struct Checkpoint {
    int64_t position = 0;
    SnapshotRef snapshot;  // at or before the position; null: the log is absorbed again
    bool claimed = true;  // of the pool; false: it came from the store, which holds no state for it
  };
  // Where a sequence begins: in `snapshot`, taken back to `position`; null: in a slot that was
  // reset, position 0.
  struct Start {
    SnapshotRef snapshot;
    std::shared_ptr<const std::string> sealed;  // instead: as of Worker::BeginSave
    int64_t position = 0;
    int64_t sealed_position = 0;
    bool none() const { return snapshot == nullptr && sealed == nullptr; }
  };

  // `segment_passes` of the worker.
  Session(const SessionId& id, std::string tenant, std::string lobe, int32_t segment_passes,
          LogMemory& memory)
      : id(id),
        tenant(std::move(tenant)),
        lobe(std::move(lobe)),
        passes_(segment_passes),
        log_(memory) {}

  // --- Constant. ---
  const SessionId id;
  const std::string tenant;
  const std::string lobe;

  // --- The table's and the engine's notes. ---
  std::string lobe_fingerprint;  // since its first call; empty: the model's own, or no call yet
  std::string label;
  absl::Duration time_to_live = absl::InfiniteDuration();
  absl::Time created;
  absl::Time used;
  absl::Time expires = absl::InfiniteFuture();  // as it is indexed
  uint64_t user = 0;                            // ticket of the call that has it; 0: idle
  std::deque<uint64_t> waiting;                 // tickets of calls that wait for it, in order
  bool in_slot = false;                         // the call holds a slot
  bool away = false;  // the call's own state is newer than any snapshot here
  std::map<std::string, Checkpoint> checkpoints;
  Durability durability = Durability::kNone;
  int32_t num_pins = 0;  // SessionPins
  StoredFacts stored;
  SessionCall last_call;
  // As it came from the store, until a slot has held it; null: none.
  std::shared_ptr<const std::string> sealed;
  int64_t sealed_position = 0;
  bool busy() const { return user != 0; }
  bool durable() const { return durability != Durability::kNone; }
  // All of it is in the store, from where it can come back without absorbing much.
  bool CanLeaveMemory() const {
    return !busy() && num_pins == 0 && durable() && stored.known && stored.num_pending == 0 &&
           stored.durable == num_tokens() && (num_tokens() == 0 || stored.state_position > 0);
  }
  SessionDetails Details() const;

  // --- The log. ---
  const TokenLog& log() const { return log_; }
  int64_t num_tokens() const { return log_.size(); }
  absl::Span<const Segment> segments() const { return segments_; }
  // How many of the log's tokens have been computed once.
  int64_t num_computed() const { return num_computed_; }
  void NoteComputed(int64_t position) { num_computed_ = std::max(num_computed_, position); }

  // `segments` cut the tokens, counted from their first; empty: one prompt segment.
  void AppendPrompt(absl::Span<const TokenId> tokens, absl::Span<const Segment> segments);
  void AppendGenerated(TokenId token);
  // Snapshots and checkpoints behind `position` go; returns how many of these had a claim.
  int64_t Truncate(int64_t position);
  // Takes over the first `position` tokens of `parent`, with the snapshots among them.
  void CopyPast(const Session& parent, int64_t position);

  // --- States. ---

  // kFailedPrecondition: with several segment passes no state exists inside a prompt segment.
  absl::Status CheckReachable(int64_t position) const;
  // Where the state stands when the log ends at `position`.
  int64_t StateTarget(int64_t position) const;
  // With several segment passes: where the last prompt segment at or before `position` ends; else
  // 0.
  int64_t LastPromptEnd(int64_t position) const;
  // The best beginning from which the log's tokens up to its end can be absorbed; when
  // `needs_output`, the last of them among those, since something is sampled behind it.
  Start StartFor(bool needs_output) const;
  // The best beginning at or before `position`.
  Start StartAt(int64_t position) const;

  bool HasStateAt(int64_t position) const;
  // The unnamed ones, by position.
  const std::vector<SnapshotRef>& snapshots() const { return snapshots_; }
  void AddSnapshot(SnapshotRef snapshot);
  // The new end's. That of the call before stays, so that a call can be undone at no cost; of older
  // ones those that lie `every` tokens behind another stay; 0: none.
  void AddEnd(SnapshotRef snapshot, int64_t every);
  void DropSnapshot(int64_t position);
  // The newest state of an idle session: the one that is not dropped.
  bool IsLast(int64_t position) const {
    return !snapshots_.empty() && snapshots_.back()->position == position;
  }
  int64_t num_claims() const;  // its own and its checkpoints'
  int64_t num_states() const;  // snapshots and checkpoints' snapshots, each counted once

 private:
  const int32_t passes_;
  TokenLog log_;
  std::vector<Segment> segments_;  // of the log, all of it; generated ones with their lengths
  int64_t num_computed_ = 0;
  std::vector<SnapshotRef> snapshots_;
};

// Keeps an idle session in memory while room is made for what it needs itself.
class SessionPin {
 public:
  explicit SessionPin(Session& session) : session_(session) { ++session_.num_pins; }
  ~SessionPin() { --session_.num_pins; }
  SessionPin(const SessionPin&) = delete;
  SessionPin& operator=(const SessionPin&) = delete;

 private:
  Session& session_;
};

}  // namespace ela

#endif  // ELA_SCHEDULER_SESSION_H_
