// The loop that serves one model: drain the inbox, admit, plan, step, deliver, retire. One thread
// owns all sequences, the slot table and the worker; the rest of the world sends it messages.
#ifndef ELA_SCHEDULER_ENGINE_H_
#define ELA_SCHEDULER_ENGINE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/worker.h"
#include "scheduler/clock.h"
#include "scheduler/engine_observer.h"
#include "scheduler/request.h"

namespace ela {

struct TenantOptions {
  std::string name;
  double weight = 1.0;  // > 0: its share of tokens when several tenants wait
};

struct EngineOptions {
  int32_t max_queue = 1024;            // requests waiting for a slot, > 0
  int64_t max_queue_tokens = 1 << 22;  // prompt tokens waiting, > 0
  int32_t step_token_budget = 256;     // tokens of one step over all sequences, > 0
  int32_t prefill_chunk =
      128;  // tokens of one sequence's prefill in one step, > 0; multiples of 16 are fastest
  absl::Duration slow_reader_timeout = absl::Seconds(30);
  std::vector<TokenId> end_of_text;    // of the model
  std::vector<TenantOptions> tenants;  // others share one anonymous tenant of weight 1
};

class Engine {
 public:
  using Ticket = uint64_t;

  // Borrows worker, observer and clock, which outlive the engine.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(const EngineOptions& options,
                                                        Worker& worker, EngineObserver& observer,
                                                        const Clock& clock);
  virtual ~Engine() = default;

  // --- Any thread. ---

  // Queues a request. The sink is shared with the caller (its stream may end first) and gets
  // exactly one OnFinish if this returns a ticket, none otherwise. Errors: kInvalidArgument (names
  // field, value, limit), kDeadlineExceeded (already past: no compute), kResourceExhausted (queue
  // full; carries RetryAfter), kUnavailable (draining; carries RetryAfter).
  virtual absl::StatusOr<Ticket> Submit(Request request, std::shared_ptr<TokenSink> sink) = 0;

  // The request ends with `why` (kCancelled, kDeadlineExceeded, …) and its slot is free within two
  // steps. A finished or unknown ticket is ignored.
  virtual void Cancel(Ticket ticket, absl::Status why) = 0;

  // The sink of `ticket` has room again.
  virtual void Resume(Ticket ticket) = 0;

  // From now on Submit is refused with kUnavailable; what runs or waits goes on. At `deadline` the
  // rest ends with kUnavailable and RetryAfter.
  virtual void Drain(absl::Time deadline) = 0;

  // --- Engine thread only. ---

  // One turn of the loop. False: nothing to do now.
  virtual bool RunOnce() = 0;

  // Blocks until there is a message, or until `limit`.
  virtual void WaitForWork(absl::Duration limit) = 0;

  // True when draining and nothing is left.
  virtual bool Drained() const = 0;
};

}  // namespace ela

#endif  // ELA_SCHEDULER_ENGINE_H_
