#include "scheduler/session_table.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "model/status_macros.h"
#include "scheduler/request.h"

namespace ela {
namespace {

// Memory comes free when sessions end; nobody knows when.
constexpr absl::Duration kRetryWhenFull = absl::Seconds(5);

absl::Status InUse(const SessionId& id) {
  return absl::AbortedError(absl::StrCat("session ", id.ToHex(), " is in use by another call"));
}

absl::Status NoCheckpoint(const Session& session, const std::string& name) {
  return absl::NotFoundError(
      absl::StrCat("session ", session.id.ToHex(), " has no checkpoint \"", name, "\""));
}

}  // namespace

SessionTable::SessionTable(std::function<SessionId()> new_id, int32_t segment_passes,
                           SnapshotPool& pool, LogMemory& memory)
    : new_id_(std::move(new_id)), segment_passes_(segment_passes), pool_(pool), memory_(memory) {}

SessionTable::~SessionTable() = default;

// --- Finding ---

absl::StatusOr<Session*> SessionTable::Find(const std::string& tenant, const SessionId& id) const {
  const auto found = sessions_.find(id);
  if (found == sessions_.end() || found->second->tenant != tenant) {
    return absl::NotFoundError(absl::StrCat("there is no session ", id.ToHex()));
  }
  return found->second.get();
}

Session* SessionTable::Find(const SessionId& id) const {
  const auto found = sessions_.find(id);
  return found == sessions_.end() ? nullptr : found->second.get();
}

absl::StatusOr<Session*> SessionTable::FindIdle(const std::string& tenant,
                                                const SessionId& id) const {
  ELA_ASSIGN_OR_RETURN(Session * session, Find(tenant, id));
  if (session->busy()) return InUse(id);
  return session;
}

absl::StatusOr<int64_t> SessionTable::PositionOf(const Session& session,
                                                 const std::string& checkpoint) {
  const auto found = session.checkpoints.find(checkpoint);
  if (found == session.checkpoints.end()) return NoCheckpoint(session, checkpoint);
  return found->second.position;
}

SessionInfo SessionTable::Describe(const Session& session) const {
  SessionInfo info;
  info.id = session.id;
  info.lobe = session.lobe;
  info.label = session.label;
  info.num_tokens = session.num_tokens();
  for (const auto& [name, checkpoint] : session.checkpoints) {
    info.checkpoints.push_back({name, checkpoint.position});
  }
  std::stable_sort(info.checkpoints.begin(), info.checkpoints.end(),
                   [](const auto& a, const auto& b) { return a.position < b.position; });
  info.created = session.created;
  info.used = session.used;
  info.expires = session.expires;
  info.time_to_live = session.time_to_live;
  info.place = session.in_slot ? SessionPlace::kRunning : SessionPlace::kParked;
  info.busy = session.busy();
  info.durability = session.durability;
  info.durable_tokens = session.stored.durable;
  info.last_call = session.last_call;
  info.memory_bytes = session.log().bytes() + session.num_states() * pool_.state_bytes();
  return info;
}

SessionList SessionTable::List(const ListSessions& command) const {
  SessionList list;
  const auto tenant = by_tenant_.find(command.tenant);
  if (tenant == by_tenant_.end()) return list;
  const std::set<SessionId>& ids = tenant->second;
  auto id = command.after.has_value() ? ids.upper_bound(*command.after) : ids.begin();
  while (id != ids.end() && static_cast<int32_t>(list.sessions.size()) < command.limit) {
    list.sessions.push_back(Describe(*sessions_.at(*id++)));
  }
  list.more = id != ids.end();
  return list;
}

// --- Making ---

absl::Status SessionTable::ClaimFor(const char* what) {
  do {
    if (pool_.Claim()) return absl::OkStatus();
  } while (UnloadOldest());
  return WithRetryAfter(absl::ResourceExhaustedError(absl::StrCat(
                            "no memory for the state of another ", what,
                            ": sessions, their checkpoints and swapped "
                            "sequences claim ",
                            pool_.num_claims(), " states of ", pool_.state_bytes(),
                            " bytes, this server allows snapshot_bytes ", pool_.budget_bytes())),
                        kRetryWhenFull);
}

absl::StatusOr<Session*> SessionTable::New(const std::string& tenant, const std::string& lobe,
                                           absl::Duration time_to_live, const std::string& label,
                                           absl::Time now) {
  if (new_id_ == nullptr) return absl::FailedPreconditionError("this server keeps no sessions");
  ELA_RETURN_IF_ERROR(ClaimFor("session"));
  SessionId id = new_id_();
  while (sessions_.count(id) > 0) id = new_id_();
  Session* session = Insert(id, tenant, lobe);
  session->time_to_live = time_to_live;
  session->label = label;
  session->created = now;
  Touch(*session, now);
  return session;
}

Session* SessionTable::Insert(const SessionId& id, const std::string& tenant,
                              const std::string& lobe) {
  auto session = std::make_unique<Session>(id, tenant, lobe, segment_passes_, memory_);
  Session* inserted = session.get();
  sessions_.emplace(id, std::move(session));
  by_tenant_[tenant].insert(id);
  return inserted;
}

absl::StatusOr<Session*> SessionTable::Restore(LoadedSession loaded, absl::Time now) {
  const StoredSession& record = loaded.record;
  ELA_RETURN_IF_ERROR(ClaimFor("session"));
  Session* session = Insert(record.id, record.tenant, record.meta.lobe);
  session->time_to_live = loaded.details.time_to_live;
  session->label = std::move(loaded.details.label);
  session->created = record.created;
  session->durability = loaded.details.durability;
  session->last_call = std::move(loaded.details.last_call);
  session->AppendPrompt(loaded.tokens, loaded.details.segments);
  session->NoteComputed(session->StateTarget(session->num_tokens()));
  session->stored.known = true;
  session->stored.generation = record.generation;
  session->stored.submitted = session->stored.durable = session->stored.most = record.num_tokens;
  session->stored.state_position = loaded.state_position;
  if (!loaded.state.empty()) {
    session->sealed = std::make_shared<const std::string>(std::move(loaded.state));
    session->sealed_position = loaded.state_position;
  }
  for (const auto& [name, position] : record.meta.checkpoints) {
    if (position <= session->num_tokens()) session->checkpoints[name] = {position, nullptr, false};
  }
  Touch(*session, now);
  return session;
}

// O(sessions), when memory is full.
bool SessionTable::UnloadOldest() {
  Session* oldest = nullptr;
  for (const auto& [id, session] : sessions_) {
    if (!session->CanLeaveMemory()) continue;
    if (oldest == nullptr || session->used < oldest->used) oldest = session.get();
  }
  if (oldest == nullptr) return false;
  Erase(*oldest);
  return true;
}

absl::StatusOr<Session*> SessionTable::Create(const CreateSession& command, absl::Time now) {
  ELA_ASSIGN_OR_RETURN(Session * session,
                       New(command.tenant, command.lobe, command.time_to_live, command.label, now));
  session->durability = command.durability;
  return session;
}

absl::StatusOr<Session*> SessionTable::Fork(const ForkSession& command, absl::Time now) {
  ELA_ASSIGN_OR_RETURN(Session * parent, Find(command.tenant, command.id));
  const SessionPin pin(*parent);
  int64_t position = parent->num_tokens();
  if (command.checkpoint.has_value()) {
    ELA_ASSIGN_OR_RETURN(position, PositionOf(*parent, *command.checkpoint));
  } else if (parent->busy()) {
    return InUse(command.id);
  }
  ELA_ASSIGN_OR_RETURN(Session * child, New(parent->tenant, parent->lobe,
                                            command.time_to_live.value_or(parent->time_to_live),
                                            command.label, now));
  child->durability = command.durability.value_or(parent->durability);
  child->CopyPast(*parent, position);
  for (const SnapshotRef& snapshot : child->snapshots()) MayDrop(*child, snapshot->position);
  if (!parent->busy()) Touch(*parent, now);
  return child;
}

absl::StatusOr<Session*> SessionTable::Checkpoint(const CheckpointSession& command,
                                                  absl::Time now) {
  ELA_ASSIGN_OR_RETURN(Session * session, FindIdle(command.tenant, command.id));
  const SessionPin pin(*session);
  const auto old = session->checkpoints.find(command.name);
  if (old == session->checkpoints.end() || !old->second.claimed) {
    ELA_RETURN_IF_ERROR(ClaimFor("checkpoint"));
  }
  session->checkpoints[command.name] = {session->num_tokens(),
                                        session->StartAt(session->num_tokens()).snapshot};
  Touch(*session, now);
  return session;
}

absl::StatusOr<Session*> SessionTable::Delete(const DeleteCheckpoint& command, absl::Time now) {
  ELA_ASSIGN_OR_RETURN(Session * session, FindIdle(command.tenant, command.id));
  const auto found = session->checkpoints.find(command.name);
  if (found == session->checkpoints.end()) return NoCheckpoint(*session, command.name);
  const SnapshotRef snapshot = found->second.snapshot;
  if (found->second.claimed) pool_.Unclaim();
  session->checkpoints.erase(found);
  if (snapshot != nullptr) {
    session->AddSnapshot(snapshot);
    MayDrop(*session, snapshot->position);
  }
  Touch(*session, now);
  return session;
}

absl::StatusOr<Session*> SessionTable::Update(const UpdateSession& command) {
  ELA_ASSIGN_OR_RETURN(Session * session, Find(command.tenant, command.id));
  if (command.durability.has_value()) session->durability = *command.durability;
  if (command.label.has_value()) session->label = *command.label;
  if (command.time_to_live.has_value()) {
    session->time_to_live = *command.time_to_live;
    if (!session->busy()) Index(*session);
  }
  return session;
}

// --- Using ---

void SessionTable::BeginUse(Session& session, uint64_t user) {
  ELA_CHECK(!session.busy(), "a session has one user");
  session.user = user;
  Unindex(session);
}

void SessionTable::StateTaken(Session& session) {
  if (session.away) return;
  session.away = true;
  if (!session.snapshots().empty()) MayDrop(session, session.snapshots().back()->position);
}

void SessionTable::KeepSnapshot(Session& session, SnapshotRef snapshot) {
  MayDrop(session, snapshot->position);
  session.AddSnapshot(std::move(snapshot));
}

void SessionTable::EndUse(Session& session, absl::Time now) {
  session.user = 0;
  session.in_slot = false;
  session.away = false;
  Touch(session, now);
}

void SessionTable::Rewind(Session& session, int64_t position) {
  for (int64_t gone = session.Truncate(position); gone > 0; --gone) pool_.Unclaim();
}

void SessionTable::Erase(Session& session) {
  Unindex(session);
  for (int64_t i = session.num_claims(); i > 0; --i) pool_.Unclaim();
  const auto tenant = by_tenant_.find(session.tenant);
  tenant->second.erase(session.id);
  if (tenant->second.empty()) by_tenant_.erase(tenant);
  const SessionId id = session.id;
  sessions_.erase(id);
}

// --- Time and memory ---

void SessionTable::Touch(Session& session, absl::Time now) {
  session.used = now;
  Index(session);
}

void SessionTable::Index(Session& session) {
  Unindex(session);
  session.expires = session.used + session.time_to_live;
  if (session.expires != absl::InfiniteFuture()) expiries_.emplace(session.expires, session.id);
}

void SessionTable::Unindex(Session& session) {
  expiries_.erase({session.expires, session.id});
  session.expires = absl::InfiniteFuture();
}

void SessionTable::Expire(absl::Time now) {
  while (!expiries_.empty() && expiries_.begin()->first <= now) {
    Erase(*sessions_.at(expiries_.begin()->second));
  }
}

absl::Time SessionTable::next_expiry() const {
  return expiries_.empty() ? absl::InfiniteFuture() : expiries_.begin()->first;
}

// Amortised: what has gone meanwhile is swept out whenever the list has doubled.
void SessionTable::MayDrop(const Session& session, int64_t position) {
  droppable_.emplace_back(session.id, position);
  if (droppable_.size() < sweep_at_) return;
  std::set<std::pair<SessionId, int64_t>> seen;
  std::deque<std::pair<SessionId, int64_t>> kept;
  for (auto place = droppable_.rbegin(); place != droppable_.rend(); ++place) {
    const auto found = sessions_.find(place->first);
    if (found == sessions_.end() || !seen.insert(*place).second) continue;
    for (const SnapshotRef& snapshot : found->second->snapshots()) {
      if (snapshot->position == place->second) kept.push_front(*place);
    }
  }
  droppable_.swap(kept);
  sweep_at_ = 2 * droppable_.size() + 64;
}

bool SessionTable::DropSnapshot() {
  while (!droppable_.empty()) {
    const auto [id, position] = droppable_.front();
    droppable_.pop_front();
    const auto found = sessions_.find(id);
    if (found == sessions_.end()) continue;
    Session& session = *found->second;
    // The last one of an idle session comes back to this list when its next call begins.
    if (!session.away && session.IsLast(position)) continue;
    const size_t before = session.snapshots().size();
    session.DropSnapshot(position);
    if (session.snapshots().size() < before) return true;
  }
  return false;
}

}  // namespace ela
