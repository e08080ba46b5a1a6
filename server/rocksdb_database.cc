#include "server/rocksdb_database.h"

#include <rocksdb/cache.h>
#include <rocksdb/convenience.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/file_system.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>

#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "model/status_macros.h"

namespace ela {
namespace {

constexpr char kFormatKey[] = "m/format";
constexpr char kFormat[] = "ela sessions 1";
constexpr absl::Duration kBetweenAttempts = absl::Milliseconds(50);
// How long a write waits for flushes and compactions to catch up.
constexpr absl::Duration kStallLimit = absl::Seconds(10);

rocksdb::ColumnFamilyOptions FamilyOptions(const RocksDbOptions& options,
                                           const std::shared_ptr<rocksdb::Cache>& cache,
                                           RocksDbDatabase::Family family) {
  rocksdb::ColumnFamilyOptions result;
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  result.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  result.compression = rocksdb::kLZ4Compression;
  result.write_buffer_size = 16 << 20;
  if (family == RocksDbDatabase::kSnapshots) {
    result.write_buffer_size = static_cast<size_t>(options.write_buffer_bytes);
    result.enable_blob_files = true;
    result.min_blob_size = 4096;
    result.enable_blob_garbage_collection = true;
    // States are floats that no compressor shrinks.
    result.compression = rocksdb::kNoCompression;
    result.blob_compression_type = rocksdb::kNoCompression;
  }
  return result;
}

rocksdb::DBOptions DatabaseOptions() {
  rocksdb::DBOptions result;
  result.create_if_missing = true;
  result.create_missing_column_families = true;
  result.max_background_jobs = 2;
  result.max_total_wal_size = 256 << 20;
  result.max_open_files = 512;
  result.bytes_per_sync = 1 << 20;
  result.info_log_level = rocksdb::WARN_LEVEL;
  result.keep_log_file_num = 4;
  result.stats_dump_period_sec = 0;
  result.stats_persist_period_sec = 0;
  // A log that ends in the middle of a record was cut by a crash before that record was
  // acknowledged: what is before it counts.
  result.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  return result;
}

}  // namespace

absl::Status StatusOfRocksDb(const rocksdb::Status& status, const std::string& what) {
  if (status.ok()) return absl::OkStatus();
  const std::string text = status.ToString();
  const std::string message = absl::StrCat(what, ": ", text);
  // RocksDB keeps the subcode for most errors, for others only errno's words.
  if (status.IsNoSpace() || absl::StrContains(text, "No space left") ||
      absl::StrContains(text, "quota exceeded") || absl::StrContains(text, "File too large")) {
    return absl::ResourceExhaustedError(message);
  }
  if (status.IsCorruption()) return absl::DataLossError(message);
  if (status.IsInvalidArgument() || status.IsNotSupported()) {
    return absl::FailedPreconditionError(message);
  }
  return absl::UnavailableError(message);  // I/O, busy, shutdown, aborted by an earlier error
}

absl::StatusOr<std::unique_ptr<RocksDbDatabase>> RocksDbDatabase::Open(
    const RocksDbOptions& options) {
  std::unique_ptr<RocksDbDatabase> database(new RocksDbDatabase(options));
  {
    absl::MutexLock lock(&database->mutex_);
    ELA_RETURN_IF_ERROR(database->OpenLocked());
  }
  database->recovery_ = std::thread([d = database.get()] { d->RecoveryLoop(); });
  return database;
}

RocksDbDatabase::~RocksDbDatabase() {
  {
    absl::MutexLock lock(&health_mutex_);
    closing_ = true;
  }
  if (recovery_.joinable()) {
    {
      absl::ReaderMutexLock lock(&mutex_);
      // A Resume that waits for a full disk returns.
      if (db_ != nullptr) rocksdb::CancelAllBackgroundWork(db_.get(), /*wait=*/false);
    }
    recovery_.join();
  }
  absl::MutexLock lock(&mutex_);
  CloseLocked();
}

void RocksDbDatabase::CloseLocked() {
  if (db_ == nullptr) return;
  for (rocksdb::ColumnFamilyHandle*& family : families_) {
    if (family != nullptr) db_->DestroyColumnFamilyHandle(family).PermitUncheckedError();
    family = nullptr;
  }
  db_->Close().PermitUncheckedError();
  db_.reset();
}

absl::Status RocksDbDatabase::OpenLocked() {
  rocksdb::DBOptions options = DatabaseOptions();
  if (!options_.file_system.empty()) {
    std::shared_ptr<rocksdb::FileSystem> files;
    const rocksdb::Status found =
        rocksdb::FileSystem::CreateFromString({}, options_.file_system, &files);
    ELA_RETURN_IF_ERROR(StatusOfRocksDb(found, options_.file_system));
    env_ = rocksdb::NewCompositeEnv(files);
    options.env = env_.get();
  }
  const auto cache = rocksdb::NewLRUCache(static_cast<size_t>(options_.cache_bytes));
  const std::vector<rocksdb::ColumnFamilyDescriptor> descriptors = {
      {rocksdb::kDefaultColumnFamilyName, FamilyOptions(options_, cache, kRecords)},
      {"log", FamilyOptions(options_, cache, kLog)},
      {"snapshots", FamilyOptions(options_, cache, kSnapshots)}};
  std::vector<rocksdb::ColumnFamilyHandle*> families;
  rocksdb::DB* db = nullptr;
  const rocksdb::Status opened =
      rocksdb::DB::Open(options, options_.directory, descriptors, &families, &db);
  if (!opened.ok()) {
    const bool locked = absl::StrContains(opened.ToString(), "lock file") ||
                        absl::StrContains(opened.ToString(), "lock hold");
    return StatusOfRocksDb(
        opened, absl::StrCat("state store ", options_.directory,
                             locked ? " is in use by another process" : " cannot be opened"));
  }
  db_.reset(db);
  std::copy(families.begin(), families.end(), families_.begin());
  absl::Status format = CheckFormat();
  if (!format.ok()) CloseLocked();
  return format;
}

absl::Status RocksDbDatabase::CheckFormat() {
  std::string format;
  const rocksdb::Status read = db_->Get({}, families_[kRecords], kFormatKey, &format);
  if (read.IsNotFound()) {
    std::unique_ptr<rocksdb::Iterator> first(db_->NewIterator({}, families_[kRecords]));
    first->SeekToFirst();
    if (first->Valid()) {
      return absl::FailedPreconditionError(
          absl::StrCat(options_.directory, " holds a RocksDB database that is no state store"));
    }
    rocksdb::WriteOptions synced;
    synced.sync = true;
    return StatusOfRocksDb(db_->Put(synced, families_[kRecords], kFormatKey, kFormat),
                           absl::StrCat("state store ", options_.directory));
  }
  ELA_RETURN_IF_ERROR(StatusOfRocksDb(read, absl::StrCat("state store ", options_.directory)));
  if (format == kFormat) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("state store ", options_.directory,
                                                    " has format \"", format,
                                                    "\", this build reads \"", kFormat, "\""));
}

