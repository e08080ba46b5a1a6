#include "scheduler/engine.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "model/status_macros.h"

namespace ela {
namespace {

// Hints for clients that are sent away. A second when nothing has been measured.
constexpr absl::Duration kDefaultRetry = absl::Seconds(1);
constexpr absl::Duration kShortestRetry = absl::Milliseconds(100);
constexpr absl::Duration kLongestRetry = absl::Minutes(1);

// How much of the measured rate's memory each step keeps: about the last twenty steps count.
constexpr double kRateMemory = 0.95;

absl::Status ShuttingDown() {
  return WithRetryAfter(absl::UnavailableError("the server is shutting down"), kDefaultRetry);
}

absl::Status CheckPositive(const char* option, int64_t value) {
  if (value > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(option, " is ", value, ", must be positive"));
}

absl::Status CheckEvery(const char* option, int32_t value) {
  if (value >= 0 && value % kChunkAlignment == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      option, " is ", value, ", must be 0 or a positive multiple of ", kChunkAlignment));
}

absl::Status CheckOptions(const EngineOptions& options, const WorkerInfo& worker) {
  ELA_RETURN_IF_ERROR(CheckPositive("max_queue", options.max_queue));
  ELA_RETURN_IF_ERROR(CheckPositive("max_queue_tokens", options.max_queue_tokens));
  ELA_RETURN_IF_ERROR(CheckPositive("step_token_budget", options.step_token_budget));
  ELA_RETURN_IF_ERROR(CheckPositive("prefill_chunk", options.prefill_chunk));
  ELA_RETURN_IF_ERROR(CheckPositive("the worker's num_slots", worker.num_slots));
  if (options.slow_reader_timeout <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(
        absl::StrCat("slow_reader_timeout is ", absl::FormatDuration(options.slow_reader_timeout),
                     ", must be positive"));
  }
  if (options.snapshot_bytes < 0 || options.log_bytes < 0 || options.swap_quantum < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "snapshot_bytes is ", options.snapshot_bytes, ", log_bytes ", options.log_bytes,
        ", swap_quantum ", options.swap_quantum, ", none may be negative"));
  }
  ELA_RETURN_IF_ERROR(CheckPositive("store_state_every", options.store_state_every));
  ELA_RETURN_IF_ERROR(CheckPositive("prefix_min_tokens", options.prefix_min_tokens));
  ELA_RETURN_IF_ERROR(CheckEvery("prefix_every_tokens", options.prefix_every_tokens));
  ELA_RETURN_IF_ERROR(CheckEvery("session_every_tokens", options.session_every_tokens));
  const auto check_room = [&worker](const char* what, int32_t value) {
    if (value >= worker.num_slots) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat(what, " is ", value, ", must be at least the number of slots, ",
                     worker.num_slots, ": every running sequence gets its token in every step"));
  };
  ELA_RETURN_IF_ERROR(check_room("step_token_budget", options.step_token_budget));
  ELA_RETURN_IF_ERROR(check_room("the worker's max_step_tokens", worker.max_step_tokens));
  return check_room("the worker's max_step_items", worker.max_step_items);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(const EngineOptions& options, Worker& worker,
                                                       EngineObserver& observer,
                                                       const Clock& clock) {
  ELA_RETURN_IF_ERROR(CheckOptions(options, worker.Info()));
  ELA_ASSIGN_OR_RETURN(Admission admission, Admission::Create(options.tenants));
  std::unique_ptr<Engine> engine(
      new Engine(options, std::move(admission), worker, observer, clock));
  return engine;
}

