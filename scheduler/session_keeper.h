// What durable sessions ask of the store, as writes and tasks of a StoreWriter. Answers come back
// to the engine's thread as posted calls; an answer that comes when the engine is gone is dropped.
#ifndef ELA_SCHEDULER_SESSION_KEEPER_H_
#define ELA_SCHEDULER_SESSION_KEEPER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "scheduler/inbox.h"
#include "scheduler/session.h"
#include "scheduler/session_details.h"
#include "scheduler/state_store.h"
#include "scheduler/store_writer.h"

namespace ela {

// The way back to an engine, for as long as there is one. Thread-safe.
class Mailbox {
 public:
  explicit Mailbox(Inbox& inbox) : inbox_(&inbox) {}
  void Post(std::function<void()> call);
  void Close();

 private:
  absl::Mutex mutex_;
  Inbox* inbox_ ABSL_GUARDED_BY(mutex_);
};

struct KeeperOptions {
  StoreWriter* writer = nullptr;  // borrowed, outlives the keeper; null: nothing is kept
  std::string owner;              // of this server, in the store's records
  std::string model;              // served name
  std::string model_fingerprint;
};

// A session as it comes from the store.
struct LoadedSession {
  StoredSession record;
  SessionDetails details;
  std::vector<TokenId> tokens;
  int64_t state_position = 0;
  std::string state;  // empty: none
};

// Engine thread only. Every `done` is called there exactly once, at the latest by the destructor.
class SessionKeeper {
 public:
  using Done = std::function<void(const absl::Status&)>;
  template <typename T>
  using Result = std::function<void(absl::StatusOr<T>)>;

  SessionKeeper(const KeeperOptions& options, Inbox& inbox);
  ~SessionKeeper();  // the rest is answered with kUnavailable

  bool enabled() const { return options_.writer != nullptr; }
  // Holds back states, which can wait.
  bool behind() const;
  bool idle() const { return waiting_.empty(); }

  // A record for a new session; then what it is. Errors: the store's.
  void Create(Session& session, absl::Time now, Done done);
  // What the store does not have yet: tokens, cuts, checkpoints; and `state` (null: none), which
  // stands at `position`. After an error the next call brings it all again. Errors: the store's;
  // kAborted: another server has taken the session over.
  void Keep(Session& session, absl::Time expires, std::shared_ptr<const std::string> state,
            int64_t position, Done done);
  // The tokens alone.
  void KeepTokens(Session& session, Done done);
  void Delete(const Session& session, Done done);

  // Takes a session over. Errors: kNotFound (another tenant's or model's too), the store's.
  void Load(const std::string& tenant, const SessionId& id, Result<LoadedSession> done);
  // Looks without taking over; `tokens`: the log too. No state.
  void Read(const std::string& tenant, const SessionId& id, bool tokens,
            Result<LoadedSession> done);
  void List(const std::string& tenant, const std::optional<SessionId>& after, int32_t limit,
            Result<SessionPage> done);
  void SweepExpired(absl::Time now, int32_t limit);

 private:
  // Registers an answer that is awaited; the returned function brings it, from any thread.
  template <typename T>
  std::function<void(T)> Await(std::function<void(T)> done, T stopped);
  void Submit(Session& session, SessionWrite write, Done done);
  SessionWrite WriteOf(Session& session) const;
  template <typename T>
  void RunTask(const SessionId& id, const char* name,
               std::function<absl::StatusOr<T>(StateStore&)> task, Result<T> done);

  const KeeperOptions options_;
  const std::shared_ptr<Mailbox> mailbox_;  // shared with answers under way
  uint64_t next_answer_ = 1;
  absl::flat_hash_map<uint64_t, std::function<void()>> waiting_;  // what ends each if nothing comes
};

}  // namespace ela

#endif  // ELA_SCHEDULER_SESSION_KEEPER_H_
