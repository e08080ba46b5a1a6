#include "server/store_metrics.h"

#include <vector>

namespace ela {
namespace {

const std::vector<double> kBounds = {.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05,
                                     .1,    .25,    .5,    1,    2.5,   5,    10,  30};

constexpr const char* kReasonNames[] = {"full", "unavailable", "late", "fenced", "gone", "other"};

}  // namespace

StoreMetrics::StoreMetrics() : group_(kBounds), wait_(kBounds), task_(kBounds) {}

StoreMetrics::Reason StoreMetrics::ReasonOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kResourceExhausted:
      return kFull;
    case absl::StatusCode::kUnavailable:
      return kUnavailable;
    case absl::StatusCode::kDeadlineExceeded:
      return kLate;
    case absl::StatusCode::kAborted:
      return kFenced;
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kDataLoss:
      return kGone;
    default:
      return kOther;
  }
}

void StoreMetrics::OnLoad(const StoreLoad& load) {
  queued_writes_.store(load.num_writes, std::memory_order_relaxed);
  queued_tasks_.store(load.num_tasks, std::memory_order_relaxed);
  queued_bytes_.store(load.num_bytes, std::memory_order_relaxed);
  max_bytes_.store(load.max_bytes, std::memory_order_relaxed);
  state_.store(static_cast<int>(load.state), std::memory_order_relaxed);
}

void StoreMetrics::OnGroup(const StoreGroup& group) {
  writes_.Add(group.num_writes);
  tokens_.Add(group.num_tokens);
  snapshot_bytes_.Add(group.snapshot_bytes);
  group_.Observe(absl::ToDoubleSeconds(group.duration));
  wait_.Observe(absl::ToDoubleSeconds(group.longest_wait));
}

void StoreMetrics::OnTask(absl::string_view, const absl::Status& status, absl::Duration duration) {
  (status.ok() ? tasks_ : failed_tasks_).Add(1);
  task_.Observe(absl::ToDoubleSeconds(duration));
}

void StoreMetrics::OnRetry(const absl::Status& why) { retries_[ReasonOf(why)].Add(1); }

void StoreMetrics::OnNotKept(const absl::Status& why, int64_t num_tokens, int64_t snapshot_bytes) {
  not_kept_[ReasonOf(why)].Add(1);
  tokens_not_kept_.Add(num_tokens);
  snapshot_bytes_not_kept_.Add(snapshot_bytes);
}

void StoreMetrics::Report(MetricsPage* page) const {
  page->Gauge("ela_store_queue_writes", "Writes to the state store, queued or under way.", {},
              static_cast<double>(queued_writes_.load()));
  page->Gauge("ela_store_queue_tasks", "Other calls of the state store, queued or under way.", {},
              static_cast<double>(queued_tasks_.load()));
  page->Gauge("ela_store_queue_bytes", "Bytes of what is queued for the state store.", {},
              static_cast<double>(queued_bytes_.load()));
  page->Gauge("ela_store_queue_capacity_bytes", "Bytes that may be queued.", {},
              static_cast<double>(max_bytes_.load()));
  page->Gauge("ela_store_state", "0 keeps up, 1 behind, 2 failing, 3 full.", {}, state_.load());
  page->Add("ela_store_write_seconds", "One durable write of many sessions.", {}, group_);
  page->Add("ela_store_wait_seconds", "The longest wait in the queue among a write's sessions.", {},
            wait_);
  page->Add("ela_store_task_seconds", "One other call: create, acquire, load, delete.", {}, task_);
  page->Counter("ela_store_writes_total", "Durable writes of one session.", {}, writes_.value());
  page->Counter("ela_store_tokens_total", "Tokens made durable.", {}, tokens_.value());
  page->Counter("ela_store_snapshot_bytes_total", "Bytes of states made durable.", {},
                snapshot_bytes_.value());
  page->Counter("ela_store_tasks_total", "Other calls, by outcome.", {{"outcome", "ok"}},
                tasks_.value());
  page->Counter("ela_store_tasks_total", "", {{"outcome", "error"}}, failed_tasks_.value());
  for (int i = 0; i < kNumReasons; ++i) {
    page->Counter("ela_store_retries_total", "Writes that failed and are repeated, by reason.",
                  {{"reason", kReasonNames[i]}}, retries_[i].value());
  }
  for (int i = 0; i < kNumReasons; ++i) {
    page->Counter("ela_store_not_kept_total", "Writes that were given up, by reason.",
                  {{"reason", kReasonNames[i]}}, not_kept_[i].value());
  }
  page->Counter("ela_store_tokens_not_kept_total", "Tokens of writes that were given up.", {},
                tokens_not_kept_.value());
  page->Counter("ela_store_snapshot_bytes_not_kept_total", "Bytes of states likewise.", {},
                snapshot_bytes_not_kept_.value());
}

}  // namespace ela
