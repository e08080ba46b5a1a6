// The loop that serves one model: drain the inbox, admit, plan, step, deliver, retire. One thread
// owns all sequences, sessions, snapshots, the slot table and the worker; the rest of the world
// sends it messages.
//
// Sessions (docs/decisions/0008-sessions.md), from any thread:
//   Submit with Request::session      goes on from a session; its log grows by what is absorbed and
//                                     generated; a second call on it is kAborted, or waits in turn
//   Command(CreateSession{...})       and ForkSession, CheckpointSession, DeleteCheckpoint,
//                                     RewindSession, GetSession, ListSessions, UpdateSession,
//                                     DeleteSession, ExportSession, ImportSession: each is answered
//                                     by its `done` (scheduler/session_command.h)
// A slot is held by what runs. What waits for a slot while others have had their quantum gets one:
// a sequence that has had it is copied out and queues up again.
#ifndef ELA_SCHEDULER_ENGINE_H_
#define ELA_SCHEDULER_ENGINE_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
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
#include "scheduler/choice_group.h"
#include "scheduler/clock.h"
#include "scheduler/engine_observer.h"
#include "scheduler/inbox.h"
#include "scheduler/lobe_command.h"
#include "scheduler/prefix_cache.h"
#include "scheduler/request.h"
#include "scheduler/sequence.h"
#include "scheduler/session_command.h"
#include "scheduler/session_keeper.h"
#include "scheduler/session_table.h"
#include "scheduler/slot_table.h"
#include "scheduler/snapshot_pool.h"
#include "scheduler/token_log.h"

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

  // Host memory for states outside of slots, >= 0; taken as it is needed. 0: no sessions, no
  // swapping, no kept prefixes.
  int64_t snapshot_bytes = int64_t{1} << 30;
  // Host memory for tokens of sessions and of kept prefixes, >= 0.
  int64_t log_bytes = int64_t{256} << 20;
  // Tokens that a sequence is served before it may lose its slot to one that waits, >= 0; 0: it
  // keeps the slot to its end.
  int32_t swap_quantum = 256;
  // Prompts from this length on are kept for others that begin with them, >= 1.
  int32_t prefix_min_tokens = 64;
  // Also kept are the states at every so many tokens of a prompt; a multiple of 16; 0: none.
  int32_t prefix_every_tokens = 0;
  // How far a rewind within a session has to absorb again at most, as long as memory lasts; a
  // multiple of 16; 0: no states are kept for that.
  int32_t session_every_tokens = 4096;
  // Draws 128 random bits from a source that nobody can guess; engine thread. Null: no sessions.
  std::function<SessionId()> new_session_id;
  // Where durable sessions are kept; its writer null: nowhere. model_fingerprint is the worker's.
  KeeperOptions store;
  // A sealed state goes to the store at the end of a call when the last one is so many tokens
  // behind: what a restored session has to absorb again at most, but for one call. > 0.
  int32_t store_state_every = 256;
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
  // field, value, limit), kFailedPrecondition (keep_at), kDeadlineExceeded (already past: no
  // compute), kResourceExhausted (queue full; carries RetryAfter), kUnavailable (draining; carries
  // RetryAfter). What only the engine's thread can know ends the request: kNotFound (session,
  // lobe), kAborted (session in use, or of another length), kFailedPrecondition (session of another
  // lobe), kResourceExhausted (log_bytes), kInvalidArgument (no tokens for an empty session).
  absl::StatusOr<Ticket> Submit(Request request, std::shared_ptr<TokenSink> sink);

  // Asks something of a session; errors come with the answer.
  void Command(SessionCommand command);
  // Adds, removes or lists pluggable lobes.
  void Command(LobeCommand command);

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
  void PollTransfers();
  void EndOverdue();
  void Admit();
  void Plan();
  StepResult& Step();
  void Deliver(StepResult& result);
  void Retire();
  void ReportLoad(bool stepped);

  void Receive(std::unique_ptr<Sequence> sequence);
  void Adopt(std::unique_ptr<Sequence> sequence);
  void Enqueue(Sequence& sequence, absl::Time since);
  void DeliverItem(Sequence& sequence, const StepItem& item, const PlannedItem& planned,
                   StepOutput& output);
  uint32_t UsesHere(Sequence& sequence);
  void Pause(Sequence& sequence);
  void Unpause(Sequence& sequence);
  Admission::Entry EntryOf(const Sequence& sequence) const;
  std::vector<Sequence*> ChoicesOf(Ticket ticket);

  // --- Ends (engine_ends.cc): its outcome is known; what it leaves behind is kept; it is told. ---
  void Finish(Sequence& sequence, const absl::Status& status, FinishReason reason);
  void Settle(Sequence& sequence);
  void Conclude(Sequence& sequence);
  void Tell(Sequence& sequence);
  void TellChoice(Sequence& sequence, const Usage& usage);
  void MeasureRate(int64_t num_tokens, absl::Duration duration);
  absl::Time NextDeadline() const;

  // --- Slots and the states that go in and out of them (engine_slots.cc). ---
  void Enter(Sequence& sequence);
  void InSlot(Sequence& sequence);
  void BeginPlain(Sequence& sequence);
  PrefixCache::Hit FindPrefix(const Sequence& sequence);
  PrefixCache::Prompt PromptOf(const Sequence& sequence) const;
  std::vector<SnapshotPlace> PlacesOf(const Sequence& sequence) const;
  bool CopyOut(Sequence& sequence, Transfer transfer, uint32_t uses);
  void Started(Sequence& sequence, const absl::Status& status);
  void Moved(Sequence& sequence, const absl::Status& status);
  void Loaded(Sequence& sequence);
  void StaysInSlot(Sequence& sequence, Transfer transfer);
  void TakeSnapshot(Sequence& sequence, uint32_t uses);
  void FileSnapshot(Sequence& sequence, const SnapshotRef& snapshot, uint32_t uses);
  void MakeChoices(Sequence& first, const SnapshotRef& snapshot, int64_t start);
  bool MakeRoom();
  Sequence* ChooseVictim();
  void LeaveSlot(Sequence& sequence);
  void DropClaim(Sequence& sequence);
  bool DropSnapshot();

  // --- Sessions (engine_sessions.cc). ---
  void WantSession(Sequence& sequence);
  absl::Status TakeSession(Sequence& sequence, Session& session);
  void BeginSession(Sequence& sequence);
  void ReleaseSession(Sequence& sequence);
  void StopWaiting(Sequence& sequence);
  void TellErrand(Sequence& sequence);
  std::unique_ptr<Sequence> MakeErrand(Session& session);
  void Send(std::unique_ptr<Sequence> errand);
  void Execute(CreateSession& command);
  void Execute(ForkSession& command);
  void Execute(CheckpointSession& command);
  void Execute(DeleteCheckpoint& command);
  void Execute(RewindSession& command);
  void Execute(GetSession& command);
  void Execute(ListSessions& command);
  void Execute(UpdateSession& command);
  void Execute(DeleteSession& command);
  void Execute(ExportSession& command);
  void Execute(ImportSession& command);
  template <typename Message>
  bool Deferred(Message& command);
  absl::Status RoomForLog(int64_t num_tokens);
  void GiveBack(Session& session);
  absl::Status Rewind(RewindSession& command);
  absl::Status Export(ExportSession& command);
  absl::Status Import(ImportSession& command);

  // --- The store (engine_store.cc). ---
  absl::Time ExpiryOf(const Session& session) const;
  void KeepSession(Session& session, std::shared_ptr<const std::string> state, int64_t position,
                   std::function<void(const absl::Status&)> then);
  void KeepTokens(Session& session);
  SessionKeeper::Done Acknowledgement(Session& session,
                                      std::function<void(const absl::Status&)> then);
  void Acknowledged(Session& session, int64_t epoch, int64_t end, const absl::Status& status);
  void SealEnd(Sequence& sequence);
  bool KeepEnd(Sequence& sequence);
  void TellHeld(Ticket ticket, int64_t durable_tokens);
  void MakeDurable(Session& session, std::function<void(const absl::Status&)> then);
  absl::Status CheckDurability(Durability durability) const;
  void AnswerKept(SessionDone<SessionInfo> done, const absl::StatusOr<Session*>& changed);
  void AnswerNew(SessionDone<SessionInfo> done, const absl::StatusOr<Session*>& made);
  std::function<void(const absl::Status&)> AnswerLater(const Session& session,
                                                       SessionDone<SessionInfo> done);
  void GetStored(const GetSession& command);
  void ListStored(const ListSessions& command);
  bool MayBeStored(const SessionId& id) const;
  void WhenLoaded(const std::string& tenant, const SessionId& id,
                  std::function<void(const absl::Status&)> then);
  absl::Status Restore(LoadedSession loaded);
  void SweepStore();

  // --- Lobes (engine_lobes.cc). ---
  void Execute(AddLobe& command);
  void Execute(RemoveLobe& command);
  void Execute(ListLobes& command);
  absl::Status CheckLobe(Session& session) const;

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
  LogMemory log_memory_;
  SnapshotPool pool_;  // before everything that holds snapshots
  PrefixCache prefixes_;
  SessionTable table_;
  absl::flat_hash_map<Ticket, std::unique_ptr<Sequence>> sequences_;  // all that are alive
  absl::flat_hash_map<Ticket, std::shared_ptr<ChoiceGroup>> groups_;  // by the first choice's
  std::vector<Sequence*> active_;   // hold a slot, in order of admission
  std::vector<Sequence*> moving_;   // whose slot's transfer is under way
  std::vector<Sequence*> arrived_;  // scratch of PollTransfers
  std::vector<Sequence*> paused_;   // whose reader is slow
  std::map<std::pair<std::string, SessionId>,
           std::vector<std::function<void(const absl::Status&)>>>
      loads_;  // who waits for sessions that are being loaded
  absl::flat_hash_map<Ticket, std::unique_ptr<Sequence>> held_;  // ended, told when it is kept
  std::unique_ptr<SessionKeeper> keeper_;
  absl::Time next_sweep_ = absl::InfinitePast();
  int32_t num_leaving_ = 0;  // slots that are being copied out to be given up
  int32_t num_swapped_ = 0;  // sequences that had a slot and have none
  bool stopping_ = false;    // the destructor runs: nothing is kept
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
