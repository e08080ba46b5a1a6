#include "tests/fakes/fake_state_store.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/status_macros.h"

namespace ela {

void FakeStateStore::FailWhen(std::function<Fault(absl::string_view)> fault) {
  absl::MutexLock lock(&mutex_);
  fault_ = std::move(fault);
}

void FakeStateStore::Forget() {
  absl::MutexLock lock(&mutex_);
  sessions_.clear();
}

int64_t FakeStateStore::num_calls(const std::string& call) const {
  absl::MutexLock lock(&mutex_);
  const auto found = num_calls_.find(call);
  return found == num_calls_.end() ? 0 : found->second;
}

int64_t FakeStateStore::num_writes() const {
  absl::MutexLock lock(&mutex_);
  return num_writes_;
}

std::vector<TokenId> FakeStateStore::tokens(const SessionId& id) const {
  absl::MutexLock lock(&mutex_);
  const auto found = sessions_.find(id);
  return found == sessions_.end() ? std::vector<TokenId>() : found->second.tokens;
}

FakeStateStore::Fault FakeStateStore::Begin(const char* call) {
  std::function<Fault(absl::string_view)> fault;
  {
    absl::MutexLock lock(&mutex_);
    ++num_calls_[call];
    fault = fault_;
  }
  return fault ? fault(call) : Fault();
}

absl::Status FakeStateStore::Create(const StoredSession& session) {
  const Fault fault = Begin("Create");
  if (!fault.status.ok() && !fault.lost_reply) return fault.status;
  ELA_RETURN_IF_ERROR(CheckNewSession(session));
  absl::MutexLock lock(&mutex_);
  const auto [found, fresh] = sessions_.try_emplace(session.id);
  StoredSession& record = found->second.record;
  if (fresh) {
    record.id = session.id;
    record.tenant = session.tenant;
    record.owner = session.owner;
    record.created = StoredTime(session.created);
    record.meta = session.meta;
    record.meta.expires = StoredTime(session.meta.expires);
  } else if (!IsRepeatedCreate(session, record)) {
    return SessionExists(session.id);
  }
  return fault.status;
}

absl::StatusOr<StoredSession> FakeStateStore::Acquire(const SessionId& id,
                                                      int64_t expected_generation,
                                                      const std::string& owner) {
  const Fault fault = Begin("Acquire");
  if (!fault.status.ok() && !fault.lost_reply) return fault.status;
  absl::MutexLock lock(&mutex_);
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) return SessionNotFound(id);
  ELA_RETURN_IF_ERROR(ApplyAcquire(expected_generation, owner, &found->second.record));
  if (!fault.status.ok()) return fault.status;
  return found->second.record;
}

absl::StatusOr<StoredSession> FakeStateStore::Read(const SessionId& id) {
  const Fault fault = Begin("Read");
  if (!fault.status.ok()) return fault.status;
  absl::MutexLock lock(&mutex_);
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) return SessionNotFound(id);
  return found->second.record;
}

absl::StatusOr<std::vector<TokenId>> FakeStateStore::ReadTokens(const SessionId& id, int64_t begin,
                                                                int64_t end) {
  const Fault fault = Begin("ReadTokens");
  if (!fault.status.ok()) return fault.status;
  absl::MutexLock lock(&mutex_);
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) return SessionNotFound(id);
  ELA_RETURN_IF_ERROR(CheckLogRange(found->second.record, begin, end));
  const std::vector<TokenId>& tokens = found->second.tokens;
  return std::vector<TokenId>(tokens.begin() + begin, tokens.begin() + end);
}

absl::StatusOr<std::string> FakeStateStore::ReadSnapshot(const SessionId& id, int64_t position) {
  const Fault fault = Begin("ReadSnapshot");
  if (!fault.status.ok()) return fault.status;
  absl::MutexLock lock(&mutex_);
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) return SessionNotFound(id);
  const auto snapshot = found->second.snapshots.find(position);
  if (snapshot == found->second.snapshots.end()) return SnapshotNotFound(id, position);
  return snapshot->second;
}

absl::Status FakeStateStore::WriteOne(const SessionWrite& write) {
  ELA_RETURN_IF_ERROR(CheckWrite(write));
  const auto found = sessions_.find(write.id);
  if (found == sessions_.end()) return SessionNotFound(write.id);
  Session& session = found->second;
  StoredSession record = session.record;
  int64_t num_repeated = 0;
  ELA_RETURN_IF_ERROR(ApplyWrite(write, &record, &num_repeated));
  if (!std::equal(write.tokens.begin(), write.tokens.begin() + num_repeated,
                  session.tokens.begin() + (num_repeated > 0 ? write.log_position : 0))) {
    return LogConflict(write.id, write.log_position);
  }
  if (write.rewind) {
    session.tokens.resize(write.log_position);
    session.snapshots.erase(session.snapshots.upper_bound(write.log_position),
                            session.snapshots.end());
  }
  session.tokens.insert(session.tokens.end(), write.tokens.begin() + num_repeated,
                        write.tokens.end());
  for (const Snapshot& snapshot : write.put_snapshots) {
    session.snapshots[snapshot.position] = *snapshot.bytes;
  }
  for (const int64_t position : write.delete_snapshots) session.snapshots.erase(position);
  session.record = std::move(record);
  ++num_writes_;
  return absl::OkStatus();
}

void FakeStateStore::Write(absl::Span<const SessionWrite> writes,
                           absl::Span<absl::Status> results) {
  const Fault fault = Begin("Write");
  if (!fault.status.ok() && !fault.lost_reply) {
    std::fill(results.begin(), results.end(), fault.status);
    return;
  }
  absl::MutexLock lock(&mutex_);
  for (size_t i = 0; i < writes.size(); ++i) {
    results[i] = WriteOne(writes[i]);
    if (!fault.status.ok()) results[i] = fault.status;
  }
}

absl::Status FakeStateStore::Delete(const SessionId& id, int64_t generation) {
  const Fault fault = Begin("Delete");
  if (!fault.status.ok() && !fault.lost_reply) return fault.status;
  absl::MutexLock lock(&mutex_);
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) return fault.status;
  const StoredSession& record = found->second.record;
  if (generation != kAnyGeneration && generation != record.generation) {
    return Fenced(id, generation, record.generation, record.owner);
  }
  sessions_.erase(found);
  return fault.status;
}

absl::StatusOr<SessionPage> FakeStateStore::List(const std::string& tenant,
                                                 const std::optional<SessionId>& after,
                                                 int32_t limit) {
  const Fault fault = Begin("List");
  if (!fault.status.ok()) return fault.status;
  absl::MutexLock lock(&mutex_);
  SessionPage page;
  auto next = after.has_value() ? sessions_.upper_bound(*after) : sessions_.begin();
  for (; next != sessions_.end(); ++next) {
    if (next->second.record.tenant != tenant) continue;
    page.more = static_cast<int32_t>(page.sessions.size()) == limit;
    if (page.more) break;
    page.sessions.push_back(next->second.record);
  }
  return page;
}

absl::StatusOr<std::vector<SessionId>> FakeStateStore::SweepExpired(absl::Time now, int32_t limit) {
  const Fault fault = Begin("SweepExpired");
  if (!fault.status.ok()) return fault.status;
  absl::MutexLock lock(&mutex_);
  std::vector<SessionId> swept;
  for (auto next = sessions_.begin();
       next != sessions_.end() && static_cast<int32_t>(swept.size()) < limit;) {
    if (next->second.record.meta.expires > now) {
      ++next;
      continue;
    }
    swept.push_back(next->first);
    next = sessions_.erase(next);
  }
  return swept;
}

}  // namespace ela
