#include "scheduler/state_store.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "model/status_macros.h"

namespace ela {
namespace {

absl::Status CheckLength(const char* what, size_t length, size_t limit) {
  if (length <= limit) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(what, " has ", length, " bytes, a stored session allows ", limit));
}

absl::Status CheckMeta(const SessionMeta& meta) {
  ELA_RETURN_IF_ERROR(CheckLength("model", meta.model.size(), kMaxStoredNameBytes));
  ELA_RETURN_IF_ERROR(
      CheckLength("model_fingerprint", meta.model_fingerprint.size(), kMaxStoredNameBytes));
  ELA_RETURN_IF_ERROR(CheckLength("lobe", meta.lobe.size(), kMaxStoredNameBytes));
  ELA_RETURN_IF_ERROR(CheckLength("details", meta.details.size(), kMaxDetailsBytes));
  if (meta.checkpoints.size() > kMaxCheckpoints) {
    return absl::InvalidArgumentError(absl::StrCat(
        meta.checkpoints.size(), " checkpoints, a stored session allows ", kMaxCheckpoints));
  }
  for (const auto& [name, position] : meta.checkpoints) {
    ELA_RETURN_IF_ERROR(CheckLength("a checkpoint's name", name.size(), kMaxStoredNameBytes));
    if (position < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("checkpoint \"", name, "\" is at position ", position));
    }
  }
  return absl::OkStatus();
}

bool ByPosition(const SnapshotInfo& a, const SnapshotInfo& b) { return a.position < b.position; }

void Erase(int64_t position, std::vector<SnapshotInfo>* snapshots) {
  snapshots->erase(
      std::remove_if(snapshots->begin(), snapshots->end(),
                     [position](const SnapshotInfo& s) { return s.position == position; }),
      snapshots->end());
}

}  // namespace

absl::Time StoredTime(absl::Time time) {
  if (time == absl::InfiniteFuture() || time == absl::InfinitePast()) return time;
  return absl::FromUnixMicros(absl::ToUnixMicros(time));
}

bool IsTransient(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) ||
         absl::IsResourceExhausted(status);
}

absl::Status CheckNewSession(const StoredSession& session) {
  ELA_RETURN_IF_ERROR(CheckLength("tenant", session.tenant.size(), kMaxTenantBytes));
  ELA_RETURN_IF_ERROR(CheckLength("owner", session.owner.size(), kMaxStoredNameBytes));
  return CheckMeta(session.meta);
}

absl::Status CheckWrite(const SessionWrite& write) {
  const int64_t num_tokens = static_cast<int64_t>(write.tokens.size());
  if (write.log_position < 0 || write.log_position > kMaxLogTokens - num_tokens) {
    return absl::InvalidArgumentError(absl::StrCat(num_tokens, " tokens at log position ",
                                                   write.log_position, ", a log holds ",
                                                   kMaxLogTokens));
  }
  for (const Snapshot& snapshot : write.put_snapshots) {
    if (snapshot.position < 0 || snapshot.bytes == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("a snapshot without bytes or at position ", snapshot.position));
    }
    ELA_RETURN_IF_ERROR(CheckLength("a snapshot", snapshot.bytes->size(), kMaxSnapshotBytes));
  }
  return write.meta.has_value() ? CheckMeta(*write.meta) : absl::OkStatus();
}

