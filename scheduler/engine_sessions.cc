// How requests and commands use sessions: one user at a time, in order; the log grows as the call
// goes on, and its end is kept.
#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/status_macros.h"
#include "scheduler/engine.h"
#include "scheduler/session.h"
#include "scheduler/session_errand.h"

namespace ela {
namespace {

constexpr absl::Duration kRetryWhenFull = absl::Seconds(5);

// The one who waits for an errand waits in its callback.
class NullSink final : public TokenSink {
 public:
  SinkState OnToken(const TokenEvent&) override { return SinkState::kReady; }
  SinkState OnScores(const ScoreEvent&) override { return SinkState::kReady; }
  void OnFinish(const absl::Status&, FinishReason, const Usage&) override {}
};

std::vector<Segment> SegmentsOf(const Request& request) {
  std::vector<Segment> segments;
  int64_t begin = 0;
  for (size_t i = 0; i < request.segment_lengths.size(); ++i) {
    segments.push_back({request.segment_kinds[i], begin, request.segment_lengths[i], 0});
    begin += request.segment_lengths[i];
  }
  return segments;
}

absl::Status InUse(const Session& session) {
  return absl::AbortedError(
      absl::StrCat("session ", session.id.ToHex(), " is in use by another call"));
}

}  // namespace

// --- Requests ---

void Engine::WantSession(Sequence& sequence) {
  const SessionUse& use = *sequence.request.session;
  if (MayBeStored(use.id)) {
    return WhenLoaded(sequence.request.tenant, use.id,
                      [this, ticket = sequence.ticket](const absl::Status& status) {
                        const auto waited = sequences_.find(ticket);
                        if (waited == sequences_.end() || waited->second->ended) return;
                        if (status.ok()) return WantSession(*waited->second);
                        Finish(*waited->second, status, FinishReason::kError);
                      });
  }
  const absl::StatusOr<Session*> found = table_.Find(sequence.request.tenant, use.id);
  if (!found.ok()) return Finish(sequence, found.status(), FinishReason::kError);
  Session& session = **found;
  if (!session.busy()) {
    const absl::Status taken = TakeSession(sequence, session);
    if (!taken.ok()) Finish(sequence, taken, FinishReason::kError);
  } else if (use.wait) {
    session.waiting.push_back(sequence.ticket);
    sequence.awaits_session = true;
  } else {
    Finish(sequence, InUse(session), FinishReason::kError);
  }
}

absl::Status Engine::TakeSession(Sequence& sequence, Session& session) {
  Request& request = sequence.request;
  const SessionUse& use = *request.session;
  if (use.num_tokens.has_value() && *use.num_tokens != session.num_tokens()) {
    return absl::AbortedError(absl::StrCat("session ", session.id.ToHex(), " has ",
                                           session.num_tokens(), " tokens, the call expects ",
                                           *use.num_tokens));
  }
  if (!request.lobe.empty() && request.lobe != session.lobe) {
    return absl::FailedPreconditionError(
        absl::StrCat("session ", session.id.ToHex(), " has lobe \"", session.lobe,
                     "\", the call asks for \"", request.lobe, "\""));
  }
  if (request.tokens.empty() && session.num_tokens() == 0 && sequence.errand == nullptr) {
    return absl::InvalidArgumentError("tokens is empty, and so is the session: one is needed");
  }
  ELA_RETURN_IF_ERROR(CheckLobe(session));
  const SessionPin pin(session);
  ELA_RETURN_IF_ERROR(RoomForLog(sequence.work_tokens()));
  const int64_t bytes = TokenLog::BytesFor(sequence.work_tokens());
  sequence.reserved_log_bytes = bytes;
  log_memory_.reserved_bytes += bytes;
  sequence.SetLobe(session.lobe);
  sequence.session = &session;
  table_.BeginUse(session, sequence.ticket);
  Enqueue(sequence, sequence.submitted);
  return absl::OkStatus();
}

absl::Status Engine::RoomForLog(int64_t num_tokens) {
  const int64_t bytes = TokenLog::BytesFor(num_tokens);
  while (!log_memory_.HasRoomFor(bytes) && (prefixes_.DropOldest() || table_.UnloadOldest())) {
  }
  if (log_memory_.HasRoomFor(bytes)) return absl::OkStatus();
  return WithRetryAfter(
      absl::ResourceExhaustedError(absl::StrCat(
          "no memory for the session's log: ", log_memory_.used_bytes, " bytes are in use, ",
          log_memory_.reserved_bytes, " reserved, ", num_tokens, " more tokens may take ", bytes,
          ", this server allows log_bytes ", log_memory_.budget_bytes)),
      kRetryWhenFull);
}

// Its first slot: where it begins is settled, and its prompt joins the log.
void Engine::BeginSession(Sequence& sequence) {
  Session& session = *sequence.session;
  const Request& request = sequence.request;
  const bool samples = request.max_new_tokens > 0;
  const std::vector<Segment> segments = SegmentsOf(request);
  const PrefixCache::Hit hit =
      session.num_tokens() == 0 ? FindPrefix(sequence) : PrefixCache::Hit();
  const Session::Start start = session.StartFor(samples && request.tokens.empty());
  sequence.BeginBehind(session, start.position, !samples);
  sequence.parked = start.snapshot;
  sequence.sealed = start.sealed;
  if (hit.snapshot != nullptr) {
    sequence.parked = hit.snapshot;
    sequence.BeginAt(hit.position);
    session.NoteComputed(hit.position);
    if (hit.position == hit.snapshot->position) table_.KeepSnapshot(session, hit.snapshot);
  }
  sequence.SetPlaces(PlacesOf(sequence));
  session.AppendPrompt(absl::MakeConstSpan(request.tokens).last(sequence.prompt_tokens()),
                       segments);
  session.last_call = {request.record, session.num_tokens(), FinishReason::kNone};
  if (session.durability == Durability::kEveryMessage) KeepSession(session, nullptr, 0, nullptr);
}

void Engine::ReleaseSession(Sequence& sequence) {
  if (sequence.session == nullptr) return;
  Session& session = *std::exchange(sequence.session, nullptr);
  log_memory_.reserved_bytes -= std::exchange(sequence.reserved_log_bytes, 0);
  GiveBack(session);
}

// The next in line has it.
void Engine::GiveBack(Session& session) {
  table_.EndUse(session, now_);
  while (!session.busy() && !session.waiting.empty()) {
    Sequence& next = *sequences_.at(session.waiting.front());
    session.waiting.pop_front();
    next.awaits_session = false;
    const absl::Status taken = TakeSession(next, session);
    if (!taken.ok()) Finish(next, taken, FinishReason::kError);
  }
  if (!session.busy() && session.stored.lost) table_.Erase(session);
}

void Engine::StopWaiting(Sequence& sequence) {
  if (!sequence.awaits_session) return;
  sequence.awaits_session = false;
  const auto session = table_.Find(sequence.request.tenant, sequence.request.session->id);
  std::deque<Ticket>& waiting = (*session)->waiting;
  waiting.erase(std::find(waiting.begin(), waiting.end(), sequence.ticket));
}

// --- Commands that need no slot ---

// A command whose session may lie in the store is executed when that is known.
template <typename Message>
bool Engine::Deferred(Message& command) {
  if (!MayBeStored(command.id)) return false;
  auto kept = std::make_shared<Message>(std::move(command));
  WhenLoaded(kept->tenant, kept->id, [this, kept](const absl::Status& status) {
    if (!status.ok()) return kept->done(status);
    Execute(*kept);
  });
  return true;
}

void Engine::Execute(CreateSession& command) {
  const absl::Status status = CheckDurability(command.durability);
  if (!status.ok()) return command.done(status);
  AnswerNew(std::move(command.done), table_.Create(command, now_));
}

void Engine::Execute(ForkSession& command) {
  if (Deferred(command)) return;
  const absl::Status status = CheckDurability(command.durability.value_or(Durability::kNone));
  if (!status.ok()) return command.done(status);
  AnswerNew(std::move(command.done), table_.Fork(command, now_));
}

void Engine::Execute(CheckpointSession& command) {
  if (Deferred(command)) return;
  AnswerKept(std::move(command.done), table_.Checkpoint(command, now_));
}

void Engine::Execute(DeleteCheckpoint& command) {
  if (Deferred(command)) return;
  AnswerKept(std::move(command.done), table_.Delete(command, now_));
}

void Engine::Execute(UpdateSession& command) {
  if (Deferred(command)) return;
  const absl::Status status = CheckDurability(command.durability.value_or(Durability::kNone));
  if (!status.ok()) return command.done(status);
  const absl::StatusOr<Session*> session = table_.Update(command);
  if (!session.ok() || !(*session)->durable() || (*session)->stored.known) {
    return AnswerKept(std::move(command.done), session);
  }
  if ((*session)->busy()) {
    (*session)->durability = Durability::kNone;
    return command.done(absl::AbortedError("a session in use cannot become durable"));
  }
  MakeDurable(**session, AnswerLater(**session, std::move(command.done)));
}

void Engine::Execute(DeleteSession& command) {
  if (Deferred(command)) return;
  const absl::StatusOr<Session*> session = table_.FindIdle(command.tenant, command.id);
  if (!session.ok()) return command.done(session.status());
  SessionInfo info = table_.Describe(**session);
  if ((*session)->stored.known) {
    keeper_->Delete(**session, [done = command.done, info](const absl::Status& status) {
      if (!status.ok()) return done(status);
      done(info);
    });
    return table_.Erase(**session);
  }
  table_.Erase(**session);
  command.done(std::move(info));
}

void Engine::Execute(ListSessions& command) {
  if (keeper_->enabled()) return ListStored(command);
  command.done(table_.List(command));
}

void Engine::Execute(GetSession& command) {
  if (MayBeStored(command.id)) return GetStored(command);
  const absl::StatusOr<Session*> session = table_.Find(command.tenant, command.id);
  if (!session.ok()) return command.done(session.status());
  SessionInfo info = table_.Describe(**session);
  if (command.tokens) {
    (*session)->log().CopyTo(0, info.num_tokens, info.tokens);
    info.segments.assign((*session)->segments().begin(), (*session)->segments().end());
  }
  command.done(std::move(info));
}

// --- Commands that need one ---

void Engine::Execute(RewindSession& command) {
  if (Deferred(command)) return;
  const absl::Status status = Rewind(command);
  if (!status.ok()) command.done(status);
}
void Engine::Execute(ExportSession& command) {
  if (Deferred(command)) return;
  const absl::Status status = Export(command);
  if (!status.ok()) command.done(status);
}
void Engine::Execute(ImportSession& command) {
  const absl::Status status = Import(command);
  if (!status.ok()) command.done(status);
}

// A sequence without a request behind it, which has the session from now on.
std::unique_ptr<Sequence> Engine::MakeErrand(Session& session) {
  Request request;
  request.tenant = session.tenant;
  request.lobe = session.lobe;
  request.session = SessionUse{session.id, false, std::nullopt};
  absl::StatusOr<std::unique_ptr<Sequence>> made =
      Sequence::Create(next_ticket_.fetch_add(1), std::move(request), std::make_shared<NullSink>(),
                       now_, worker_.Info());
  ELA_CHECK(made.ok(), "an errand is a good request");
  std::unique_ptr<Sequence> sequence = *std::move(made);
  sequence->tenant = admission_.TenantOf(session.tenant);
  sequence->counted = false;
  sequence->begun = true;
  sequence->errand = std::make_unique<SessionErrand>();
  sequence->session = &session;
  table_.BeginUse(session, sequence->ticket);
  return sequence;
}

void Engine::Send(std::unique_ptr<Sequence> errand) {
  Sequence& sequence = *errand;
  Adopt(std::move(errand));
  Enqueue(sequence, now_);
}

// The state that is nearest from below is taken before what lies behind the position goes: it may
// reach back from behind.
absl::Status Engine::Rewind(RewindSession& command) {
  ELA_ASSIGN_OR_RETURN(Session * session, table_.FindIdle(command.tenant, command.id));
  int64_t position = command.position.value_or(0);
  if (command.checkpoint.has_value()) {
    ELA_ASSIGN_OR_RETURN(position, SessionTable::PositionOf(*session, *command.checkpoint));
  }
  if (position < 0 || position > session->num_tokens()) {
    return absl::OutOfRangeError(absl::StrCat("position is ", position, ", session ",
                                              command.id.ToHex(), " has ", session->num_tokens(),
                                              " tokens"));
  }
  ELA_RETURN_IF_ERROR(session->CheckReachable(position));
  const int64_t target = session->StateTarget(position);
  Session::Start start = session->StartAt(target);
  table_.Rewind(*session, position);
  const bool is_there = target == 0 ||
                        (start.snapshot != nullptr && start.snapshot->position == target) ||
                        (start.sealed != nullptr && start.sealed_position == target);
  if (is_there) {
    table_.BeginUse(*session, next_ticket_.fetch_add(1));
    table_.EndUse(*session, now_);  // counts as a use
    AnswerKept(
        [done = std::move(command.done)](absl::StatusOr<SessionInfo> info) {
          if (!info.ok()) return done(info.status());
          done(RewoundSession{*std::move(info), 0});
        },
        session);
    return absl::OkStatus();
  }
  std::unique_ptr<Sequence> sequence = MakeErrand(*session);
  sequence->BeginBehind(*session, start.position, true);
  sequence->parked = std::move(start.snapshot);
  sequence->sealed = std::move(start.sealed);
  sequence->sealed_position = start.sealed_position;
  sequence->SetPlaces(PlacesOf(*sequence));
  sequence->errand->rewound = std::move(command.done);
  Send(std::move(sequence));
  return absl::OkStatus();
}

absl::Status Engine::Export(ExportSession& command) {
  ELA_ASSIGN_OR_RETURN(Session * session, table_.FindIdle(command.tenant, command.id));
  SessionImage image;
  image.lobe = session->lobe;
  session->log().CopyTo(0, session->num_tokens(), image.tokens);
  image.segments.assign(session->segments().begin(), session->segments().end());
  Session::Start start = session->StartAt(session->num_tokens());
  if (start.sealed != nullptr && start.sealed_position == start.position) {
    image.state = *start.sealed;
    image.state_position = start.position;
  }
  if (start.snapshot == nullptr) {
    command.done(std::move(image));
    return absl::OkStatus();
  }
  image.state_position = start.position;
  std::unique_ptr<Sequence> sequence = MakeErrand(*session);
  sequence->BeginAt(start.position);
  sequence->parked = std::move(start.snapshot);
  sequence->errand->exported = std::move(command.done);
  sequence->errand->image = std::move(image);
  Send(std::move(sequence));
  return absl::OkStatus();
}

absl::Status Engine::Import(ImportSession& command) {
  SessionImage& image = command.image;
  const auto num_tokens = static_cast<int64_t>(image.tokens.size());
  if (image.state_position < 0 || image.state_position > num_tokens) {
    return absl::InvalidArgumentError(absl::StrCat("state_position is ", image.state_position,
                                                   ", must be in [0, ", num_tokens, "]"));
  }
  Request past;  // checked as a prompt is
  past.tokens = image.tokens;
  for (const Segment& segment : image.segments) {
    past.segment_lengths.push_back(segment.length);
    past.segment_kinds.push_back(segment.kind);
  }
  past.session = SessionUse();  // may be empty
  past.prefix.no_reading = past.prefix.no_keeping = true;
  ELA_RETURN_IF_ERROR(
      Sequence::Create(0, std::move(past), std::make_shared<NullSink>(), now_, worker_.Info())
          .status());
  ELA_RETURN_IF_ERROR(RoomForLog(num_tokens));
  ELA_RETURN_IF_ERROR(CheckDurability(command.durability));
  CreateSession create;
  create.tenant = command.tenant;
  create.lobe = image.lobe;
  create.time_to_live = command.time_to_live;
  create.durability = command.durability;
  create.label = command.label;
  ELA_ASSIGN_OR_RETURN(Session * session, table_.Create(create, now_));
  session->AppendPrompt(image.tokens, image.segments);
  session->NoteComputed(image.state_position);
  if (image.state.empty()) {
    AnswerNew(std::move(command.done), session);
    return absl::OkStatus();
  }
  std::unique_ptr<Sequence> sequence = MakeErrand(*session);
  sequence->BeginAt(image.state_position);
  sequence->errand->imported = std::move(command.done);
  sequence->sealed = std::make_shared<const std::string>(std::move(image.state));
  sequence->sealed_position = image.state_position;
  Send(std::move(sequence));
  return absl::OkStatus();
}

void Engine::TellErrand(Sequence& sequence) {
  SessionErrand& errand = *sequence.errand;
  const absl::Status& status = sequence.outcome;
  Session* session = table_.Find(sequence.request.session->id);
  if (errand.imported != nullptr) {
    if (status.ok() && session != nullptr) return AnswerNew(errand.imported, session);
    if (session != nullptr && !session->busy()) table_.Erase(*session);
    errand.imported(status.ok() ? absl::NotFoundError("the session is gone") : status);
  } else if (errand.exported != nullptr) {
    if (!status.ok()) return errand.exported(status);
    errand.exported(std::move(errand.image));
  } else {
    if (!status.ok()) return errand.rewound(status);
    if (session == nullptr) return errand.rewound(absl::NotFoundError("the session is gone"));
    errand.rewound(RewoundSession{table_.Describe(*session), sequence.usage(now_).replayed_tokens});
  }
}

}  // namespace ela
