#include "server/store_metrics.h"

#include <map>
#include <string>

#include "gtest/gtest.h"

namespace ela {
namespace {

// Counters and gauges by name and first label's value; of histograms their count.
std::map<std::string, double> Values(const StoreMetrics& metrics) {
  MetricsPage page;
  metrics.Report(&page);
  std::map<std::string, double> values;
  for (const prometheus::MetricFamily& family : page.Take()) {
    for (const prometheus::ClientMetric& metric : family.metric) {
      const std::string label = metric.label.empty() ? "" : " " + metric.label.front().value;
      values[family.name + label] = metric.counter.value + metric.gauge.value +
                                    static_cast<double>(metric.histogram.sample_count);
    }
  }
  return values;
}

TEST(StoreMetricsTest, ShowsWhatTheWriterReports) {
  StoreMetrics metrics;
  StoreLoad load;
  load.num_writes = 3;
  load.num_tasks = 2;
  load.num_bytes = 1000;
  load.max_bytes = 4000;
  load.state = StoreState::kFailing;
  metrics.OnLoad(load);
  StoreGroup group;
  group.num_writes = 5;
  group.num_tokens = 80;
  group.snapshot_bytes = 1600;
  group.duration = absl::Milliseconds(4);
  metrics.OnGroup(group);
  metrics.OnTask("load", absl::OkStatus(), absl::Milliseconds(1));
  metrics.OnTask("load", absl::UnavailableError(""), absl::Milliseconds(1));
  metrics.OnRetry(absl::DeadlineExceededError(""));
  metrics.OnNotKept(absl::AbortedError(""), 7, 0);
  metrics.OnNotKept(absl::ResourceExhaustedError(""), 9, 100);

  std::map<std::string, double> values = Values(metrics);
  EXPECT_EQ(values["ela_store_queue_writes"], 3);
  EXPECT_EQ(values["ela_store_queue_tasks"], 2);
  EXPECT_EQ(values["ela_store_queue_bytes"], 1000);
  EXPECT_EQ(values["ela_store_queue_capacity_bytes"], 4000);
  EXPECT_EQ(values["ela_store_state"], 2);
  EXPECT_EQ(values["ela_store_write_seconds"], 1);
  EXPECT_EQ(values["ela_store_task_seconds"], 2);
  EXPECT_EQ(values["ela_store_writes_total"], 5);
  EXPECT_EQ(values["ela_store_tokens_total"], 80);
  EXPECT_EQ(values["ela_store_snapshot_bytes_total"], 1600);
  EXPECT_EQ(values["ela_store_tasks_total ok"], 1);
  EXPECT_EQ(values["ela_store_tasks_total error"], 1);
  EXPECT_EQ(values["ela_store_retries_total late"], 1);
  EXPECT_EQ(values["ela_store_not_kept_total fenced"], 1);
  EXPECT_EQ(values["ela_store_not_kept_total full"], 1);
  EXPECT_EQ(values["ela_store_tokens_not_kept_total"], 16);
  EXPECT_EQ(values["ela_store_snapshot_bytes_not_kept_total"], 100);
}

}  // namespace
}  // namespace ela
