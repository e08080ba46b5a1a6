#include "scheduler/session_keeper.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "model/status_macros.h"
#include "scheduler/session_table.h"

namespace ela {
namespace {

absl::Status Stopped() { return absl::UnavailableError("the server is shutting down"); }

absl::StatusOr<LoadedSession> Open(StoredSession record, const std::string& tenant,
                                   const std::string& fingerprint) {
  if (record.tenant != tenant) return SessionNotFound(record.id);
  if (record.meta.model_fingerprint != fingerprint) {
    return absl::FailedPreconditionError(absl::StrCat(
        "session ", record.id.ToHex(), " belongs to another model, ", record.meta.model,
        " of fingerprint ", record.meta.model_fingerprint.substr(0, 12)));
  }
  LoadedSession loaded;
  ELA_ASSIGN_OR_RETURN(loaded.details, DecodeDetails(record.meta.details));
  loaded.record = std::move(record);
  return loaded;
}

// Details and log are written together, but the log may have grown by tokens alone: what the cuts
// do not cover was generated.
absl::Status FitSegments(LoadedSession* loaded) {
  std::vector<Segment>& segments = loaded->details.segments;
  const int64_t end = loaded->record.num_tokens;
  int64_t covered = segments.empty() ? 0 : segments.back().begin + segments.back().length;
  if (covered > end) return absl::DataLossError("the session's cuts reach behind its log");
  if (covered == end) return absl::OkStatus();
  if (segments.empty() || segments.back().kind != SegmentKind::kGenerated) {
    segments.push_back({SegmentKind::kGenerated, covered, 0, 0});
  }
  segments.back().length += end - covered;
  return absl::OkStatus();
}

absl::Status ReadLog(StateStore& store, LoadedSession* loaded) {
  ELA_RETURN_IF_ERROR(FitSegments(loaded));
  ELA_ASSIGN_OR_RETURN(loaded->tokens,
                       store.ReadTokens(loaded->record.id, 0, loaded->record.num_tokens));
  return absl::OkStatus();
}

}  // namespace

// --- The way back ---

void Mailbox::Post(std::function<void()> call) {
  absl::MutexLock lock(&mutex_);
  if (inbox_ != nullptr) inbox_->PostCall(std::move(call));
}

void Mailbox::Close() {
  absl::MutexLock lock(&mutex_);
  inbox_ = nullptr;
}

SessionKeeper::SessionKeeper(const KeeperOptions& options, Inbox& inbox)
    : options_(options), mailbox_(std::make_shared<Mailbox>(inbox)) {}

SessionKeeper::~SessionKeeper() {
  mailbox_->Close();
  while (!waiting_.empty()) {
    const std::function<void()> stop = std::move(waiting_.begin()->second);
    waiting_.erase(waiting_.begin());
    stop();
  }
}

template <typename T>
std::function<void(T)> SessionKeeper::Await(std::function<void(T)> done, T stopped) {
  const uint64_t answer = next_answer_++;
  auto shared = std::make_shared<std::function<void(T)>>(std::move(done));
  waiting_.emplace(answer, [shared, stopped] { (*shared)(stopped); });
  return [this, mailbox = mailbox_, answer, shared](T value) {
    auto kept = std::make_shared<T>(std::move(value));
    mailbox->Post([this, answer, shared, kept] {
      if (waiting_.erase(answer) > 0) (*shared)(std::move(*kept));
    });
  };
}

template <typename T>
void SessionKeeper::RunTask(const SessionId& id, const char* name,
                            std::function<absl::StatusOr<T>(StateStore&)> task, Result<T> done) {
  const auto bring = Await<absl::StatusOr<T>>(std::move(done), Stopped());
  const absl::Status queued =
      options_.writer->Run(id, name, [task = std::move(task), bring](StateStore* store) {
        absl::StatusOr<T> result = store == nullptr ? absl::StatusOr<T>(Stopped()) : task(*store);
        absl::Status status = result.status();
        bring(std::move(result));
        return status;
      });
  if (!queued.ok()) bring(queued);
}

bool SessionKeeper::behind() const {
  return options_.writer->load().state != StoreState::kKeepingUp;
}

// --- Writing ---

void SessionKeeper::Create(Session& session, absl::Time now, Done done) {
  StoredSession record;
  record.id = session.id;
  record.tenant = session.tenant;
  record.owner = options_.owner;
  record.created = session.created;
  record.meta.model = options_.model;
  record.meta.model_fingerprint = options_.model_fingerprint;
  record.meta.lobe = session.lobe;
  record.meta.expires = now + session.time_to_live;
  SessionDetails details = session.Details();
  details.segments.clear();  // the record's log is empty
  record.meta.details = EncodeDetails(details);
  session.stored.generation = 1;
  RunTask<bool>(
      session.id, "create",
      [record](StateStore& store) -> absl::StatusOr<bool> {
        ELA_RETURN_IF_ERROR(store.Create(record));
        return true;
      },
      [done](absl::StatusOr<bool> made) { done(made.status()); });
}

// Everything from what was handed over on; after a rewind, or an error, the store's log is cut
// first, since it may hold more.
SessionWrite SessionKeeper::WriteOf(Session& session) const {
  StoredFacts& stored = session.stored;
  SessionWrite write;
  write.id = session.id;
  write.generation = stored.generation;
  write.log_position = std::min(stored.submitted, session.num_tokens());
  write.rewind = write.log_position < stored.most;
  session.log().CopyTo(write.log_position, session.num_tokens(), write.tokens);
  return write;
}

void SessionKeeper::Keep(Session& session, absl::Time expires,
                         std::shared_ptr<const std::string> state, int64_t position, Done done) {
  StoredFacts& stored = session.stored;
  SessionWrite write = WriteOf(session);
  SessionMeta meta;
  meta.model = options_.model;
  meta.model_fingerprint = options_.model_fingerprint;
  meta.lobe = session.lobe;
  meta.expires = expires;
  for (const auto& [name, checkpoint] : session.checkpoints) {
    meta.checkpoints[name] = checkpoint.position;
  }
  meta.details = EncodeDetails(session.Details());
  write.meta = std::move(meta);
  if (stored.state_position > session.num_tokens()) stored.state_position = 0;
  if (state != nullptr) {
    const int64_t old = stored.state_position;
    const bool named = std::any_of(
        session.checkpoints.begin(), session.checkpoints.end(), [=](const auto& checkpoint) {
          return checkpoint.second.position >= old && checkpoint.second.position < position;
        });
    if (old > 0 && old != position && !named) write.delete_snapshots.push_back(old);
    write.put_snapshots.push_back({position, std::move(state)});
    stored.state_position = position;
  }
  Submit(session, std::move(write), std::move(done));
}

void SessionKeeper::KeepTokens(Session& session, Done done) {
  Submit(session, WriteOf(session), std::move(done));
}

// The session may be gone when the answer comes; `done` looks.
void SessionKeeper::Submit(Session& session, SessionWrite write, Done done) {
  session.stored.submitted = session.num_tokens();
  session.stored.most =
      write.rewind ? session.num_tokens() : std::max(session.stored.most, session.num_tokens());
  const auto bring = Await<absl::Status>(std::move(done), Stopped());
  const absl::Status queued = options_.writer->Write(std::move(write), bring);
  if (!queued.ok()) bring(queued);
}

void SessionKeeper::Delete(const Session& session, Done done) {
  RunTask<bool>(
      session.id, "delete",
      [id = session.id,
       generation = session.stored.generation](StateStore& store) -> absl::StatusOr<bool> {
        ELA_RETURN_IF_ERROR(store.Delete(id, generation));
        return true;
      },
      [done](absl::StatusOr<bool> gone) { done(gone.status()); });
}

// --- Reading ---

void SessionKeeper::Load(const std::string& tenant, const SessionId& id,
                         Result<LoadedSession> done) {
  RunTask<LoadedSession>(
      id, "load",
      [options = options_, tenant, id](StateStore& store) -> absl::StatusOr<LoadedSession> {
        ELA_ASSIGN_OR_RETURN(StoredSession seen, store.Read(id));
        const int64_t generation = seen.generation;
        ELA_RETURN_IF_ERROR(Open(std::move(seen), tenant, options.model_fingerprint).status());
        ELA_ASSIGN_OR_RETURN(StoredSession record, store.Acquire(id, generation, options.owner));
        ELA_ASSIGN_OR_RETURN(LoadedSession loaded,
                             Open(std::move(record), tenant, options.model_fingerprint));
        ELA_RETURN_IF_ERROR(ReadLog(store, &loaded));
        const SnapshotInfo* newest = NewestSnapshot(loaded.record, loaded.record.num_tokens);
        if (newest != nullptr) {
          loaded.state_position = newest->position;
          ELA_ASSIGN_OR_RETURN(loaded.state, store.ReadSnapshot(id, newest->position));
        }
        return loaded;
      },
      std::move(done));
}

void SessionKeeper::Read(const std::string& tenant, const SessionId& id, bool tokens,
                         Result<LoadedSession> done) {
  RunTask<LoadedSession>(
      id, "read",
      [options = options_, tenant, id, tokens](StateStore& store) -> absl::StatusOr<LoadedSession> {
        ELA_ASSIGN_OR_RETURN(StoredSession record, store.Read(id));
        ELA_ASSIGN_OR_RETURN(LoadedSession loaded,
                             Open(std::move(record), tenant, options.model_fingerprint));
        if (tokens) ELA_RETURN_IF_ERROR(ReadLog(store, &loaded));
        return loaded;
      },
      std::move(done));
}

void SessionKeeper::List(const std::string& tenant, const std::optional<SessionId>& after,
                         int32_t limit, Result<SessionPage> done) {
  RunTask<SessionPage>(
      after.value_or(SessionId()), "list",
      [tenant, after, limit](StateStore& store) { return store.List(tenant, after, limit); },
      std::move(done));
}

void SessionKeeper::SweepExpired(absl::Time now, int32_t limit) {
  RunTask<bool>(
      SessionId(), "sweep",
      [now, limit](StateStore& store) -> absl::StatusOr<bool> {
        ELA_RETURN_IF_ERROR(store.SweepExpired(now, limit).status());
        return true;
      },
      [](absl::StatusOr<bool>) {});
}

}  // namespace ela
