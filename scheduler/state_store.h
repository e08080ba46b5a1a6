// Where sessions outlive a process: records, token logs and state snapshots, kept by an embedded
// database or by a server that several machines share. A session is its log: the snapshots only
// save absorbing it again, so that "durable" is cheap (a few bytes per token) and a restore costs a
// snapshot plus the few tokens behind it, to the same bits (docs/state.md).
//
// The contract, numbered; tests/server/state_store_conformance_test holds every store to it:
//  1. Thread-safe. Every call may block on a disk or a network, within the store's own time limit;
//     none belongs on the engine's thread, scheduler/store_writer.h is the way there.
//  2. OK means durable: the change survives the end of this process at any moment, and of the
//     machine as far as the store's configuration promises (RocksDB: the log is synced before the
//     call returns; Redis: what its appendfsync says).
//  3. Fencing. A session has one owner at a time, told apart by the generation. Acquire raises it
//     by one, by compare-and-set; from then on what the earlier owner writes is kAborted. So two
//     servers never advance one session, however late a message of the loser arrives.
//  4. A SessionWrite is all or nothing. Write takes many of different sessions at once and makes
//     them durable together (group commit); each has its own Status.
//  5. Log positions are explicit, so repeating a write is harmless: tokens that the log already has
//     at those positions are compared and kept. Different ones there are kFailedPrecondition (only
//     `rewind` cuts the log), and a write behind the log's end is kOutOfRange: it would leave a
//     hole.
//  6. kUnavailable, kDeadlineExceeded and kResourceExhausted are transient: the change may or may
//     not have been kept, and repeating it settles that. Every other error means that nothing
//     changed. A store that has had an error works again when its cause has gone, without being
//     opened anew, and everything acknowledged before is still there.
//  7. Reads see every acknowledged write. A record, a range of the log and a snapshot are three
//     reads; they fit together for the owner, since nobody else writes.
//  8. A snapshot is opaque bytes at a position; the log reaches at least that far. A checkpoint is
//     a name for a position in SessionMeta; the store does not tie it to a snapshot.
//  9. The store judges no expiry and no tenant: an expired session is there until SweepExpired or
//     Delete, and callers compare `tenant` (another's session is kNotFound to the outside).
// 10. Create, Acquire by the same owner, and Delete may be repeated after a transient error: what
//     has already happened is OK.
#ifndef ELA_SCHEDULER_STATE_STORE_H_
#define ELA_SCHEDULER_STATE_STORE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "model/types.h"
#include "scheduler/session_id.h"

namespace ela {

// Times are kept to the microsecond; this is what a round trip makes of one.
absl::Time StoredTime(absl::Time time);

// What the owner of a session replaces as a whole.
struct SessionMeta {
  std::string model;                            // served name
  std::string model_fingerprint;                // WorkerInfo::model_fingerprint
  std::string lobe;                             // of Request; empty: the model's own
  absl::Time expires = absl::InfiniteFuture();  // StoredTime
  std::map<std::string, int64_t> checkpoints;   // name -> position
  std::string details;  // the owner's own encoding (segment cuts, request under way, ...); opaque
};

struct SnapshotInfo {
  int64_t position = 0;
  int64_t num_bytes = 0;
  friend bool operator==(const SnapshotInfo& a, const SnapshotInfo& b) {
    return a.position == b.position && a.num_bytes == b.num_bytes;
  }
};

struct StoredSession {
  SessionId id;
  std::string tenant;
  int64_t generation = 1;
  std::string owner;   // who acquired it last and has not released it; for people and for rule 10
  absl::Time created;  // StoredTime
  SessionMeta meta;
  int64_t num_tokens = 0;               // length of the log
  std::vector<SnapshotInfo> snapshots;  // by position, ascending
};

struct Snapshot {
  int64_t position = 0;
  // Shared: the same bytes often stay parked in host memory while they are being written.
  std::shared_ptr<const std::string> bytes;
};

// One change of one session, applied in the order of the members.
struct SessionWrite {
  SessionId id;
  int64_t generation = 0;    // the writer's
  int64_t log_position = 0;  // of tokens[0]; with `rewind` also where the log is cut before
  bool rewind = false;       // drops tokens at and snapshots behind log_position
  std::vector<TokenId> tokens;
  std::vector<Snapshot> put_snapshots;    // replaces one at the same position
  std::vector<int64_t> delete_snapshots;  // positions; one that is not there is no error
  std::optional<SessionMeta> meta;        // none: stays
  bool release = false;                   // the owner lets go: `owner` becomes empty
};

struct SessionPage {
  std::vector<StoredSession> sessions;  // by id, ascending
  bool more = false;
};

class StateStore {
 public:
  static constexpr int64_t kAnyGeneration = -1;

  virtual ~StateStore() = default;

  // "rocksdb at /var/lib/ela": for the log.
  virtual std::string Describe() const = 0;

