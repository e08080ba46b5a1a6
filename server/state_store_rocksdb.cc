// Keys. Records: 's' id -> record; 't' tenant id -> nothing (List); 'x' expiry id -> nothing
// (SweepExpired). Log: id block -> the up to 256 tokens from position 256 * block on, so that an
// append rewrites at most one short value, and any range is read by its length alone. Snapshots: id
// position -> bytes. Numbers in keys are big-endian, so that their order is the keys'.
#include "server/state_store_rocksdb.h"

#include <rocksdb/db.h>
#include <rocksdb/snapshot.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <array>
#include <set>
#include <utility>
#include <vector>

#include "absl/hash/hash.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "model/status_macros.h"
#include "server/byte_coding.h"
#include "server/rocksdb_database.h"
#include "server/stored_session.h"

namespace ela {
namespace {

using Use = RocksDbDatabase::Use;
using rocksdb::Slice;
using rocksdb::WriteBatch;

constexpr int64_t kBlockTokens = 256;

void PutBigEndian(uint64_t value, int num_bytes, std::string* key) {
  for (int i = num_bytes - 1; i >= 0; --i) key->push_back(static_cast<char>(value >> (8 * i)));
}

std::string IdKey(const SessionId& id, uint64_t number) {
  std::string key(id.raw());
  PutBigEndian(number, 8, &key);
  return key;
}
std::string RecordKey(const SessionId& id) { return absl::StrCat("s", id.raw()); }
std::string TenantPrefix(const std::string& tenant) {
  std::string key = "t";
  PutBigEndian(tenant.size(), 2, &key);
  return key + tenant;
}
std::string TenantKey(const std::string& tenant, const SessionId& id) {
  return absl::StrCat(TenantPrefix(tenant), id.raw());
}
// Times before 1970 order as 1970.
std::string ExpiryKey(absl::Time expires, const SessionId& id) {
  std::string key = "x";
  PutBigEndian(static_cast<uint64_t>(std::max<int64_t>(TimeToMicros(expires), 0)), 8, &key);
  return absl::StrCat(key, id.raw());
}
SessionId IdAtEnd(const Slice& key) {
  SessionId id;
  std::copy(key.data() + key.size() - id.bytes.size(), key.data() + key.size(), id.bytes.begin());
  return id;
}

// Thread-safe.
class RocksDbStore final : public StateStore {
 public:
  explicit RocksDbStore(std::unique_ptr<RocksDbDatabase> database)
      : database_(std::move(database)) {}

  std::string Describe() const override {
    return absl::StrCat("rocksdb at ", database_->directory());
  }
  absl::Status Create(const StoredSession& session) override;
  absl::StatusOr<StoredSession> Acquire(const SessionId& id, int64_t expected_generation,
                                        const std::string& owner) override;
  absl::StatusOr<StoredSession> Read(const SessionId& id) override;
  absl::StatusOr<std::vector<TokenId>> ReadTokens(const SessionId& id, int64_t begin,
                                                  int64_t end) override;
  absl::StatusOr<std::string> ReadSnapshot(const SessionId& id, int64_t position) override;
  void Write(absl::Span<const SessionWrite> writes, absl::Span<absl::Status> results) override;
  absl::Status Delete(const SessionId& id, int64_t generation) override;
  absl::StatusOr<SessionPage> List(const std::string& tenant, const std::optional<SessionId>& after,
                                   int32_t limit) override;
  absl::StatusOr<std::vector<SessionId>> SweepExpired(absl::Time now, int32_t limit) override;

 private:
  // A session is changed by one thread at a time, from reading its record to its sync; a stripe is
  // the turn of all sessions that hash to it. Held across I/O, which is what it orders.
  static constexpr size_t kNumStripes = 64;
  class Turn {
   public:
    Turn(RocksDbStore& store, const SessionId& id) : Turn(store, std::set<size_t>{StripeOf(id)}) {}
    Turn(RocksDbStore& store, const std::set<size_t>& stripes);  // in order: no deadlock
    static size_t StripeOf(const SessionId& id) {
      return absl::Hash<SessionId>()(id) % kNumStripes;
    }

