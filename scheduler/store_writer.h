// Write-behind: the engine hands over what a session has become and goes on, threads of this class
// bring it to the StateStore and report. What waits is bounded in bytes; writes of one session keep
// their order; writes of many sessions become durable together, so that a slow disk costs each of
// them a share of one sync. Nothing is dropped silently: every accepted write ends in its callback,
// and a status that is not OK names the tokens and snapshots that were not kept.
#ifndef ELA_SCHEDULER_STORE_WRITER_H_
#define ELA_SCHEDULER_STORE_WRITER_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "scheduler/clock.h"
#include "scheduler/state_store.h"
#include "scheduler/store_observer.h"

namespace ela {

struct StoreWriterOptions {
  int32_t num_threads = 2;              // >= 1; of two, one prefers writes and one tasks
  int64_t max_queue_bytes = 256 << 20;  // queued and under way
  int64_t max_group_bytes = 16 << 20;   // of one StateStore::Write, if it has several writes
  int32_t max_group_writes = 256;       // sessions of one StateStore::Write
  absl::Duration retry_first = absl::Milliseconds(20);  // doubled up to retry_longest
  absl::Duration retry_longest = absl::Seconds(2);
  absl::Duration keep_trying = absl::Seconds(30);  // from a write's first transient failure
};

// Thread-safe.
class StoreWriter {
 public:
  // The write is durable (OK), or what was not kept and why. On a writer's thread, in the order of
  // the session's writes; short: it posts to the engine's inbox.
  using Done = std::function<void(const absl::Status&)>;
  // Anything else with a store: create, acquire, load, delete. On a writer's thread; reports by its
  // own means and returns its outcome for metrics. Null: the writer was stopped before its turn.
  using Task = std::function<absl::Status(StateStore*)>;

  // Borrows all three; `observer` may be null.
  StoreWriter(StateStore& store, const StoreWriterOptions& options, const Clock& clock,
              StoreObserver* observer);
  ~StoreWriter();  // Stop(absl::ZeroDuration())
  StoreWriter(const StoreWriter&) = delete;
  StoreWriter& operator=(const StoreWriter&) = delete;

  // Queues a write; microseconds. Transient errors of the store are met by repeating it for
  // `keep_trying`. After a write that was not kept, the session's queued writes fail likewise, so
  // that no log gets a hole; the caller may start again from the position it knows to be durable.
  // Errors, `done` is then not called: kResourceExhausted (the queue is full), kUnavailable
  // (stopped). Both name what was not kept.
  absl::Status Write(SessionWrite write, Done done);

  // Queues a task behind the writes of session `id` that are queued already; `name` (a literal)
  // labels its metrics. Errors as of Write.
  absl::Status Run(const SessionId& id, const char* name, Task task);

  StoreLoad load() const;

  // Waits until nothing is queued or under way; false: `limit` passed before.
  bool Flush(absl::Duration limit);

  // Takes nothing more, waits up to `limit` for what is queued; the rest ends with kUnavailable.
  // Returns when the threads have ended, which a call of the store that
  // is under way may delay by the store's own time limit. Once, or again without effect.
  void Stop(absl::Duration limit);

 private:
  struct Item {
    SessionWrite write;       // of a write
    std::vector<Done> dones;  // of the writes merged into it
    Task task;                // of a task
    const char* name = nullptr;
    int64_t num_bytes = 0;
    int64_t num_merged = 1;
    absl::Time queued;
    absl::Time failing_since = absl::InfiniteFuture();
  };
  struct Session {
    std::deque<Item> items;  // not under way
    bool busy = false;       // an item is under way, or waits to be repeated
    bool failing = false;    // the item under way or to be repeated has failed before
    absl::Duration backoff;  // before the next repetition
  };
  using Sessions = std::map<SessionId, Session>;
  using Group = std::vector<std::pair<SessionId, Item>>;

  absl::Status Admit(int64_t num_bytes) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Add(const SessionId& id, Item item) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void MakeReady(const SessionId& id, const Session& session) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WakeRetries() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Item TakeItem(const SessionId& id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Group TakeWrites() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Group TakeTask() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Leave(const SessionId& id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Uncount(const Item& item) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  StoreLoad LoadLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Idle() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return num_writes_ == 0 && num_tasks_ == 0;
  }

  void Loop(bool writes_first);
  Group NextWork(bool writes_first);  // empty: the thread ends
  void RunTask(std::pair<SessionId, Item>& task);
  void WriteGroup(Group& group);
  void Settle(Group& group, const std::vector<absl::Status>& results);
  void Report(const Item& item, const absl::Status& status);
  void ReportLoad();

  // Constant after construction.
  StateStore& store_;
  const StoreWriterOptions options_;
  const Clock& clock_;
  StoreObserver* const observer_;

  mutable absl::Mutex mutex_;
  absl::CondVar work_;                         // something is ready, or stopping
  absl::CondVar ended_;                        // something has ended
  Sessions sessions_ ABSL_GUARDED_BY(mutex_);  // with items, or busy
  std::deque<SessionId> ready_writes_ ABSL_GUARDED_BY(mutex_);
  std::deque<SessionId> ready_tasks_ ABSL_GUARDED_BY(mutex_);
  std::multimap<absl::Time, SessionId> retries_ ABSL_GUARDED_BY(mutex_);
  int64_t num_writes_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t num_tasks_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t num_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t num_failing_ ABSL_GUARDED_BY(mutex_) = 0;  // sessions
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;    // nothing new
  bool abandoned_ ABSL_GUARDED_BY(mutex_) = false;   // nothing more

  std::vector<std::thread> threads_;  // joined by the first Stop
};

}  // namespace ela

#endif  // ELA_SCHEDULER_STORE_WRITER_H_
