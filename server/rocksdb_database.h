#ifndef ELA_SERVER_ROCKSDB_DATABASE_H_
#define ELA_SERVER_ROCKSDB_DATABASE_H_

#include <array>
#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/state_store_rocksdb.h"

namespace rocksdb {
class ColumnFamilyHandle;
class DB;
class Env;
class Status;
class WriteBatch;
}  // namespace rocksdb

namespace ela {

// The open database of RocksDbStore, and how it recovers from errors of the disk: RocksDB stops
// taking writes after one, resumes from some when asked (for as long as it takes: a full disk makes
// it wait), and must be opened anew after the others. A thread of its own sees to that; calls fail
// meanwhile and never wait for it. Thread-safe.
class RocksDbDatabase {
 public:
  // Families of keys. kRecords: session records and their indexes. kLog: tokens. kSnapshots: state
  // blobs, in files of their own that compaction does not copy.
  enum Family { kRecords, kLog, kSnapshots, kNumFamilies };

  // Errors: see OpenRocksDbStore.
  static absl::StatusOr<std::unique_ptr<RocksDbDatabase>> Open(const RocksDbOptions& options);
  ~RocksDbDatabase();

  // The open database for the length of a call. Errors: what keeps it from being used.
  class Use {
   public:
    explicit Use(RocksDbDatabase& database) ABSL_NO_THREAD_SAFETY_ANALYSIS;
    ~Use() ABSL_NO_THREAD_SAFETY_ANALYSIS;
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

    const absl::Status& status() const { return status_; }
    rocksdb::DB* operator->() const { return database_.db_.get(); }
    rocksdb::DB& operator*() const { return *database_.db_; }
    rocksdb::ColumnFamilyHandle* family(Family family) const { return database_.families_[family]; }
    // Our status for RocksDB's, naming what was done.
    absl::Status OfRead(const rocksdb::Status& status, const char* what) const;
    // Writes `batch`, synced or not. A failure starts the recovery. Errors: kDeadlineExceeded (the
    // database stays behind with its flushes), and those of StatusOfRocksDb.
    absl::Status Write(rocksdb::WriteBatch& batch, bool sync, const char* what) const;

   private:
    RocksDbDatabase& database_;
    bool locked_ = false;
    absl::Status status_;
  };

  const std::string& directory() const { return options_.directory; }

 private:
  explicit RocksDbDatabase(const RocksDbOptions& options) : options_(options) {}

  absl::Status OpenLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckFormat() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CloseLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RecoveryLoop();
  void Reopen();

  const RocksDbOptions options_;

  // Shared by calls, exclusive while the database is opened anew. Held across I/O: that is what it
  // orders, on threads that are there for I/O.
  absl::Mutex mutex_;
  std::shared_ptr<rocksdb::Env> env_ ABSL_GUARDED_BY(mutex_);  // of a test's file system
  std::unique_ptr<rocksdb::DB> db_ ABSL_GUARDED_BY(mutex_);    // null: not open, see why_
  std::array<rocksdb::ColumnFamilyHandle*, kNumFamilies> families_ ABSL_GUARDED_BY(mutex_) = {};
  absl::Status why_ ABSL_GUARDED_BY(mutex_);

  absl::Mutex health_mutex_;
  bool failed_ ABSL_GUARDED_BY(health_mutex_) = false;  // a write, since the last recovery
  bool reopening_ ABSL_GUARDED_BY(health_mutex_) = false;
  bool closing_ ABSL_GUARDED_BY(health_mutex_) = false;

  std::thread recovery_;  // set by Open, joined by the destructor
};

// Our status for RocksDB's: kUnavailable (I/O), kResourceExhausted (space), kDataLoss (damage), ...
absl::Status StatusOfRocksDb(const rocksdb::Status& status, const std::string& what);

}  // namespace ela

#endif  // ELA_SERVER_ROCKSDB_DATABASE_H_
