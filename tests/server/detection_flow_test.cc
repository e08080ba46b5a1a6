// Overload, cancellation, deadlines, draining, and text beside pictures: what happens when things
// go on at once. A gate in the detector holds it still while a test arranges the rest.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/synchronization/notification.h"
#include "tests/server/detection_fixture.h"

namespace ela {
namespace {

class DetectionFlowTest : public DetectionTest {
 protected:
  // One worker and one lane; it stands still in its first batch until `gate_` is notified;
  // `running_` says it is there.
  void StartGated() {
    config_.threads = 1;
    detector_options_.num_lanes = 1;
    StartDetector([this] {
      if (!running_.HasBeenNotified()) running_.Notify();
      gate_.WaitForNotification();
    });
  }
  ~DetectionFlowTest() override {
    if (!gate_.HasBeenNotified()) gate_.Notify();
  }
  void ExpectDetected() {
    const Detected detected = Detect(One());
    EXPECT_TRUE(detected.status.ok()) << detected.status.error_message();
  }

  absl::Notification running_;
  absl::Notification gate_;
};

TEST_F(DetectionFlowTest, AFullHouseSaysWhenToComeBack) {
  config_.max_queued_images = 2;
  StartGated();
  std::thread first([this] { ExpectDetected(); });
  running_.WaitForNotification();
  std::thread second([this] { ExpectDetected(); });
  AwaitMetric("ela_detect_images_in_flight", 1, "waiting");
  const grpc::Status status = Detect(One()).status;
  EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonOf(status), "QUEUE_FULL");
  const auto retry = DetailOf<google::rpc::RetryInfo>(status);
  EXPECT_GT(retry.retry_delay().seconds() * 1e9 + retry.retry_delay().nanos(), 0);
  EXPECT_EQ(Metric("ela_detect_requests_rejected_total", "queue_full"), 1);
  gate_.Notify();
  first.join();
  second.join();
  ExpectDetected();
}

TEST_F(DetectionFlowTest, ADeadlineThatPassesInTheQueueCostsNoComputation) {
  StartGated();
  std::thread first([this] { ExpectDetected(); });
  running_.WaitForNotification();
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Milliseconds(50)));
  EXPECT_EQ(Detect(One(), &context).status.error_code(), grpc::DEADLINE_EXCEEDED);
  AwaitMetric("ela_rpc_calls_total", 1, "Detect");  // the server knows too
  gate_.Notify();
  first.join();
  server_->Drain(absl::Seconds(10));
  EXPECT_EQ(Metric("ela_detect_images_total", "ok"), 1);
}

TEST_F(DetectionFlowTest, ACancelledCallLeavesTheQueue) {
  StartGated();
  std::thread first([this] { ExpectDetected(); });
  running_.WaitForNotification();
  grpc::ClientContext context;
  v1::DetectRequest request = One();
  *request.add_images() = Raw(picture_);
  std::thread cancelled(
      [&] { EXPECT_EQ(Detect(request, &context).status.error_code(), grpc::CANCELLED); });
  AwaitMetric("ela_detect_images_in_flight", 2, "waiting");
  context.TryCancel();
  cancelled.join();
  AwaitMetric("ela_detect_images_in_flight", 0, "waiting");
  AwaitMetric("ela_rpc_calls_total", 1, "CANCELLED");  // before the gate opens
  gate_.Notify();
  first.join();
}

TEST_F(DetectionFlowTest, ACallThatIsCancelledWhileItRunsEnds) {
  StartGated();
  grpc::ClientContext context;
  v1::DetectRequest request = One();
  *request.add_images() = Raw(picture_);
  std::thread cancelled(
      [&] { EXPECT_EQ(Detect(request, &context).status.error_code(), grpc::CANCELLED); });
  running_.WaitForNotification();
  context.TryCancel();
  cancelled.join();
  AwaitMetric("ela_detect_images_in_flight", 0, "waiting");  // its second picture
  gate_.Notify();
  AwaitMetric("ela_rpc_calls_total", 1, "CANCELLED");
  ExpectDetected();
}