Engine::Engine(const EngineOptions& options, Admission admission, Worker& worker,
               EngineObserver& observer, const Clock& clock)
    : options_(options),
      limits_{std::min(options.step_token_budget, worker.Info().max_step_tokens),
              options.prefill_chunk},
      worker_(worker),
      observer_(observer),
      clock_(clock),
      inbox_(options.max_queue, options.max_queue_tokens),
      admission_(std::move(admission)),
      slots_(worker.Info().num_slots),
      log_memory_{options.log_bytes},
      pool_(options.snapshot_bytes, worker.Info().state_bytes, [this] { return DropSnapshot(); }),
      prefixes_(log_memory_),
      table_(options.new_session_id, worker.Info().segment_passes, pool_, log_memory_),
      now_(clock.Now()) {
  KeeperOptions store = options_.store;
  store.model_fingerprint = worker.Info().model_fingerprint;
  keeper_ = std::make_unique<SessionKeeper>(store, inbox_);
  active_.reserve(slots_.num_slots());
  candidates_.reserve(slots_.num_slots());
  candidate_sequences_.reserve(slots_.num_slots());
  items_.reserve(slots_.num_slots());
  load_.slots_total = slots_.num_slots();
  observer_.OnLoad(load_);
}

// Copies that are under way end first: they borrow memory.
Engine::~Engine() {
  DrainInbox();
  stopping_ = true;
  while (!moving_.empty()) PollTransfers();
  std::vector<Sequence*> left;
  for (auto& [ticket, sequence] : sequences_) left.push_back(sequence.get());
  for (Sequence* sequence : left) {
    Finish(*sequence, absl::UnavailableError("the engine has stopped"), FinishReason::kCancelled);
  }
  keeper_ = nullptr;  // answers what waits for it, while all else is there
}

// --- Any thread. ---

absl::StatusOr<Ticket> Engine::Submit(Request request, std::shared_ptr<TokenSink> sink) {
  const Ticket ticket =
      next_ticket_.fetch_add(std::clamp<int32_t>(request.num_choices, 1, kMaxChoices));
  absl::Status status = TrySubmit(ticket, std::move(request), std::move(sink));
  if (status.ok()) return ticket;
  observer_.OnRejected(status);
  return status;
}

absl::Status Engine::TrySubmit(Ticket ticket, Request request, std::shared_ptr<TokenSink> sink) {
  const absl::Time now = clock_.Now();
  if (request.deadline <= now) {
    return absl::DeadlineExceededError(absl::StrCat("the deadline passed ",
                                                    absl::FormatDuration(now - request.deadline),
                                                    " before the request was queued"));
  }
  ELA_ASSIGN_OR_RETURN(
      std::unique_ptr<Sequence> sequence,
      Sequence::Create(ticket, std::move(request), std::move(sink), now, worker_.Info()));
  if (sequence->prompt_tokens() > options_.max_queue_tokens) {
    return absl::InvalidArgumentError(absl::StrCat("tokens has ", sequence->prompt_tokens(),
                                                   " entries, this server allows ",
                                                   options_.max_queue_tokens));
  }
  sequence->tenant = admission_.TenantOf(sequence->request.tenant);

  absl::Status status = inbox_.Submit(std::move(sequence));
  if (absl::IsResourceExhausted(status)) {
    return WithRetryAfter(std::move(status), TimeToServeQueue());
  }
  if (absl::IsUnavailable(status)) return WithRetryAfter(std::move(status), kDefaultRetry);
  return status;
}

// At the measured rate, if each waiting request generates all that it may.
absl::Duration Engine::TimeToServeQueue() const {
  const double rate = tokens_per_second_.load(std::memory_order_relaxed);
  if (rate <= 0) return kDefaultRetry;
  const double seconds = static_cast<double>(inbox_.queue().work_tokens) / rate;
  return std::min(kLongestRetry, std::max(kShortestRetry, absl::Seconds(seconds)));
}

// What comes while the engine drains is refused in the call.
void Engine::Command(SessionCommand command) {
  if (inbox_.Post(command)) return;
  std::visit([](auto& refused) { refused.done(ShuttingDown()); }, command);
}

void Engine::Command(LobeCommand command) {
  if (inbox_.Post(command)) return;
  std::visit([](auto& refused) { refused.done(ShuttingDown()); }, command);
}

void Engine::Cancel(Ticket ticket, absl::Status why) {
  if (why.ok()) why = absl::CancelledError("the caller cancelled");
  inbox_.Cancel(ticket, std::move(why));
}