absl::Status ApplyWrite(const SessionWrite& write, StoredSession* session, int64_t* num_repeated) {
  const SessionId& id = session->id;
  if (write.generation != session->generation) {
    return Fenced(id, write.generation, session->generation, session->owner);
  }
  const int64_t end = write.log_position + static_cast<int64_t>(write.tokens.size());
  int64_t num_tokens = session->num_tokens;
  *num_repeated = 0;
  if (write.rewind || !write.tokens.empty()) {
    if (write.log_position > num_tokens) return LogHole(id, write.log_position, num_tokens);
    if (write.rewind) {
      num_tokens = end;
    } else {
      *num_repeated = std::min(num_tokens, end) - write.log_position;
      num_tokens = std::max(num_tokens, end);
    }
  }
  for (const Snapshot& snapshot : write.put_snapshots) {
    if (snapshot.position > num_tokens) return LogHole(id, snapshot.position, num_tokens);
  }

  session->num_tokens = num_tokens;
  std::vector<SnapshotInfo>& snapshots = session->snapshots;
  if (write.rewind) {
    snapshots.erase(std::upper_bound(snapshots.begin(), snapshots.end(),
                                     SnapshotInfo{write.log_position, 0}, ByPosition),
                    snapshots.end());
  }
  for (const Snapshot& snapshot : write.put_snapshots) {
    Erase(snapshot.position, &snapshots);
    snapshots.push_back({snapshot.position, static_cast<int64_t>(snapshot.bytes->size())});
  }
  for (const int64_t position : write.delete_snapshots) Erase(position, &snapshots);
  std::sort(snapshots.begin(), snapshots.end(), ByPosition);
  if (write.meta.has_value()) {
    session->meta = *write.meta;
    session->meta.expires = StoredTime(session->meta.expires);
  }
  if (write.release) session->owner.clear();
  return absl::OkStatus();
}

absl::Status ApplyAcquire(int64_t expected_generation, const std::string& owner,
                          StoredSession* session) {
  const bool repeated =
      session->generation == expected_generation + 1 && !owner.empty() && session->owner == owner;
  if (repeated) return absl::OkStatus();
  if (expected_generation != StateStore::kAnyGeneration &&
      expected_generation != session->generation) {
    return Fenced(session->id, expected_generation, session->generation, session->owner);
  }
  ++session->generation;
  session->owner = owner;
  return absl::OkStatus();
}

bool IsRepeatedCreate(const StoredSession& session, const StoredSession& stored) {
  return stored.generation == 1 && stored.num_tokens == 0 && stored.snapshots.empty() &&
         stored.tenant == session.tenant && stored.owner == session.owner &&
         stored.created == StoredTime(session.created);
}

absl::Status CheckLogRange(const StoredSession& session, int64_t begin, int64_t end) {
  if (0 <= begin && begin <= end && end <= session.num_tokens) return absl::OkStatus();
  return absl::OutOfRangeError(absl::StrCat("tokens [", begin, ", ", end, ") of session ",
                                            session.id.ToHex(), ", its log ends at position ",
                                            session.num_tokens));
}

absl::Status SessionExists(const SessionId& id) {
  return absl::AlreadyExistsError(absl::StrCat("session ", id.ToHex(), " is in the store already"));
}

absl::Status SnapshotNotFound(const SessionId& id, int64_t position) {
  return absl::NotFoundError(
      absl::StrCat("session ", id.ToHex(), " has no snapshot at position ", position));
}

absl::Status SessionNotFound(const SessionId& id) {
  return absl::NotFoundError(absl::StrCat("session ", id.ToHex(), " is not in the store"));
}

absl::Status Fenced(const SessionId& id, int64_t generation, int64_t held,
                    const std::string& owner) {
  return absl::AbortedError(absl::StrCat("session ", id.ToHex(), " is at generation ", held,
                                         owner.empty() ? "" : ", held by ", owner,
                                         "; this call has generation ", generation));
}

absl::Status LogConflict(const SessionId& id, int64_t position) {
  return absl::FailedPreconditionError(absl::StrCat("the log of session ", id.ToHex(),
                                                    " has other tokens from position ", position,
                                                    " on; only a rewind replaces them"));
}

absl::Status LogHole(const SessionId& id, int64_t position, int64_t num_tokens) {
  return absl::OutOfRangeError(absl::StrCat("the log of session ", id.ToHex(), " ends at position ",
                                            num_tokens, ", this is for position ", position));
}

const SnapshotInfo* NewestSnapshot(const StoredSession& session, int64_t position) {
  const auto behind = std::upper_bound(session.snapshots.begin(), session.snapshots.end(),
                                       SnapshotInfo{position, 0}, ByPosition);
  return behind == session.snapshots.begin() ? nullptr : &*std::prev(behind);
}

}  // namespace ela
