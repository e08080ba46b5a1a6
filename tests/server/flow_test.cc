// Overload, slow readers, cancellation, deadlines, draining: what happens when things go on at
// once. A gate on the engine's thread holds the model still while a test arranges the rest.
#include <gmock/gmock.h>
#include <grpcpp/health_check_service_interface.h>
#include <gtest/gtest.h>

#include "absl/synchronization/notification.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "tests/server/server_fixture.h"

namespace ela {
namespace {

class FlowTest : public ServerTest {
 protected:
  // The model stands still in its first step until `gate_` is notified; `running_` says it is
  // there.
  void StartGated() {
    Start([this] {
      if (!running_.HasBeenNotified()) running_.Notify();
      gate_.WaitForNotification();
    });
  }
  ~FlowTest() override {
    if (!gate_.HasBeenNotified()) gate_.Notify();
  }

  // More than the buffers between server and client hold: 10 MB.
  static v1::GenerateRequest LargeStream(const std::string& text) {
    v1::GenerateRequest request = Prompt(text, 40000);
    request.mutable_output()->set_top_logprobs(20);
    return request;
  }

  absl::Notification running_;
  absl::Notification gate_;
};

TEST_F(FlowTest, AFullQueueSaysWhenToComeBack) {
  worker_options_.num_slots = 1;
  config_.max_queue = 1;
  StartGated();
  std::thread running([this] { EXPECT_TRUE(Generate(Prompt("first", 5)).status.ok()); });
  running_.WaitForNotification();
  // Of two more, one finds a place in the queue.
  absl::Notification refused;
  const auto call = [this, &refused] {
    const grpc::Status status = Generate(Prompt("next", 5)).status;
    if (status.ok()) return;
    EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED);
    EXPECT_EQ(ReasonOf(status), "QUEUE_FULL");
    const auto retry = DetailOf<google::rpc::RetryInfo>(status);
    EXPECT_GT(retry.retry_delay().seconds() * 1e9 + retry.retry_delay().nanos(), 0);
    refused.Notify();  // a second one would end the test here
  };
  std::thread second(call), third(call);
  refused.WaitForNotification();
  gate_.Notify();
  running.join();
  second.join();
  third.join();
}

TEST_F(FlowTest, ADeadlineThatPassesInTheQueueCostsNoCompute) {
  worker_options_.num_slots = 1;
  StartGated();
  std::thread running([this] { EXPECT_TRUE(Generate(Prompt("first", 5)).status.ok()); });
  running_.WaitForNotification();
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Milliseconds(50)));
  EXPECT_EQ(Generate(Prompt("second one", 5), &context).status.error_code(),
            grpc::DEADLINE_EXCEEDED);
  AwaitMetric("ela_rpc_calls_total", 1);  // the server knows: its own clock starts a little later
  gate_.Notify();
  running.join();
  server_->Drain(absl::Seconds(10));
  EXPECT_EQ(worker_->num_tokens(),
            5 + 4);  // "first", and the four sampled tokens that went back in
}

TEST_F(FlowTest, ACancelledCallFreesItsSlot) {
  worker_options_.num_slots = 1;
  Start();
  grpc::ClientContext context;
  const auto reader = stub_->Generate(&context, Prompt("endless", 60000));
  v1::GenerateResponse message;
  ASSERT_TRUE(reader->Read(&message));
  context.TryCancel();
  while (reader->Read(&message)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::CANCELLED);
  EXPECT_TRUE(Generate(Prompt("next", 5)).status.ok());
  AwaitMetric("ela_slots_used", 0);
}

TEST_F(FlowTest, ACallThatIsCancelledInTheQueueLeavesIt) {
  worker_options_.num_slots = 1;
  StartGated();
  std::thread running([this] { EXPECT_TRUE(Generate(Prompt("first", 5)).status.ok()); });
  running_.WaitForNotification();
  grpc::ClientContext context;
  const auto reader = stub_->Generate(&context, Prompt("second", 5));
  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::CANCELLED);
  gate_.Notify();
  running.join();
  AwaitMetric("ela_requests_waiting", 0);
  AwaitMetric("ela_slots_used", 0);
}

