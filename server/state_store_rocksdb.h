// Sessions in an embedded RocksDB: one directory, one process. Every acknowledged change is in the
// synced write-ahead log; changes that come at the same time share a sync. After kill -9 the log is
// replayed. When the disk fills up or fails, writes are refused until it works again, without a
// restart; reads go on as long as the disk lets them.
#ifndef ELA_SERVER_STATE_STORE_ROCKSDB_H_
#define ELA_SERVER_STATE_STORE_ROCKSDB_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "scheduler/state_store.h"

namespace ela {

struct RocksDbOptions {
  std::string directory;                  // made if it is not there; its parent must be
  int64_t cache_bytes = 32 << 20;         // of blocks; snapshots are left to the page cache
  int64_t write_buffer_bytes = 64 << 20;  // snapshots in memory before they move from the log
  std::string file_system;  // a name in RocksDB's object registry; empty: the system's. For tests.
};

// Errors: kUnavailable (the directory cannot be written, or another process has it), kDataLoss (its
// files are damaged), kFailedPrecondition (they are not ours, or a newer build's),
// kResourceExhausted (no space).
absl::StatusOr<std::unique_ptr<StateStore>> OpenRocksDbStore(const RocksDbOptions& options);

}  // namespace ela

#endif  // ELA_SERVER_STATE_STORE_ROCKSDB_H_