  // Writes a new record: id, tenant, owner, created and meta are taken; generation is 1, log and
  // snapshots are empty. Errors: kAlreadyExists, kInvalidArgument (limits below), transient ones.
  virtual absl::Status Create(const StoredSession& session) = 0;

  // Makes `owner` the session's owner if its generation is `expected_generation` (or for
  // kAnyGeneration, a forced takeover): raises it by one and returns the record. The owner that has
  // already raised it from there gets the record again. Errors: kNotFound, kAborted (naming the
  // generation and owner that hold it), kDataLoss (a record that cannot be read), transient ones.
  virtual absl::StatusOr<StoredSession> Acquire(const SessionId& id, int64_t expected_generation,
                                                const std::string& owner) = 0;

  // Errors: kNotFound, kDataLoss, transient ones.
  virtual absl::StatusOr<StoredSession> Read(const SessionId& id) = 0;

  // Tokens [begin, end) of the log. The cost depends on end - begin alone. Errors: kNotFound,
  // kOutOfRange (beyond the log's end), kDataLoss, transient ones.
  virtual absl::StatusOr<std::vector<TokenId>> ReadTokens(const SessionId& id, int64_t begin,
                                                          int64_t end) = 0;

  // The snapshot at exactly `position`. Errors: kNotFound, kDataLoss, transient ones.
  virtual absl::StatusOr<std::string> ReadSnapshot(const SessionId& id, int64_t position) = 0;

  // results[i] becomes the outcome of writes[i]. REQUIRES: results.size() == writes.size(), ids
  // differ. Errors: kNotFound, kAborted (fenced), kFailedPrecondition and kOutOfRange (rule 5),
  // kInvalidArgument (limits below), kDataLoss, transient ones.
  virtual void Write(absl::Span<const SessionWrite> writes, absl::Span<absl::Status> results) = 0;

  // Removes a session with log and snapshots; one that is not there is OK. Errors: kAborted (it has
  // another generation; kAnyGeneration: never), transient ones.
  virtual absl::Status Delete(const SessionId& id, int64_t generation) = 0;

  // Up to `limit` sessions of `tenant` with an id behind `after` (none: from the first).
  virtual absl::StatusOr<SessionPage> List(const std::string& tenant,
                                           const std::optional<SessionId>& after,
                                           int32_t limit) = 0;

  // Removes up to `limit` sessions that expired at or before `now`, whoever owns them; returns
  // their ids. An owner that wants to keep one moves its expiry in time.
  virtual absl::StatusOr<std::vector<SessionId>> SweepExpired(absl::Time now, int32_t limit) = 0;
};

// Limits of a record, equal in every store.
inline constexpr size_t kMaxTenantBytes = 256;
inline constexpr size_t kMaxStoredNameBytes = 1024;  // model, fingerprint, lobe, owner, checkpoint
inline constexpr size_t kMaxCheckpoints = 4096;
inline constexpr size_t kMaxDetailsBytes = 1 << 20;
inline constexpr size_t kMaxSnapshotBytes = 512 << 20;  // Redis holds no longer value
inline constexpr int64_t kMaxLogTokens = int64_t{1} << 27;

// Rule 6.
bool IsTransient(const absl::Status& status);

// What every implementation checks before it touches its data. Errors: kInvalidArgument.
absl::Status CheckNewSession(const StoredSession& session);
absl::Status CheckWrite(const SessionWrite& write);

// What `write` makes of the record: fencing, positions, snapshots, meta (rules 3, 5 and 8), for
// stores that keep the record as one value. `num_repeated`: so many of write.tokens are in the log
// already, and the store compares them (LogConflict). On errors `session` is as it was. Errors:
// kAborted, kOutOfRange.
absl::Status ApplyWrite(const SessionWrite& write, StoredSession* session, int64_t* num_repeated);

// Likewise for Acquire. Errors: kAborted.
absl::Status ApplyAcquire(int64_t expected_generation, const std::string& owner,
                          StoredSession* session);

// Rule 10: `session` is what was created as `stored`, and nothing has happened to it since.
bool IsRepeatedCreate(const StoredSession& session, const StoredSession& stored);

// Errors: kOutOfRange, unless 0 <= begin <= end <= session.num_tokens.
absl::Status CheckLogRange(const StoredSession& session, int64_t begin, int64_t end);

// The errors of the rules, in the same words from every store.
absl::Status SessionExists(const SessionId& id);
absl::Status SessionNotFound(const SessionId& id);
absl::Status SnapshotNotFound(const SessionId& id, int64_t position);
absl::Status Fenced(const SessionId& id, int64_t generation, int64_t held,
                    const std::string& owner);
absl::Status LogConflict(const SessionId& id, int64_t position);
absl::Status LogHole(const SessionId& id, int64_t position, int64_t num_tokens);

// The session's newest snapshot at or before `position`; null: the log is absorbed from its start.
const SnapshotInfo* NewestSnapshot(const StoredSession& session, int64_t position);

}  // namespace ela

#endif  // ELA_SCHEDULER_STATE_STORE_H_
