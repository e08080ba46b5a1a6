// All sessions of an engine: by id, by tenant, by when they expire, and which of their snapshots
// may go when memory is short. Answers every command that needs no slot.
#ifndef ELA_SCHEDULER_SESSION_TABLE_H_
#define ELA_SCHEDULER_SESSION_TABLE_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "scheduler/session.h"
#include "scheduler/session_command.h"
#include "scheduler/session_id.h"
#include "scheduler/session_keeper.h"
#include "scheduler/snapshot_pool.h"
#include "scheduler/token_log.h"

namespace ela {

// Engine thread only. A Session* stays good until the session is deleted or expires, neither of
// which happens while it is in use.
class SessionTable {
 public:
  // `new_id` draws 128 random bits; null: no session can be made. Borrows pool and memory.
  SessionTable(std::function<SessionId()> new_id, int32_t segment_passes, SnapshotPool& pool,
               LogMemory& memory);
  ~SessionTable();

  // --- Commands; errors as scheduler/session_command.h says. ---
  absl::StatusOr<Session*> Create(const CreateSession& command, absl::Time now);
  absl::StatusOr<Session*> Fork(const ForkSession& command, absl::Time now);
  absl::StatusOr<Session*> Checkpoint(const CheckpointSession& command, absl::Time now);
  absl::StatusOr<Session*> Delete(const DeleteCheckpoint& command, absl::Time now);
  absl::StatusOr<Session*> Update(const UpdateSession& command);
  SessionList List(const ListSessions& command) const;

  // Errors: kNotFound, of another tenant's session too.
  absl::StatusOr<Session*> Find(const std::string& tenant, const SessionId& id) const;
  // Null: there is none, of any tenant.
  Session* Find(const SessionId& id) const;
  // Errors: and kAborted, in use.
  absl::StatusOr<Session*> FindIdle(const std::string& tenant, const SessionId& id) const;
  // A checkpoint's position. Errors: kNotFound.
  static absl::StatusOr<int64_t> PositionOf(const Session& session, const std::string& checkpoint);
  SessionInfo Describe(const Session& session) const;

  // A call takes the session, its state moves, and it gives it back.
  void BeginUse(Session& session, uint64_t user);
  // From now on the call's own state is what counts: snapshots of the session may be dropped.
  void StateTaken(Session& session);
  // A snapshot that only saves time was taken of a session in use.
  void KeepSnapshot(Session& session, SnapshotRef snapshot);
  void EndUse(Session& session, absl::Time now);
  // REQUIRES: idle.
  void Rewind(Session& session, int64_t position);
  void Erase(Session& session);

  // A session that was in the store. Errors: kResourceExhausted. REQUIRES: it is not here.
  absl::StatusOr<Session*> Restore(LoadedSession loaded, absl::Time now);
  // Of the idle sessions that the store has whole, the one used longest ago leaves memory; false:
  // there is none.
  bool UnloadOldest();

  // Removes what has expired at `now`.
  void Expire(absl::Time now);
  absl::Time next_expiry() const;  // InfiniteFuture: none
  // Lets go of the oldest snapshot that no promise needs; false: there is none.
  bool DropSnapshot();

  int64_t size() const { return static_cast<int64_t>(sessions_.size()); }

 private:
  absl::StatusOr<Session*> New(const std::string& tenant, const std::string& lobe,
                               absl::Duration time_to_live, const std::string& label,
                               absl::Time now);
  Session* Insert(const SessionId& id, const std::string& tenant, const std::string& lobe);
  absl::Status ClaimFor(const char* what);
  void Touch(Session& session, absl::Time now);
  void Index(Session& session);
  void Unindex(Session& session);
  void MayDrop(const Session& session, int64_t position);

  const std::function<SessionId()> new_id_;
  const int32_t segment_passes_;
  SnapshotPool& pool_;
  LogMemory& memory_;
  std::map<SessionId, std::unique_ptr<Session>> sessions_;
  std::map<std::string, std::set<SessionId>> by_tenant_;
  std::set<std::pair<absl::Time, SessionId>> expiries_;  // of idle sessions that expire
  // Snapshots that may be dropped, oldest first: every one that no promise needs is among them, and
  // some that are gone or needed again, which are passed over.
  std::deque<std::pair<SessionId, int64_t>> droppable_;
  size_t sweep_at_ = 64;
};

}  // namespace ela

#endif  // ELA_SCHEDULER_SESSION_TABLE_H_
