// What a StoreWriter reports, counted. docs/state-store.md lists every metric.
#ifndef ELA_SERVER_STORE_METRICS_H_
#define ELA_SERVER_STORE_METRICS_H_

#include <array>
#include <atomic>
#include <cstdint>

#include "scheduler/store_observer.h"
#include "server/histogram.h"
#include "server/metrics_page.h"

namespace ela {

// Thread-safe.
class StoreMetrics : public StoreObserver {
 public:
  StoreMetrics();

  void OnLoad(const StoreLoad& load) override;
  void OnGroup(const StoreGroup& group) override;
  void OnTask(absl::string_view name, const absl::Status& status, absl::Duration duration) override;
  void OnRetry(const absl::Status& why) override;
  void OnNotKept(const absl::Status& why, int64_t num_tokens, int64_t snapshot_bytes) override;

  void Report(MetricsPage* page) const;

 private:
  // Bounded labels.
  enum Reason { kFull, kUnavailable, kLate, kFenced, kGone, kOther, kNumReasons };
  static Reason ReasonOf(const absl::Status& status);

  std::atomic<int64_t> queued_writes_{0}, queued_tasks_{0}, queued_bytes_{0}, max_bytes_{0};
  std::atomic<int> state_{0};  // StoreState
  Tally writes_, tokens_, snapshot_bytes_, tasks_, failed_tasks_, tokens_not_kept_,
      snapshot_bytes_not_kept_;
  std::array<Tally, kNumReasons> retries_, not_kept_;
  Histogram group_, wait_, task_;
};

}  // namespace ela

#endif  // ELA_SERVER_STORE_METRICS_H_
