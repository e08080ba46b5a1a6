// Facts about writing to the StateStore as they happen, for metrics.
#ifndef ELA_SCHEDULER_STORE_OBSERVER_H_
#define ELA_SCHEDULER_STORE_OBSERVER_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace ela {

// How the store keeps up with what is written, from good to bad.
enum class StoreState : uint8_t {
  kKeepingUp,
  kBehind,   // the queue is half full: hold back what can wait (snapshots)
  kFailing,  // some writes have failed and are being repeated
  kFull,     // the queue takes nothing more
};

struct StoreLoad {
  int64_t num_writes = 0;  // queued or under way
  int64_t num_tasks = 0;   // likewise
  int64_t num_bytes = 0;   // of both
  int64_t max_bytes = 0;
  StoreState state = StoreState::kKeepingUp;
};

// One StateStore::Write, its successful part.
struct StoreGroup {
  int64_t num_writes = 0;
  int64_t num_tokens = 0;
  int64_t snapshot_bytes = 0;
  absl::Duration duration;      // of the call
  absl::Duration longest_wait;  // in the queue
};

// Called on the writer's threads and, OnLoad and OnNotKept, on those that submit; nanoseconds,
// never blocks. Thread-safe.
class StoreObserver {
 public:
  virtual ~StoreObserver() = default;
  virtual void OnLoad(const StoreLoad& load) = 0;
  virtual void OnGroup(const StoreGroup& group) = 0;
  virtual void OnTask(absl::string_view name, const absl::Status& status,
                      absl::Duration duration) = 0;
  virtual void OnRetry(const absl::Status& why) = 0;  // one write, to be repeated
  virtual void OnNotKept(const absl::Status& why, int64_t num_tokens, int64_t snapshot_bytes) = 0;
};

}  // namespace ela

#endif  // ELA_SCHEDULER_STORE_OBSERVER_H_