void Engine::Resume(Ticket ticket) { inbox_.Resume(ticket); }

void Engine::Drain(absl::Time deadline) { inbox_.Drain(deadline); }

// --- Engine thread. ---

// Step is an Enqueue and its Wait: one step is in flight, whatever the worker allows. What is
// planned from here needs what Deliver notes (prompts advanced, tokens known, sequences ended), and
// Retire frees slots that no step holds. To overlap two steps, these notes must be taken at
// Enqueue, and slots of ended sequences kept until their last step is back.
bool Engine::RunOnce() {
  now_ = clock_.Now();
  DrainInbox();
  PollTransfers();
  EndOverdue();
  const bool ended = !finished_.empty();
  Retire();
  Admit();
  Plan();
  const bool steps = !items_.empty();
  if (steps) Deliver(Step());
  const bool ended_now = !finished_.empty();
  Retire();
  ReportLoad(steps);
  return steps || ended || ended_now || !moving_.empty();
}

void Engine::DrainInbox() {
  inbox_.Take(messages_);
  drain_deadline_ = messages_.drain_deadline;
  for (const std::function<void()>& call : messages_.calls) call();
  table_.Expire(now_);
  SweepStore();
  for (SessionCommand& command : messages_.commands) {
    std::visit([this](auto& c) { Execute(c); }, command);
  }
  for (LobeCommand& command : messages_.lobe_commands) {
    std::visit([this](auto& c) { Execute(c); }, command);
  }
  for (std::unique_ptr<Sequence>& sequence : messages_.submitted) Receive(std::move(sequence));
  for (const auto& [ticket, why] : messages_.cancelled) {
    for (Sequence* sequence : ChoicesOf(ticket)) Finish(*sequence, why, FinishReason::kCancelled);
  }
  for (const Ticket ticket : messages_.resumed) {
    for (Sequence* sequence : ChoicesOf(ticket)) Unpause(*sequence);
  }
  messages_.clear();
}

void Engine::Receive(std::unique_ptr<Sequence> received) {
  Sequence& sequence = *received;
  Adopt(std::move(received));
  if (sequence.request.num_choices > 1) {
    auto group = std::make_shared<ChoiceGroup>();
    group->first_ticket = sequence.ticket;
    group->num_choices = sequence.request.num_choices;
    group->num_left = 1;
    groups_.emplace(sequence.ticket, group);
    sequence.group = std::move(group);
  }
  if (sequence.request.session.has_value()) return WantSession(sequence);
  Enqueue(sequence, sequence.submitted);
}

// From here on the engine owns it and keeps its deadline.
void Engine::Adopt(std::unique_ptr<Sequence> sequence) {
  if (sequence->request.deadline != absl::InfiniteFuture()) {
    deadlines_.emplace(sequence->request.deadline, sequence->ticket);
  }
  const Ticket ticket = sequence->ticket;
  sequences_.emplace(ticket, std::move(sequence));
}

void Engine::Enqueue(Sequence& sequence, absl::Time since) {
  sequence.queued = true;
  sequence.queued_since = since;
  admission_.Add(EntryOf(sequence));
}

Admission::Entry Engine::EntryOf(const Sequence& sequence) const {
  return {sequence.ticket, sequence.tenant, sequence.request.priority, sequence.queued_since,
          sequence.counted ? sequence.prompt_tokens() : 0};
}

// Those that are alive.
std::vector<Sequence*> Engine::ChoicesOf(Ticket ticket) {
  std::vector<Sequence*> choices;
  const auto group = groups_.find(ticket);
  const int32_t n = group == groups_.end() ? 1 : group->second->num_choices;
  for (int32_t i = 0; i < n; ++i) {
    const auto found = sequences_.find(ticket + i);
    if (found != sequences_.end()) choices.push_back(found->second.get());
  }
  return choices;
}