// RocksDB says itself whether it can go on; only when it cannot is it closed, since reads work as
// long as it is open.
void RocksDbDatabase::RecoveryLoop() {
  const auto wanted = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(health_mutex_) {
    return failed_ || closing_;
  };
  while (true) {
    {
      absl::MutexLock lock(&health_mutex_, absl::Condition(&wanted));
      if (closing_) return;
      failed_ = false;  // a write that fails from here on wants another round
    }
    bool recovered = false, fatal = true;
    {
      absl::ReaderMutexLock lock(&mutex_);
      if (db_ != nullptr) {
        const rocksdb::Status resumed = db_->Resume();
        recovered = resumed.ok();
        fatal = resumed.severity() >= rocksdb::Status::kFatalError;
      }
    }
    if (!recovered && fatal) Reopen();
    absl::MutexLock lock(&health_mutex_);
    failed_ = failed_ || !recovered;
    health_mutex_.AwaitWithTimeout(absl::Condition(&closing_), kBetweenAttempts);
  }
}

void RocksDbDatabase::Reopen() {
  {
    absl::MutexLock lock(&health_mutex_);
    if (closing_) return;
    reopening_ = true;
  }
  {
    absl::MutexLock lock(&mutex_);
    CloseLocked();
    why_ = OpenLocked();
  }
  absl::MutexLock lock(&health_mutex_);
  reopening_ = false;
}

RocksDbDatabase::Use::Use(RocksDbDatabase& database) : database_(database) {
  {
    absl::MutexLock lock(&database_.health_mutex_);
    if (database_.reopening_) {
      status_ = absl::UnavailableError(absl::StrCat("state store ", database_.directory(),
                                                    " is being opened anew after an error"));
      return;
    }
  }
  database_.mutex_.ReaderLock();
  locked_ = true;
  if (database_.db_ == nullptr) status_ = database_.why_;
}

RocksDbDatabase::Use::~Use() {
  if (locked_) database_.mutex_.ReaderUnlock();
}

absl::Status RocksDbDatabase::Use::OfRead(const rocksdb::Status& status, const char* what) const {
  return StatusOfRocksDb(status, absl::StrCat(what, " in ", database_.directory()));
}

// RocksDB would hold a write for as long as flushes are behind, on a full disk for ever.
absl::Status RocksDbDatabase::Use::Write(rocksdb::WriteBatch& batch, bool sync,
                                         const char* what) const {
  rocksdb::WriteOptions options;
  options.sync = sync;
  options.no_slowdown = true;
  const absl::Time deadline = absl::Now() + kStallLimit;
  rocksdb::Status status = database_.db_->Write(options, &batch);
  while (status.IsIncomplete()) {
    if (absl::Now() > deadline) {
      return absl::DeadlineExceededError(
          absl::StrCat(what, " in ", database_.directory(), ": flushes are more than ",
                       absl::FormatDuration(kStallLimit), " behind"));
    }
    absl::SleepFor(absl::Milliseconds(1));
    status = database_.db_->Write(options, &batch);
  }
  if (!status.ok()) {
    absl::MutexLock lock(&database_.health_mutex_);
    database_.failed_ = true;
  }
  return OfRead(status, what);
}

}  // namespace ela
