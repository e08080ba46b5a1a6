// The loop that serves one model: drain the inbox, admit, plan, step, deliver, retire. One thread
// owns all sequences, the slot table and the worker; the rest of the world sends it messages.
#ifndef ELA_SCHEDULER_ENGINE_H_
#define ELA_SCHEDULER_ENGINE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/worker.h"
#include "scheduler/admission.h"
#include "scheduler/batch_planner.h"
#include "scheduler/clock.h"
#include "scheduler/engine_observer.h"
#include "scheduler/inbox.h"
#include "scheduler/request.h"
#include "scheduler/sequence.h"
#include "scheduler/slot_table.h"

namespace ela {

struct EngineOptions {
  int32_t max_queue = 1024;            // requests waiting for a slot, > 0
  int64_t max_queue_tokens = 1 << 22;  // prompt tokens waiting, > 0; also the longest prompt
  // Tokens of one step over all sequences; at least the worker's num_slots, so that every running
  // sequence gets its token in every step.
  int32_t step_token_budget = 256;
  // Tokens of one sequence's prefill in one step, > 0; multiples of 16 are fastest.
  int32_t prefill_chunk = 128;
  absl::Duration slow_reader_timeout = absl::Seconds(30);  // > 0
  std::vector<TokenId> end_of_text;                        // of the model
  std::vector<TenantOptions> tenants;  // others share one anonymous tenant of weight 1
};

class Engine final {
 public:
  using Ticket = ela::Ticket;

  // Borrows worker, observer and clock, which outlive the engine. Errors: kInvalidArgument (an
  // option, or a worker whose steps cannot hold a token of every slot).
  static absl::StatusOr<std::unique_ptr<Engine>> Create(const EngineOptions& options,
                                                        Worker& worker, EngineObserver& observer,
                                                        const Clock& clock);
  // Ends what is left with kUnavailable. REQUIRES: no other thread is in a call.
  ~Engine();

  // --- Any thread. ---

  // Queues a request. The sink is shared with the caller (its stream may end first) and gets
  // exactly one OnFinish if this returns a ticket, none otherwise. Errors: kInvalidArgument (names
  // field, value, limit), kDeadlineExceeded (already past: no compute), kResourceExhausted (queue
  // full; carries RetryAfter), kUnavailable (draining; carries RetryAfter).
  absl::StatusOr<Ticket> Submit(Request request, std::shared_ptr<TokenSink> sink);

  // The request ends with `why` (kCancelled, kDeadlineExceeded, …) and its slot is free within two
  // steps. A finished or unknown ticket is ignored.
  void Cancel(Ticket ticket, absl::Status why);

  // The sink of `ticket` has room again. To be called after a call that returned kFull; a call too
  // many does no harm.
  void Resume(Ticket ticket);

  // From now on Submit is refused with kUnavailable; what runs or waits goes on. At `deadline` the
  // rest ends with kUnavailable and RetryAfter.
  void Drain(absl::Time deadline);

  const Clock& clock() const { return clock_; }

  // --- Engine thread only. ---

  // One turn of the loop. False: nothing to do now.
  bool RunOnce();

  // Blocks until there is a message, until a deadline that the engine keeps, or until `limit`.
  void WaitForWork(absl::Duration limit);

  // True when draining and nothing is left.
  bool Drained() const;

 private:
  Engine(const EngineOptions& options, Admission admission, Worker& worker,
         EngineObserver& observer, const Clock& clock);

  absl::Status TrySubmit(Ticket ticket, Request request, std::shared_ptr<TokenSink> sink);
  absl::Duration TimeToServeQueue() const;

  // The chapters of RunOnce, in order.
  void DrainInbox();
  void EndOverdue();
  void Admit();
  void Plan();
  StepResult& Step();
  void Deliver(StepResult& result);
  void Retire();
  void ReportLoad(bool stepped);

  void Receive(std::unique_ptr<Sequence> sequence);
  void DeliverItem(Sequence& sequence, const StepItem& item, const PlannedItem& planned,
                   StepOutput& output);
  void Pause(Sequence& sequence);
  void Unpause(Sequence& sequence);
  void Finish(Sequence& sequence, const absl::Status& status, FinishReason reason);
  void MeasureRate(int64_t num_tokens, absl::Duration duration);
  absl::Time NextDeadline() const;

  // --- Constant after construction. ---
  const EngineOptions options_;
  const PlanLimits limits_;
  Worker& worker_;
  EngineObserver& observer_;
  const Clock& clock_;

  // --- Any thread. ---
  Inbox inbox_;
  std::atomic<Ticket> next_ticket_{1};
  std::atomic<double> tokens_per_second_{0};  // measured over recent steps; 0: not yet

  // --- Engine thread. ---
  Admission admission_;
  SlotTable slots_;
  absl::flat_hash_map<Ticket, std::unique_ptr<Sequence>> sequences_;  // all that are alive
  std::vector<Sequence*> active_;                      // hold a slot, in order of admission
  int32_t num_paused_ = 0;                             // among them
  std::set<std::pair<absl::Time, Ticket>> deadlines_;  // of those that have one
  absl::Time drain_deadline_ = absl::InfiniteFuture();
  std::vector<Sequence*> finished_;  // told, to be retired in this turn

  absl::Time now_;            // read once or twice per turn
  uint64_t step_number_ = 0;  // of the next step
  double recent_tokens_ = 0;  // fading sums behind tokens_per_second_
  double recent_seconds_ = 0;
  EngineLoad load_;  // last reported

  // One turn's working space, kept for its capacity.
  Inbox::Messages messages_;
  std::vector<PlanCandidate> candidates_;
  std::vector<Sequence*> candidate_sequences_;  // [candidates_]
  BatchPlan plan_;
  std::vector<StepItem> items_;  // [plan_.items]
};

}  // namespace ela

#endif  // ELA_SCHEDULER_ENGINE_H_