void Engine::Admit() {
  for (;;) {
    if (slots_.num_free() == 0 && !MakeRoom()) return;
    const std::optional<Ticket> ticket = admission_.Take();
    if (!ticket.has_value()) return;
    Sequence& sequence = *sequences_.at(*ticket);
    sequence.queued = false;
    if (sequence.counted) inbox_.LeftQueue(sequence);
    sequence.counted = false;
    sequence.slot = slots_.Hold();
    sequence.slot_good = true;
    sequence.served_since_admitted = 0;
    sequence.last_served = step_number_;
    active_.push_back(&sequence);
    Enter(sequence);
  }
}

// With several segment passes a segment begins only when the scratch has room for all of it; who
// came first begins first, so that a long one is not passed for ever.
void Engine::Plan() {
  candidates_.clear();
  candidate_sequences_.clear();
  int64_t scratch = worker_.Info().max_scratch_tokens;
  const bool limited = scratch > 0;
  for (const Sequence* sequence : active_) {
    if (limited && !sequence->whole()) scratch -= sequence->prompt().segment().length;
  }
  for (Sequence* sequence : active_) {
    if (sequence->paused() || sequence->ended || sequence->transfer != Transfer::kNone) continue;
    if (limited && !sequence->decoding() && sequence->whole() &&
        sequence->prompt().sees_own_future()) {
      scratch -= sequence->prompt().segment().length;
      if (scratch < 0) continue;
    }
    PlanCandidate candidate;
    candidate.slot = sequence->slot;
    candidate.decoding = sequence->decoding();
    if (!candidate.decoding) {
      candidate.position = sequence->prompt().position();
      candidate.left_in_pass = sequence->left_in_step();
      candidate.last_served = sequence->last_served;
    }
    candidates_.push_back(candidate);
    candidate_sequences_.push_back(sequence);
  }
  PlanBatch(candidates_, limits_, plan_);
  items_.clear();
  for (const PlannedItem& planned : plan_.items) {
    items_.push_back(candidate_sequences_[planned.candidate]->NextItem(planned.num_tokens));
  }
}

StepResult& Engine::Step() {
  const absl::Time begin = clock_.Now();
  for (const PlannedItem& planned : plan_.items) {
    candidate_sequences_[planned.candidate]->Started(begin);
  }
  worker_.Enqueue(items_);
  StepResult& result = worker_.Wait();
  now_ = clock_.Now();
  ++step_number_;
  MeasureRate(plan_.prefill_tokens + plan_.decode_tokens, now_ - begin);

  StepFacts facts;
  facts.num_items = static_cast<int32_t>(items_.size());
  facts.prefill_tokens = plan_.prefill_tokens;
  facts.decode_tokens = plan_.decode_tokens;
  facts.duration = now_ - begin;
  facts.expert_tokens = result.expert_tokens;
  observer_.OnStep(facts);
  return result;
}

void Engine::Deliver(StepResult& result) {
  for (size_t i = 0; i < items_.size(); ++i) {
    const PlannedItem& planned = plan_.items[i];
    Sequence& sequence = *candidate_sequences_[planned.candidate];
    sequence.last_served = step_number_;
    DeliverItem(sequence, items_[i], planned, result.items[i]);
  }
}

void Engine::DeliverItem(Sequence& sequence, const StepItem& item, const PlannedItem& planned,
                         StepOutput& output) {
  if (!output.status.ok()) {
    sequence.slot_good = false;
    return Finish(sequence, output.status, FinishReason::kError);
  }
  SinkState sink = sequence.DeliverScores(item, output);
  sequence.Absorbed(planned.num_tokens, now_);
  sequence.served_since_admitted += planned.num_tokens;

  FinishReason why = FinishReason::kNone;
  if (item.sampling != nullptr) {
    ELA_CHECK(output.sampled >= 0, "an item that samples comes back with a token or an error");
    if (sequence.DeliverToken(output, options_.end_of_text, now_, why) == SinkState::kFull) {
      sink = SinkState::kFull;
    }
    if (sequence.session != nullptr) {
      sequence.session->AppendGenerated(output.sampled);
      if (sequence.session->durability == Durability::kEveryMessage) KeepTokens(*sequence.session);
    }
    admission_.Charge(sequence.tenant, 1);
    if (sequence.num_generated() == 1) {
      observer_.OnFirstToken(sequence.last_interval());
    } else {
      observer_.OnTokenInterval(sequence.last_interval());
    }
  } else if (sequence.decoding()) {
    why = FinishReason::kLength;  // max_new_tokens is 0, and the prompt is absorbed
  }

  if (const uint32_t uses = UsesHere(sequence); uses != 0) TakeSnapshot(sequence, uses);
  if (why != FinishReason::kNone) return Finish(sequence, absl::OkStatus(), why);
  if (sink == SinkState::kFull) Pause(sequence);
}