TEST_F(FlowTest, ASlowReaderPausesAndStallsNobody) {
  worker_options_.num_slots = 2;
  Start();
  const auto slow_request = LargeStream("slow");
  grpc::ClientContext context;
  const auto reader = stub_->Generate(&context, slow_request);
  AwaitMetric("ela_requests_paused", 1);

  const auto request = Prompt("quick", 300);
  EXPECT_EQ(Generate(request).tokens, Expected(request).tokens);
  AwaitMetric("ela_requests_paused", 1);
  AwaitMetric("ela_generated_tokens_total", 300);  // the slow one has not ended

  Streamed slow;
  v1::GenerateResponse message;
  while (reader->Read(&message)) Add(message, &slow);
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(slow.tokens, Expected(slow_request).tokens);
}

TEST_F(FlowTest, AReaderThatStaysSlowLosesItsPlace) {
  config_.slow_reader_seconds = 0.05;
  Start();
  grpc::ClientContext context;
  const auto reader = stub_->Generate(&context, LargeStream("asleep"));
  AwaitMetric("ela_requests_paused", 1);
  AwaitMetric("ela_slots_used", 0);
  v1::GenerateResponse message;
  while (reader->Read(&message)) EXPECT_FALSE(message.has_finish());
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonOf(status), "SLOW_READER");
}

TEST_F(FlowTest, DrainingLetsRunningStreamsFinishAndRefusesNewOnes) {
  StartGated();
  const auto request = Prompt("running", 100);
  std::thread running([&] {
    const Streamed streamed = Generate(request);
    EXPECT_TRUE(streamed.status.ok()) << streamed.status.error_message();
    EXPECT_EQ(streamed.tokens, Expected(request).tokens);
  });
  running_.WaitForNotification();
  const auto health = grpc::health::v1::Health::NewStub(channel_);
  const auto serving = [&health](const char* name) {
    grpc::ClientContext context;
    grpc::health::v1::HealthCheckRequest check;
    check.set_service(name);
    grpc::health::v1::HealthCheckResponse response;
    EXPECT_TRUE(health->Check(&context, check, &response).ok());
    return response.status() == grpc::health::v1::HealthCheckResponse::SERVING;
  };
  for (const char* name : {"", "ela.v1.Generation", "ela.v1.Models"}) EXPECT_TRUE(serving(name));

  std::thread draining([this] { server_->Drain(absl::Seconds(60)); });
  while (serving("ela.v1.Models")) std::this_thread::yield();
  for (const char* name : {"", "ela.v1.Generation"}) EXPECT_FALSE(serving(name));
  // Health turns first; the refusal follows within the same breath.
  Streamed refused;
  do {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Milliseconds(200)));
    refused = Generate(Prompt("late", 1), &context);
  } while (refused.status.error_code() == grpc::DEADLINE_EXCEEDED);
  EXPECT_EQ(refused.status.error_code(), grpc::UNAVAILABLE);
  EXPECT_EQ(ReasonOf(refused.status), "DRAINING");
  gate_.Notify();
  running.join();
  draining.join();
}

TEST_F(FlowTest, WhatDoesNotFinishInTimeEndsWithUnavailable) {
  Start();
  grpc::ClientContext context;
  const auto reader = stub_->Generate(&context, Prompt("endless", 60000));
  v1::GenerateResponse message;
  ASSERT_TRUE(reader->Read(&message));
  std::thread draining([this] { server_->Drain(absl::ZeroDuration()); });
  while (reader->Read(&message)) EXPECT_FALSE(message.has_finish());
  const grpc::Status status = reader->Finish();
  draining.join();
  EXPECT_EQ(status.error_code(), grpc::UNAVAILABLE);
  EXPECT_GT(DetailOf<google::rpc::RetryInfo>(status).ByteSizeLong(), 0u);
}

}  // namespace
}  // namespace ela
