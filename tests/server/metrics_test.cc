#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include <fstream>
#include <sstream>
#include <string>

#include "server/histogram.h"
#include "server/metrics_endpoint.h"
#include "server/server_metrics.h"

namespace ela {
namespace {

using testing::HasSubstr;

std::string Exposition(const ServerMetrics& metrics) {
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, metrics.Collect());
  return out.str();
}

WorkerInfo Info() {
  WorkerInfo info;
  info.num_slots = 4;
  info.state_bytes = 100;
  info.num_layers = 2;
  info.num_experts = 3;
  return info;
}

TEST(HistogramTest, CountsUpToAndWithTheBound) {
  Histogram histogram({1, 2});
  for (const double value : {0.5, 1.0, 1.5, 9.0}) histogram.Observe(value);
  const auto read = histogram.Read();
  EXPECT_EQ(read.sample_count, 4u);
  EXPECT_EQ(read.sample_sum, 12.0);
  ASSERT_EQ(read.bucket.size(), 3u);
  EXPECT_EQ(read.bucket[0].cumulative_count, 2u);
  EXPECT_EQ(read.bucket[1].cumulative_count, 3u);
  EXPECT_EQ(read.bucket[2].cumulative_count, 4u);
}

TEST(ServerMetricsTest, ShowsWhatTheEngineReports) {
  ServerMetrics metrics;
  ModelMetrics& model = metrics.AddModel("tiny", Info());
  model.OnLoad({5, 3, 1, 4, 4});
  StepFacts step;
  step.num_items = 2;
  step.prefill_tokens = 16;
  step.decode_tokens = 1;
  step.duration = absl::Milliseconds(2);
  const std::vector<int64_t> experts = {1, 2, 3, 4, 5, 6};
  step.expert_tokens = experts;
  model.OnStep(step);
  model.OnFirstToken(absl::Milliseconds(3));
  model.OnTokenInterval(absl::Microseconds(700));
  Usage usage;
  usage.prompt_tokens = 16;
  usage.generated_tokens = 7;
  model.OnFinish(Request(), absl::OkStatus(), FinishReason::kStopString, usage);
  model.OnRejected(absl::ResourceExhaustedError(""));
  model.OnInvalid();
  metrics.OnCall(Method::kGenerate, grpc::RESOURCE_EXHAUSTED, absl::Milliseconds(1));

  const std::string text = Exposition(metrics);
  for (const char* line :
       {"ela_requests_waiting{model=\"tiny\"} 5", "ela_requests_running{model=\"tiny\"} 3",
        "ela_requests_paused{model=\"tiny\"} 1", "ela_slots_used{model=\"tiny\"} 4",
        "ela_slots_capacity{model=\"tiny\"} 4", "ela_state_pool_bytes{model=\"tiny\"} 400",
        "ela_step_tokens_total{model=\"tiny\",phase=\"prefill\"} 16",
        "ela_expert_tokens_total{model=\"tiny\",layer=\"1\",expert=\"2\"} 6",
        "ela_time_per_output_token_seconds_bucket{model=\"tiny\",le=\"0.0005\"} 0",
        "ela_time_per_output_token_seconds_bucket{model=\"tiny\",le=\"0.001\"} 1",
        "ela_time_to_first_token_seconds_count{model=\"tiny\"} 1",
        "ela_prompt_tokens_total{model=\"tiny\"} 16",
        "ela_generated_tokens_total{model=\"tiny\"} 7",
        "ela_requests_finished_total{model=\"tiny\",reason=\"stop_string\"} 1",
        "ela_requests_rejected_total{model=\"tiny\",reason=\"queue_full\"} 1",
        "ela_requests_rejected_total{model=\"tiny\",reason=\"invalid\"} 1",
        "ela_rpc_calls_total{method=\"Generate\",code=\"RESOURCE_EXHAUSTED\"} 1",
        "ela_build_info{version="}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

TEST(ServerMetricsTest, NamesFollowTheRules) {
  ServerMetrics metrics;
  metrics.AddModel("tiny", Info());
  for (const auto& family : metrics.Collect()) {
    SCOPED_TRACE(family.name);
    EXPECT_FALSE(family.help.empty());
    const bool total =
        family.name.size() > 6 && family.name.compare(family.name.size() - 6, 6, "_total") == 0;
    EXPECT_EQ(total, family.type == prometheus::MetricType::Counter);
  }
}

TEST(ServerMetricsTest, TheDocsNameEveryMetric) {
  std::ifstream file(std::string(ELA_SOURCE_DIR) + "/docs/server.md");
  const std::string docs((std::istreambuf_iterator<char>(file)), {});
  ServerMetrics metrics;
  metrics.AddModel("tiny", Info());
  for (const auto& family : metrics.Collect()) {
    EXPECT_THAT(docs, HasSubstr("`" + family.name + "`"));
  }
}

TEST(MetricsEndpointTest, APortInUseIsAPlainError) {
  const auto metrics = std::make_shared<ServerMetrics>();
  const auto first = MetricsEndpoint::Start("127.0.0.1:0", metrics);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_THAT((*first)->address(), testing::MatchesRegex("127\\.0\\.0\\.1:[1-9][0-9]*"));
  const auto second = MetricsEndpoint::Start((*first)->address(), metrics);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("the port is in use"));
}

}  // namespace
}  // namespace ela