// What the state that the slot has just reached is kept for.
uint32_t Engine::UsesHere(Sequence& sequence) {
  if (sequence.session != nullptr && sequence.whole()) {
    sequence.session->NoteComputed(sequence.position());
  }
  if (const SnapshotPlace* place = sequence.TakeReachedPlace()) return place->uses;
  const int64_t every = options_.session_every_tokens;
  if (sequence.session == nullptr || !sequence.decoding() || every == 0) return 0;
  return (sequence.position() + 1) % every == 0 ? uint32_t{kForSession} : 0;
}

void Engine::ReportLoad(bool stepped) {
  EngineLoad load;
  load.num_waiting = admission_.num_waiting();
  load.num_running = static_cast<int32_t>(active_.size());
  for (const Sequence* sequence : paused_) load.num_running -= sequence->slot >= 0 ? 1 : 0;
  load.num_paused = static_cast<int32_t>(paused_.size());
  load.num_swapped = num_swapped_;
  load.slots_used = slots_.num_held();
  load.slots_total = slots_.num_slots();
  load.num_sessions = table_.size();
  load.num_prefixes = prefixes_.num_entries();
  load.snapshot_bytes = pool_.used_bytes();
  load.log_bytes = log_memory_.used_bytes;
  if (!stepped && load == load_) return;
  load_ = load;
  observer_.OnLoad(load);
}

void Engine::Pause(Sequence& sequence) {
  sequence.paused_since = now_;
  paused_.push_back(&sequence);
}

// One that was swapped out meanwhile queues up for a slot.
void Engine::Unpause(Sequence& sequence) {
  if (!sequence.paused()) return;
  sequence.paused_since = absl::InfiniteFuture();
  paused_.erase(std::find(paused_.begin(), paused_.end(), &sequence));
  if (sequence.slot < 0 && !sequence.ended) Enqueue(sequence, now_);
}

void Engine::MeasureRate(int64_t num_tokens, absl::Duration duration) {
  recent_tokens_ = kRateMemory * recent_tokens_ + static_cast<double>(num_tokens);
  recent_seconds_ = kRateMemory * recent_seconds_ + absl::ToDoubleSeconds(duration);
  if (recent_seconds_ <= 0) return;
  tokens_per_second_.store(recent_tokens_ / recent_seconds_, std::memory_order_relaxed);
}

void Engine::WaitForWork(absl::Duration limit) {
  const absl::Duration until_deadline = NextDeadline() - clock_.Now();
  inbox_.Wait(std::max(absl::ZeroDuration(), std::min(limit, until_deadline)));
}

absl::Time Engine::NextDeadline() const {
  absl::Time next = sequences_.empty() ? absl::InfiniteFuture() : drain_deadline_;
  next = std::min(next, table_.next_expiry());
  if (!deadlines_.empty()) next = std::min(next, deadlines_.begin()->first);
  for (const Sequence* sequence : paused_) {
    next = std::min(next, sequence->paused_since + options_.slow_reader_timeout);
  }
  return next;
}

bool Engine::Drained() const {
  return inbox_.draining() && sequences_.empty() && held_.empty() && keeper_->idle() &&
         inbox_.empty();
}

}  // namespace ela