   private:
    std::vector<std::unique_ptr<absl::MutexLock>> locks_;
  };

  // As of `at`; null: now.
  absl::StatusOr<StoredSession> ReadRecord(const Use& db, const SessionId& id,
                                           const rocksdb::Snapshot* at = nullptr);
  absl::StatusOr<std::vector<TokenId>> ReadLog(const Use& db, const SessionId& id, int64_t begin,
                                               int64_t end, const rocksdb::Snapshot* at = nullptr);
  void PutRecord(const Use& db, const StoredSession& session, WriteBatch& batch);
  absl::Status AddToBatch(const Use& db, const SessionWrite& write, WriteBatch& batch);
  absl::Status PutLog(const Use& db, const SessionWrite& write, int64_t num_before,
                      int64_t num_repeated, WriteBatch& batch);
  void DeleteAll(const Use& db, const StoredSession& session, WriteBatch& batch);

  const std::unique_ptr<RocksDbDatabase> database_;
  std::array<absl::Mutex, kNumStripes> stripes_;
};

RocksDbStore::Turn::Turn(RocksDbStore& store, const std::set<size_t>& stripes) {
  for (const size_t stripe : stripes) {
    locks_.push_back(std::make_unique<absl::MutexLock>(&store.stripes_[stripe]));
  }
}

// --- Reading. ---

absl::StatusOr<StoredSession> RocksDbStore::ReadRecord(const Use& db, const SessionId& id,
                                                       const rocksdb::Snapshot* at) {
  rocksdb::ReadOptions options;
  options.snapshot = at;
  std::string bytes;
  const rocksdb::Status read =
      db->Get(options, db.family(RocksDbDatabase::kRecords), RecordKey(id), &bytes);
  if (read.IsNotFound()) return SessionNotFound(id);
  ELA_RETURN_IF_ERROR(db.OfRead(read, "reading a session"));
  ELA_ASSIGN_OR_RETURN(StoredSession session, DecodeSession(bytes));
  if (session.id != id) {
    return absl::DataLossError(
        absl::StrCat("the record of session ", id.ToHex(), " is that of ", session.id.ToHex()));
  }
  return session;
}

absl::StatusOr<std::vector<TokenId>> RocksDbStore::ReadLog(const Use& db, const SessionId& id,
                                                           int64_t begin, int64_t end,
                                                           const rocksdb::Snapshot* at) {
  std::vector<TokenId> tokens;
  if (begin == end) return tokens;
  tokens.reserve(end - begin + 2 * kBlockTokens);
  const int64_t first_block = begin / kBlockTokens, last_block = (end - 1) / kBlockTokens;
  const std::string stop = IdKey(id, last_block + 1);
  const Slice upper(stop);
  rocksdb::ReadOptions options;
  options.iterate_upper_bound = &upper;
  options.snapshot = at;
  std::unique_ptr<rocksdb::Iterator> next(
      db->NewIterator(options, db.family(RocksDbDatabase::kLog)));
  next->Seek(IdKey(id, first_block));
  for (int64_t block = first_block; block <= last_block; ++block, next->Next()) {
    const int64_t missing = std::min(end - block * kBlockTokens, kBlockTokens);
    if (!next->Valid() || next->key() != Slice(IdKey(id, block)) ||
        next->value().size() % sizeof(TokenId) != 0 ||
        static_cast<int64_t>(next->value().size() / sizeof(TokenId)) < missing) {
      ELA_RETURN_IF_ERROR(db.OfRead(next->status(), "reading a log"));
      return absl::DataLossError(absl::StrCat("the log of session ", id.ToHex(),
                                              " lacks tokens from position ", block * kBlockTokens,
                                              " on"));
    }
    TakeTokens({next->value().data(), missing * sizeof(TokenId)}, &tokens);
  }
  tokens.erase(tokens.begin(), tokens.begin() + begin % kBlockTokens);
  return tokens;
}

absl::StatusOr<StoredSession> RocksDbStore::Read(const SessionId& id) {
  const Use db(*database_);
  ELA_RETURN_IF_ERROR(db.status());
  return ReadRecord(db, id);
}

absl::StatusOr<std::vector<TokenId>> RocksDbStore::ReadTokens(const SessionId& id, int64_t begin,
                                                              int64_t end) {
  const Use db(*database_);
  ELA_RETURN_IF_ERROR(db.status());
  rocksdb::ManagedSnapshot now(&*db);  // no rewind between record and log
  ELA_ASSIGN_OR_RETURN(const StoredSession session, ReadRecord(db, id, now.snapshot()));
  ELA_RETURN_IF_ERROR(CheckLogRange(session, begin, end));
  return ReadLog(db, id, begin, end, now.snapshot());
}

absl::StatusOr<std::string> RocksDbStore::ReadSnapshot(const SessionId& id, int64_t position) {
  const Use db(*database_);
  ELA_RETURN_IF_ERROR(db.status());
  std::string bytes;
  const rocksdb::Status read = db->Get({}, db.family(RocksDbDatabase::kSnapshots),
                                       IdKey(id, static_cast<uint64_t>(position)), &bytes);
  if (read.IsNotFound()) return SnapshotNotFound(id, position);
  ELA_RETURN_IF_ERROR(db.OfRead(read, "reading a snapshot"));
  return bytes;
}

absl::StatusOr<SessionPage> RocksDbStore::List(const std::string& tenant,
                                               const std::optional<SessionId>& after,
                                               int32_t limit) {
  const Use db(*database_);
  ELA_RETURN_IF_ERROR(db.status());
  const std::string prefix = TenantPrefix(tenant);
  std::unique_ptr<rocksdb::Iterator> next(
      db->NewIterator({}, db.family(RocksDbDatabase::kRecords)));
  const std::string begin = after.has_value() ? TenantKey(tenant, *after) : prefix;
  next->Seek(begin);
  if (after.has_value() && next->Valid() && next->key() == Slice(begin)) next->Next();
  SessionPage page;
  for (; next->Valid() && next->key().starts_with(prefix) &&
         next->key().size() == prefix.size() + sizeof(SessionId::bytes);
       next->Next()) {
    page.more = static_cast<int32_t>(page.sessions.size()) == limit;
    if (page.more) break;
    absl::StatusOr<StoredSession> session = ReadRecord(db, IdAtEnd(next->key()));
    if (absl::IsNotFound(session.status())) continue;  // deleted meanwhile
    ELA_RETURN_IF_ERROR(session.status());
    page.sessions.push_back(*std::move(session));
  }
  ELA_RETURN_IF_ERROR(db.OfRead(next->status(), "listing sessions"));
  return page;
}

// --- Writing. ---

void RocksDbStore::PutRecord(const Use& db, const StoredSession& session, WriteBatch& batch) {
  batch.Put(db.family(RocksDbDatabase::kRecords), RecordKey(session.id), EncodeSession(session));
}

absl::Status RocksDbStore::Create(const StoredSession& session) {
  ELA_RETURN_IF_ERROR(CheckNewSession(session));
  const Turn turn(*this, session.id);
  const Use db(*database_);
  ELA_RETURN_IF_ERROR(db.status());
  const absl::StatusOr<StoredSession> stored = ReadRecord(db, session.id);
  if (stored.ok()) {
    return IsRepeatedCreate(session, *stored) ? absl::OkStatus() : SessionExists(session.id);
  }
  if (!absl::IsNotFound(stored.status())) return stored.status();
  StoredSession fresh = session;
  fresh.generation = 1;
  fresh.num_tokens = 0;
  fresh.snapshots.clear();
  WriteBatch batch;
  PutRecord(db, fresh, batch);
  batch.Put(db.family(RocksDbDatabase::kRecords), TenantKey(fresh.tenant, fresh.id), "");
  batch.Put(db.family(RocksDbDatabase::kRecords), ExpiryKey(fresh.meta.expires, fresh.id), "");
  return db.Write(batch, /*sync=*/true, "creating a session");
}

absl::StatusOr<StoredSession> RocksDbStore::Acquire(const SessionId& id,
                                                    int64_t expected_generation,
                                                    const std::string& owner) {
  const Turn turn(*this, id);
  const Use db(*database_);
  ELA_RETURN_IF_ERROR(db.status());
  ELA_ASSIGN_OR_RETURN(StoredSession session, ReadRecord(db, id));
  ELA_RETURN_IF_ERROR(ApplyAcquire(expected_generation, owner, &session));
  WriteBatch batch;
  PutRecord(db, session, batch);
  ELA_RETURN_IF_ERROR(db.Write(batch, /*sync=*/true, "acquiring a session"));
  return session;
}

void RocksDbStore::Write(absl::Span<const SessionWrite> writes, absl::Span<absl::Status> results) {
  std::set<size_t> stripes;
  for (const SessionWrite& write : writes) stripes.insert(Turn::StripeOf(write.id));
  const Turn turn(*this, stripes);
  const Use db(*database_);
  WriteBatch batch;
  for (size_t i = 0; i < writes.size(); ++i) {
    results[i] = db.status().ok() ? AddToBatch(db, writes[i], batch) : db.status();
  }
  if (batch.Count() == 0) return;
  const absl::Status written = db.Write(batch, /*sync=*/true, "writing sessions");
  for (absl::Status& result : results) {
    if (result.ok()) result = written;
  }
}

// Adds everything or, on an error, nothing.
absl::Status RocksDbStore::AddToBatch(const Use& db, const SessionWrite& write, WriteBatch& batch) {
  ELA_RETURN_IF_ERROR(CheckWrite(write));
  ELA_ASSIGN_OR_RETURN(const StoredSession before, ReadRecord(db, write.id));
  StoredSession session = before;
  int64_t num_repeated = 0;
  ELA_RETURN_IF_ERROR(ApplyWrite(write, &session, &num_repeated));
  ELA_RETURN_IF_ERROR(PutLog(db, write, before.num_tokens, num_repeated, batch));

  const auto has = [](const StoredSession& in, int64_t position) {
    const SnapshotInfo* newest = NewestSnapshot(in, position);
    return newest != nullptr && newest->position == position;
  };
  rocksdb::ColumnFamilyHandle* const snapshots = db.family(RocksDbDatabase::kSnapshots);
  for (const SnapshotInfo& snapshot : before.snapshots) {
    if (!has(session, snapshot.position)) {
      batch.Delete(snapshots, IdKey(write.id, snapshot.position));
    }
  }
  for (const Snapshot& snapshot : write.put_snapshots) {
    if (has(session, snapshot.position)) {
      batch.Put(snapshots, IdKey(write.id, snapshot.position), *snapshot.bytes);
    }
  }
  if (session.meta.expires != before.meta.expires) {
    rocksdb::ColumnFamilyHandle* const records = db.family(RocksDbDatabase::kRecords);
    batch.Delete(records, ExpiryKey(before.meta.expires, write.id));
    batch.Put(records, ExpiryKey(session.meta.expires, write.id), "");
  }
  PutRecord(db, session, batch);
  return absl::OkStatus();
}

absl::Status RocksDbStore::PutLog(const Use& db, const SessionWrite& write, int64_t num_before,
                                  int64_t num_repeated, WriteBatch& batch) {
  if (num_repeated > 0) {
    ELA_ASSIGN_OR_RETURN(
        const std::vector<TokenId> there,
        ReadLog(db, write.id, write.log_position, write.log_position + num_repeated));
    if (!std::equal(there.begin(), there.end(), write.tokens.begin())) {
      return LogConflict(write.id, write.log_position);
    }
  }
  const int64_t begin = write.log_position + num_repeated;
  const int64_t end = write.log_position + static_cast<int64_t>(write.tokens.size());
  if (begin == end && !write.rewind) return absl::OkStatus();

  // The block that `begin` lies in keeps its tokens before it.
  const int64_t first_block = begin / kBlockTokens;
  ELA_ASSIGN_OR_RETURN(std::vector<TokenId> tokens,
                       ReadLog(db, write.id, first_block * kBlockTokens, begin));
  tokens.insert(tokens.end(), write.tokens.begin() + num_repeated, write.tokens.end());
  rocksdb::ColumnFamilyHandle* const log = db.family(RocksDbDatabase::kLog);
  int64_t block = first_block;
  for (size_t at = 0; at < tokens.size(); at += kBlockTokens, ++block) {
    const size_t count = std::min<size_t>(kBlockTokens, tokens.size() - at);
    std::string bytes;
    PutTokens({&tokens[at], count}, &bytes);
    batch.Put(log, IdKey(write.id, block), bytes);
  }
  for (; write.rewind && block * kBlockTokens < num_before; ++block) {
    batch.Delete(log, IdKey(write.id, block));
  }
  return absl::OkStatus();
}

void RocksDbStore::DeleteAll(const Use& db, const StoredSession& session, WriteBatch& batch) {
  rocksdb::ColumnFamilyHandle* const records = db.family(RocksDbDatabase::kRecords);
  batch.Delete(records, RecordKey(session.id));
  batch.Delete(records, TenantKey(session.tenant, session.id));
  batch.Delete(records, ExpiryKey(session.meta.expires, session.id));
  for (int64_t block = 0; block * kBlockTokens < session.num_tokens; ++block) {
    batch.Delete(db.family(RocksDbDatabase::kLog), IdKey(session.id, block));
  }
  for (const SnapshotInfo& snapshot : session.snapshots) {
    batch.Delete(db.family(RocksDbDatabase::kSnapshots), IdKey(session.id, snapshot.position));
  }
}

absl::Status RocksDbStore::Delete(const SessionId& id, int64_t generation) {
  const Turn turn(*this, id);
  const Use db(*database_);
  ELA_RETURN_IF_ERROR(db.status());
  const absl::StatusOr<StoredSession> session = ReadRecord(db, id);
  if (absl::IsNotFound(session.status())) return absl::OkStatus();
  ELA_RETURN_IF_ERROR(session.status());
  if (generation != kAnyGeneration && generation != session->generation) {
    return Fenced(id, generation, session->generation, session->owner);
  }
  WriteBatch batch;
  DeleteAll(db, *session, batch);
  return db.Write(batch, /*sync=*/true, "deleting a session");
}

absl::StatusOr<std::vector<SessionId>> RocksDbStore::SweepExpired(absl::Time now, int32_t limit) {
  std::vector<SessionId> found, swept;
  {
    const Use db(*database_);
    ELA_RETURN_IF_ERROR(db.status());
    const std::string stop = ExpiryKey(now + absl::Microseconds(1), SessionId());
    const Slice upper(stop);
    rocksdb::ReadOptions options;
    options.iterate_upper_bound = &upper;
    std::unique_ptr<rocksdb::Iterator> next(
        db->NewIterator(options, db.family(RocksDbDatabase::kRecords)));
    for (next->Seek("x"); next->Valid() && static_cast<int32_t>(found.size()) < limit;
         next->Next()) {
      found.push_back(IdAtEnd(next->key()));
    }
    ELA_RETURN_IF_ERROR(db.OfRead(next->status(), "sweeping sessions"));
  }
  for (const SessionId& id : found) {
    const Turn turn(*this, id);
    const Use db(*database_);
    ELA_RETURN_IF_ERROR(db.status());
    const absl::StatusOr<StoredSession> session = ReadRecord(db, id);
    if (absl::IsNotFound(session.status())) continue;
    ELA_RETURN_IF_ERROR(session.status());
    if (session->meta.expires > now) continue;  // moved meanwhile
    WriteBatch batch;
    DeleteAll(db, *session, batch);
    // Not synced: a session that a crash brings back is swept again.
    ELA_RETURN_IF_ERROR(db.Write(batch, /*sync=*/false, "sweeping sessions"));
    swept.push_back(id);
  }
  return swept;
}

}  // namespace

absl::StatusOr<std::unique_ptr<StateStore>> OpenRocksDbStore(const RocksDbOptions& options) {
  ELA_ASSIGN_OR_RETURN(std::unique_ptr<RocksDbDatabase> database, RocksDbDatabase::Open(options));
  return std::make_unique<RocksDbStore>(std::move(database));
}

}  // namespace ela
