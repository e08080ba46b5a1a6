#ifndef ELA_TESTS_FAKES_RECORDING_STORE_OBSERVER_H_
#define ELA_TESTS_FAKES_RECORDING_STORE_OBSERVER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "scheduler/store_observer.h"

namespace ela {

// Remembers what it was told. Thread-safe.
class RecordingStoreObserver final : public StoreObserver {
 public:
  struct Facts {
    StoreLoad last_load;
    int64_t num_groups = 0;
    int64_t num_writes = 0;
    int64_t num_tokens = 0;
    int64_t snapshot_bytes = 0;
    int64_t num_retries = 0;
    std::vector<std::string> tasks;  // "load OK"
    int64_t tokens_not_kept = 0;
  };

  Facts facts() const {
    absl::MutexLock lock(&mutex_);
    return facts_;
  }

  void OnLoad(const StoreLoad& load) override {
    absl::MutexLock lock(&mutex_);
    facts_.last_load = load;
  }
  void OnGroup(const StoreGroup& group) override {
    absl::MutexLock lock(&mutex_);
    ++facts_.num_groups;
    facts_.num_writes += group.num_writes;
    facts_.num_tokens += group.num_tokens;
    facts_.snapshot_bytes += group.snapshot_bytes;
  }
  void OnTask(absl::string_view name, const absl::Status& status, absl::Duration) override {
    absl::MutexLock lock(&mutex_);
    facts_.tasks.push_back(std::string(name) + " " + absl::StatusCodeToString(status.code()));
  }
  void OnRetry(const absl::Status&) override {
    absl::MutexLock lock(&mutex_);
    ++facts_.num_retries;
  }
  void OnNotKept(const absl::Status&, int64_t num_tokens, int64_t) override {
    absl::MutexLock lock(&mutex_);
    facts_.tokens_not_kept += num_tokens;
  }

 private:
  mutable absl::Mutex mutex_;
  Facts facts_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace ela

#endif  // ELA_TESTS_FAKES_RECORDING_STORE_OBSERVER_H_