TEST_F(DetectionFlowTest, ACallWithManyPicturesDoesNotHoldUpOneWithFew) {
  config_.threads = 1;
  detector_options_.num_lanes = 1;
  absl::Notification few_done;
  int num_batches = 0;
  StartDetector([&] {
    if (++num_batches == 1) {
      running_.Notify();
      gate_.WaitForNotification();
    } else if (num_batches == 4) {  // one each of both calls since the gate has opened
      EXPECT_TRUE(few_done.WaitForNotificationWithTimeout(absl::Seconds(60)));
    }
  });
  v1::DetectRequest many;
  for (int i = 0; i < 60; ++i) *many.add_images() = Raw(picture_);
  std::thread first([&] { EXPECT_TRUE(Detect(many).status.ok()); });
  running_.WaitForNotification();
  std::thread second([&] {
    ExpectDetected();
    few_done.Notify();
  });
  AwaitMetric("ela_detect_images_in_flight", 60, "waiting");
  gate_.Notify();
  second.join();
  first.join();
}

TEST_F(DetectionFlowTest, DrainingLetsRunningCallsFinishAndRefusesNewOnes) {
  StartGated();
  std::thread first([this] { ExpectDetected(); });
  running_.WaitForNotification();
  std::thread draining([this] { server_->Drain(absl::Seconds(60)); });
  grpc::Status refused;
  do {  // until the drain has begun a call only waits behind the first
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Milliseconds(200)));
    refused = Detect(One(), &context).status;
  } while (refused.error_code() == grpc::DEADLINE_EXCEEDED);
  EXPECT_EQ(refused.error_code(), grpc::UNAVAILABLE);
  EXPECT_EQ(ReasonOf(refused), "DRAINING");
  gate_.Notify();
  first.join();
  draining.join();
}

TEST_F(DetectionFlowTest, WhatStillWaitsAtTheEndOfADrainIsUnavailable) {
  config_.threads = 1;
  detector_options_.num_lanes = 1;
  absl::Notification second_waits;
  StartDetector([this, &second_waits] {
    if (!running_.HasBeenNotified()) running_.Notify();
    second_waits.WaitForNotification();
  });
  std::thread first([this] { ExpectDetected(); });
  running_.WaitForNotification();
  std::thread second([this] {
    const grpc::Status status = Detect(One()).status;
    EXPECT_EQ(status.error_code(), grpc::UNAVAILABLE);
    EXPECT_GT(DetailOf<google::rpc::RetryInfo>(status).ByteSizeLong(), 0u);
  });
  AwaitMetric("ela_detect_images_in_flight", 1, "waiting");
  std::thread draining([this] { server_->Drain(absl::ZeroDuration()); });
  // The worker can look at the queue again only once the drain has begun.
  grpc::Status refused;
  do {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Milliseconds(50)));
    refused = Detect(One(), &context).status;
  } while (refused.error_code() == grpc::DEADLINE_EXCEEDED);
  second_waits.Notify();
  second.join();
  first.join();
  draining.join();
}

TEST_F(DetectionFlowTest, AStuckGenerationLeavesDetectionWorking) {
  absl::Notification text_runs, text_gate;
  StartDetector(nullptr, [&] {
    if (!text_runs.HasBeenNotified()) text_runs.Notify();
    text_gate.WaitForNotification();
  });
  std::thread text([this] { EXPECT_TRUE(Generate(Prompt("stuck", 3)).status.ok()); });
  text_runs.WaitForNotification();
  for (int i = 0; i < 20; ++i) ExpectDetected();
  EXPECT_EQ(Metric("ela_requests_running"), 0);  // its first step has not ended
  text_gate.Notify();
  text.join();
}

TEST_F(DetectionFlowTest, AStuckDetectorLeavesGenerationWorking) {
  StartGated();
  std::thread stuck([this] { ExpectDetected(); });
  running_.WaitForNotification();
  const auto request = Prompt("goes on", 50);
  const Streamed streamed = Generate(request);
  EXPECT_TRUE(streamed.status.ok());
  EXPECT_EQ(streamed.tokens, Expected(request).tokens);
  EXPECT_EQ(Metric("ela_detect_images_in_flight", "computing"), 1);
  gate_.Notify();
  stuck.join();
}

}  // namespace
}  // namespace ela
