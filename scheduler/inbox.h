#ifndef ELA_SCHEDULER_INBOX_H_
#define ELA_SCHEDULER_INBOX_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "scheduler/lobe_command.h"
#include "scheduler/sequence.h"
#include "scheduler/session_command.h"

namespace ela {

// What the world tells the engine. The engine's only mutex is here; it is held for a few lines and
// never across a callback. The bounds of the queue are kept here too, because a request must be
// refused on the thread that brings it: a request counts from Submit until LeftQueue.
//
// Messages of one kind keep their order; between kinds a batch is read as calls, commands,
// submissions, cancellations, resumptions, so a cancellation never overtakes its own submission.
//
// Thread-safe.
class Inbox {
 public:
  struct Messages {
    std::vector<std::function<void()>> calls;  // from threads that work for the engine
    std::vector<SessionCommand> commands;
    std::vector<LobeCommand> lobe_commands;
    std::vector<std::unique_ptr<Sequence>> submitted;
    std::vector<std::pair<Ticket, absl::Status>> cancelled;
    std::vector<Ticket> resumed;
    absl::Time drain_deadline = absl::InfiniteFuture();
    bool empty() const {
      return calls.empty() && commands.empty() && lobe_commands.empty() && submitted.empty() &&
             cancelled.empty() && resumed.empty();
    }
    void clear();
  };

  // Waiting requests and what they may cost.
  struct Queue {
    int32_t num_requests = 0;
    int64_t prompt_tokens = 0;
    int64_t work_tokens = 0;
  };

  Inbox(int32_t max_requests, int64_t max_tokens);

  // --- Any thread. ---

  // Errors: kUnavailable (draining), kResourceExhausted (names the limit that is reached).
  absl::Status Submit(std::unique_ptr<Sequence> sequence);
  // False: draining; the command stays with the caller.
  bool Post(SessionCommand& command);
  bool Post(LobeCommand& command);
  // To be made on the engine's thread; taken while draining too.
  void PostCall(std::function<void()> call);
  void Cancel(Ticket ticket, absl::Status why);
  void Resume(Ticket ticket);
  // Of several deadlines the earliest holds.
  void Drain(absl::Time deadline);

  Queue queue() const;
  bool draining() const;
  // Nothing waits and there is no message.
  bool empty() const;

  // --- Engine thread. ---

  // Swaps what has come in into `messages`, which must be empty; its capacity is used again.
  void Take(Messages& messages);
  void LeftQueue(const Sequence& sequence);
  // Blocks until there is a message, a Drain that was not waited for yet, or until `limit`.
  void Wait(absl::Duration limit);

 private:
  bool HasNews() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return !messages_.empty() || drain_news_;
  }

  // Constant after construction.
  const int32_t max_requests_;
  const int64_t max_tokens_;

  mutable absl::Mutex mutex_;
  Messages messages_ ABSL_GUARDED_BY(mutex_);
  Queue queue_ ABSL_GUARDED_BY(mutex_);
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  bool drain_news_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Time drain_deadline_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
};

}  // namespace ela

#endif  // ELA_SCHEDULER_INBOX_H_
