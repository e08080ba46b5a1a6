// Durable sessions: what they become is handed to the store behind the loop's back, answers come
// back as posted calls, and what was promised to be kept is told only then. A session that is in
// the store and not in memory is loaded when it is asked for.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/status_macros.h"
#include "scheduler/engine.h"
#include "scheduler/session.h"
#include "scheduler/session_errand.h"

namespace ela {
namespace {

// How often what has expired in the store is removed, so many at a time.
constexpr absl::Duration kSweepInterval = absl::Minutes(1);
constexpr int32_t kSweepLimit = 1000;
// A session in use expires in the store by its time to live too, but not before so long a call.
constexpr absl::Duration kLongestCall = absl::Hours(24);

SessionInfo Describe(LoadedSession loaded) {
  const StoredSession& record = loaded.record;
  SessionInfo info;
  info.id = record.id;
  info.lobe = record.meta.lobe;
  info.label = loaded.details.label;
  info.num_tokens = record.num_tokens;
  for (const auto& [name, position] : record.meta.checkpoints) {
    info.checkpoints.push_back({name, position});
  }
  info.created = record.created;
  info.used = loaded.details.used;
  info.expires = record.meta.expires;
  info.time_to_live = loaded.details.time_to_live;
  info.place = SessionPlace::kStored;
  info.durability = loaded.details.durability;
  info.durable_tokens = record.num_tokens;
  info.last_call = std::move(loaded.details.last_call);
  info.tokens = std::move(loaded.tokens);
  if (!info.tokens.empty()) info.segments = std::move(loaded.details.segments);
  return info;
}

}  // namespace

// --- Keeping ---

absl::Time Engine::ExpiryOf(const Session& session) const {
  return now_ + session.time_to_live + (session.busy() ? kLongestCall : absl::ZeroDuration());
}

void Engine::KeepSession(Session& session, std::shared_ptr<const std::string> state,
                         int64_t position, std::function<void(const absl::Status&)> then) {
  keeper_->Keep(session, ExpiryOf(session), std::move(state), position,
                Acknowledgement(session, std::move(then)));
}

void Engine::KeepTokens(Session& session) {
  keeper_->KeepTokens(session, Acknowledgement(session, nullptr));
}

SessionKeeper::Done Engine::Acknowledgement(Session& session,
                                            std::function<void(const absl::Status&)> then) {
  ++session.stored.num_pending;
  return
      [this, id = session.id, generation = session.stored.generation, epoch = session.stored.epoch,
       end = session.num_tokens(), then = std::move(then)](const absl::Status& status) {
        Session* kept = table_.Find(id);
        if (kept != nullptr && kept->stored.generation == generation) {
          Acknowledged(*kept, epoch, end, status);
        }
        if (then != nullptr) then(status);
      };
}

// After an error all that the store has not acknowledged is brought again with the next write.
void Engine::Acknowledged(Session& session, int64_t epoch, int64_t end,
                          const absl::Status& status) {
  StoredFacts& stored = session.stored;
  --stored.num_pending;
  if (status.ok()) {
    if (epoch == stored.epoch) stored.durable = std::max(stored.durable, end);
    const auto user = sequences_.find(session.user);
    if (session.durability == Durability::kEveryMessage && user != sequences_.end() &&
        !user->second->told) {
      user->second->sink->OnDurable(stored.durable);
    }
    return;
  }
  stored.submitted = std::min(stored.submitted, stored.durable);
  stored.state_position = 0;
  if (!absl::IsAborted(status) && !absl::IsNotFound(status)) return;
  stored.lost = true;
  const auto user = sequences_.find(session.user);
  if (user != sequences_.end()) {
    Finish(*user->second,
           absl::AbortedError(absl::StrCat("another server has taken session ", session.id.ToHex(),
                                           " over, or it was deleted there")),
           FinishReason::kCancelled);
  } else if (!session.busy()) {
    table_.Erase(session);
  }
}

// The state at a call's end is sealed while the slot still has it, when the store's is far behind.
void Engine::SealEnd(Sequence& sequence) {
  const Session& session = *sequence.session;
  const int64_t position = sequence.position();
  const int64_t stored = std::min(session.stored.state_position, position);
  const bool wanted = session.durable() && !stopping_ && !session.stored.lost &&
                      (stored == 0 || position - stored >= options_.store_state_every) &&
                      position > 0;
  if (!wanted || sequence.slot < 0 || !sequence.slot_good || sequence.stays || !sequence.whole() ||
      keeper_->behind()) {
    return Conclude(sequence);
  }
  sequence.sealing = std::make_shared<std::string>();
  sequence.transfer = Transfer::kSeal;
  Started(sequence, worker_.BeginSave(sequence.slot, sequence.sealing.get()));
}

// The end of a call on a durable session is told when it is kept. False: it need not be.
bool Engine::KeepEnd(Sequence& sequence) {
  Session* session = sequence.session;
  if (session == nullptr || !session->durable() || stopping_ || !sequence.begun ||
      session->stored.lost) {
    return false;
  }
  // Who was sent away by a server that goes down has not ended, and goes on at another.
  const bool broke_off = absl::IsUnavailable(sequence.outcome);
  if (sequence.errand == nullptr && !broke_off) session->last_call.reason = sequence.reason;
  const bool imported = sequence.errand != nullptr && sequence.errand->imported != nullptr;
  const bool exported = sequence.errand != nullptr && sequence.errand->exported != nullptr;
  if (imported || exported) return false;
  session->used = now_;
  sequence.held = true;
  KeepSession(*session, sequence.sealing, sequence.sealing == nullptr ? 0 : sequence.position(),
              [this, ticket = sequence.ticket, id = session->id](const absl::Status&) {
                const Session* kept = table_.Find(id);
                TellHeld(ticket, kept == nullptr ? 0 : kept->stored.durable);
              });
  return true;
}

void Engine::TellHeld(Ticket ticket, int64_t durable_tokens) {
  const auto held = held_.find(ticket);
  if (held == held_.end()) return;
  const std::unique_ptr<Sequence> sequence = std::move(held->second);
  held_.erase(held);
  sequence->durable_tokens = durable_tokens;
  if (sequence->errand != nullptr) return TellErrand(*sequence);
  Tell(*sequence);
}

// A record in the store and all that the session is; meanwhile nobody else has it. After an error
// the session is in memory alone.
void Engine::MakeDurable(Session& session, std::function<void(const absl::Status&)> then) {
  const Ticket ticket = next_ticket_.fetch_add(1);
  table_.BeginUse(session, ticket);
  const auto end = [this, id = session.id, then](const absl::Status& status) {
    Session* made = table_.Find(id);
    if (made != nullptr) {
      if (!status.ok()) made->durability = Durability::kNone;
      GiveBack(*made);
    }
    then(status);
  };
  keeper_->Create(session, now_, [this, id = session.id, end](const absl::Status& status) {
    Session* made = table_.Find(id);
    if (made == nullptr || !status.ok()) return end(status);
    made->stored.known = true;
    if (made->num_tokens() == 0) return end(status);
    KeepSession(*made, made->sealed, made->sealed_position, end);
  });
}

// --- Commands ---

absl::Status Engine::CheckDurability(Durability durability) const {
  if (durability == Durability::kNone || keeper_->enabled()) return absl::OkStatus();
  return absl::FailedPreconditionError("this server has no store that could keep a session");
}

// Answers with what the session has become, when that is kept if it must be.
void Engine::AnswerKept(SessionDone<SessionInfo> done, const absl::StatusOr<Session*>& changed) {
  if (!changed.ok()) return done(changed.status());
  Session& session = **changed;
  if (!session.durable()) return done(table_.Describe(session));
  KeepSession(session, nullptr, 0, AnswerLater(session, std::move(done)));
}

// For a session that is new in memory: it goes again if it cannot be kept.
void Engine::AnswerNew(SessionDone<SessionInfo> done, const absl::StatusOr<Session*>& made) {
  if (!made.ok()) return done(made.status());
  Session& session = **made;
  if (!session.durable()) return done(table_.Describe(session));
  MakeDurable(session, [this, id = session.id, done = std::move(done)](const absl::Status& status) {
    Session* kept = table_.Find(id);
    if (status.ok() && kept != nullptr) return done(table_.Describe(*kept));
    if (kept != nullptr && !kept->busy()) table_.Erase(*kept);
    done(status);
  });
}

std::function<void(const absl::Status&)> Engine::AnswerLater(const Session& session,
                                                             SessionDone<SessionInfo> done) {
  return [this, id = session.id, done = std::move(done)](const absl::Status& status) {
    const Session* kept = table_.Find(id);
    if (!status.ok()) return done(status);
    if (kept == nullptr) return done(absl::NotFoundError("the session was deleted meanwhile"));
    done(table_.Describe(*kept));
  };
}

void Engine::GetStored(const GetSession& command) {
  keeper_->Read(command.tenant, command.id, command.tokens,
                [done = command.done](absl::StatusOr<LoadedSession> loaded) {
                  if (!loaded.ok()) return done(loaded.status());
                  done(Describe(*std::move(loaded)));
                });
}

// Those in memory are told as they are there; of the others the records are.
void Engine::ListStored(const ListSessions& command) {
  keeper_->List(command.tenant, command.after, command.limit,
                [this, command](absl::StatusOr<SessionPage> page) {
                  if (!page.ok()) return command.done(page.status());
                  SessionList list = table_.List(command);
                  for (StoredSession& record : page->sessions) {
                    if (table_.Find(record.id) != nullptr) continue;
                    LoadedSession loaded;
                    absl::StatusOr<SessionDetails> details = DecodeDetails(record.meta.details);
                    if (details.ok()) loaded.details = *std::move(details);
                    loaded.record = std::move(record);
                    list.sessions.push_back(Describe(std::move(loaded)));
                  }
                  std::sort(list.sessions.begin(), list.sessions.end(),
                            [](const auto& a, const auto& b) { return a.id < b.id; });
                  list.more = list.more || page->more;
                  if (static_cast<int32_t>(list.sessions.size()) > command.limit) {
                    list.sessions.resize(command.limit);
                    list.more = true;
                  }
                  command.done(std::move(list));
                });
}

// --- Loading ---

bool Engine::MayBeStored(const SessionId& id) const {
  return keeper_->enabled() && table_.Find(id) == nullptr;
}

void Engine::WhenLoaded(const std::string& tenant, const SessionId& id,
                        std::function<void(const absl::Status&)> then) {
  const std::pair<std::string, SessionId> key(tenant, id);
  std::vector<std::function<void(const absl::Status&)>>& waiting = loads_[key];
  waiting.push_back(std::move(then));
  if (waiting.size() > 1) return;
  keeper_->Load(tenant, id, [this, key](absl::StatusOr<LoadedSession> loaded) {
    const absl::Status status = loaded.ok() ? Restore(*std::move(loaded)) : loaded.status();
    const auto waited = std::move(loads_[key]);
    loads_.erase(key);
    for (const auto& then : waited) then(status);
  });
}

absl::Status Engine::Restore(LoadedSession loaded) {
  if (table_.Find(loaded.record.id) != nullptr) return absl::OkStatus();
  const auto num_tokens = static_cast<int64_t>(loaded.tokens.size());
  ELA_RETURN_IF_ERROR(RoomForLog(num_tokens));
  return table_.Restore(std::move(loaded), now_).status();
}

void Engine::SweepStore() {
  if (!keeper_->enabled() || now_ < next_sweep_) return;
  next_sweep_ = now_ + kSweepInterval;
  keeper_->SweepExpired(now_, kSweepLimit);
}

}  // namespace ela
