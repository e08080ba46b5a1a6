// DetectStream: order, back-pressure, stale frames, and every way in which a stream may end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "absl/synchronization/notification.h"
#include "tests/server/detection_fixture.h"

namespace ela {
namespace {

using testing::HasSubstr;

class DetectionStreamTest : public DetectionTest {
 protected:
  using Stream = grpc::ClientReaderWriter<v1::DetectStreamRequest, v1::DetectStreamResponse>;

  // One worker and one lane; it stands still in each batch until `gate_` is notified.
  void StartGated() {
    config_.threads = 1;
    detector_options_.num_lanes = 1;
    StartDetector([this] {
      if (!running_.HasBeenNotified()) running_.Notify();
      gate_.WaitForNotification();
    });
  }
  ~DetectionStreamTest() override {
    if (!gate_.HasBeenNotified()) gate_.Notify();
  }

  std::unique_ptr<Stream> Open(grpc::ClientContext* context, const v1::StreamStart& start = {}) {
    std::unique_ptr<Stream> stream = detection_->DetectStream(context);
    v1::DetectStreamRequest request;
    *request.mutable_start() = start;
    EXPECT_TRUE(stream->Write(request));
    return stream;
  }
  static bool Send(Stream& stream, uint64_t frame_id, const v1::DetectImage& image) {
    v1::DetectStreamRequest request;
    request.mutable_frame()->set_frame_id(frame_id);
    *request.mutable_frame()->mutable_image() = image;
    return stream.Write(request);
  }
  // A frame that says its number.
  static v1::DetectImage Numbered(int i) {
    return Raw(Scene(128, 96, {{kRed, 2 * (i % 40), 10, 2 * (i % 40) + 20, 40}}));
  }
  static std::string SeenIn(int i) {
    return "red " + std::to_string(2 * (i % 40)) + ",10," + std::to_string(2 * (i % 40) + 20) +
           ",40";
  }
  static std::vector<v1::DetectStreamResponse> ReadAll(Stream& stream) {
    std::vector<v1::DetectStreamResponse> responses;
    v1::DetectStreamResponse response;
    while (stream.Read(&response)) responses.push_back(response);
    return responses;
  }

  absl::Notification running_;
  absl::Notification gate_;
};

TEST_F(DetectionStreamTest, AnswersComeInTheOrderOfTheFrames) {
  config_.threads = detector_options_.num_lanes = 3;
  StartDetector();
  v1::StreamStart start;
  start.set_max_frames_in_flight(16);
  start.set_request_id("camera-1");
  grpc::ClientContext context;
  const auto stream = Open(&context, start);
  std::thread sender([&stream] {
    for (int i = 0; i < 200; ++i) EXPECT_TRUE(Send(*stream, 1000 + i, Numbered(i)));
    EXPECT_TRUE(stream->WritesDone());
  });
  const auto responses = ReadAll(*stream);
  sender.join();
  EXPECT_TRUE(stream->Finish().ok());
  ASSERT_EQ(responses.size(), 200u);
  for (int i = 0; i < 200; ++i) {
    EXPECT_EQ(responses[i].frame_id(), 1000u + i);
    EXPECT_EQ(Seen(responses[i].result()), SeenIn(i)) << i;
    EXPECT_EQ(responses[i].num_dropped(), 0u);
  }
  EXPECT_EQ(context.GetServerInitialMetadata().find("ela-request-id")->second, "camera-1");
}

TEST_F(DetectionStreamTest, ABadFrameIsItsOwnErrorAndTheStreamGoesOn) {
  StartDetector();
  grpc::ClientContext context;
  const auto stream = Open(&context);
  EXPECT_TRUE(Send(*stream, 0, Numbered(0)));
  EXPECT_TRUE(Send(*stream, 1, Encoded({1, 2, 3})));
  EXPECT_TRUE(Send(*stream, 2, Numbered(2)));
  stream->WritesDone();
  const auto responses = ReadAll(*stream);
  EXPECT_TRUE(stream->Finish().ok());
  ASSERT_EQ(responses.size(), 3u);
  EXPECT_EQ(ReasonOf(responses[1].result()), "IMAGE_UNKNOWN_FORMAT");
  EXPECT_EQ(Seen(responses[2].result()), SeenIn(2));
}

TEST_F(DetectionStreamTest, NoMoreFramesAreTakenThanMayBeInFlight) {
  config_.threads = 1;
  detector_options_.num_lanes = 1;
  double most = 0;
  absl::Notification all_sent;
  StartDetector([&] {  // asked at every frame
    if (!running_.HasBeenNotified()) {
      running_.Notify();
      all_sent.WaitForNotification();
    }
    most = std::max(most, Metric("ela_detect_images_in_flight"));
  });
  v1::StreamStart start;
  start.set_max_frames_in_flight(2);
  grpc::ClientContext context;
  const auto stream = Open(&context, start);
  for (int i = 0; i < 12; ++i) EXPECT_TRUE(Send(*stream, i, Encoded(PngOf(picture_))));
  stream->WritesDone();
  running_.WaitForNotification();
  all_sent.Notify();
  const auto responses = ReadAll(*stream);
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(responses.size(), 12u);
  EXPECT_LE(most, 2);
}

// With room for one result and with room for several.
TEST_F(DetectionStreamTest, StaleFramesAreDroppedAndTold) {
  for (const uint32_t in_flight : {1u, 4u}) {
    absl::Notification running, gate;
    config_.threads = 1;
    detector_options_.num_lanes = 1;
    StartDetector([&] {
      if (!running.HasBeenNotified()) running.Notify();
      gate.WaitForNotification();
    });
    v1::StreamStart start;
    start.set_drop_stale(true);
    start.set_max_frames_in_flight(in_flight);
    grpc::ClientContext context;
    const auto stream = Open(&context, start);
    EXPECT_TRUE(Send(*stream, 0, Numbered(0)));
    running.WaitForNotification();
    for (int i = 1; i <= 5; ++i) EXPECT_TRUE(Send(*stream, i, Numbered(i)));
    AwaitMetric("ela_detect_frames_dropped_total", 4);
    AwaitMetric("ela_detect_images_in_flight", in_flight == 1 ? 0 : 1, "waiting");
    gate.Notify();
    stream->WritesDone();
    const auto responses = ReadAll(*stream);
    EXPECT_TRUE(stream->Finish().ok());
    ASSERT_EQ(responses.size(), 6u);
    for (int i = 0; i <= 5; ++i) {
      EXPECT_EQ(responses[i].frame_id(), static_cast<uint64_t>(i));
      const bool stale = i >= 1 && i <= 4;
      EXPECT_EQ(responses[i].has_dropped(), stale) << i;
      EXPECT_EQ(responses[i].num_dropped(), static_cast<uint64_t>(std::min(i, 4)));
      if (!stale) {
        EXPECT_EQ(Seen(responses[i].result()), SeenIn(i));
      }
    }
    server_.reset();
  }
}

TEST_F(DetectionStreamTest, AFullHouseRefusesAFrameAndTheStreamGoesOn) {
  config_.max_queued_images = 1;
  config_.max_images = 1;
  StartGated();
  grpc::ClientContext context;
  const auto stream = Open(&context);
  EXPECT_TRUE(Send(*stream, 0, Numbered(0)));
  running_.WaitForNotification();
  EXPECT_TRUE(Send(*stream, 1, Numbered(1)));
  AwaitMetric("ela_detect_requests_rejected_total", 1, "queue_full");
  gate_.Notify();
  v1::DetectStreamResponse response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(Seen(response.result()), SeenIn(0));
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.result().error().code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(Send(*stream, 2, Numbered(2)));
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(Seen(response.result()), SeenIn(2));
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(DetectionStreamTest, AReaderThatDoesNotReadStallsNobody) {
  StartDetector();
  grpc::ClientContext context;
  const auto stream = Open(&context);
  constexpr int kFrames = 3000;  // their errors are more than the transport's buffers hold
  std::thread sender([&stream] {
    for (int i = 0; i < kFrames; ++i) EXPECT_TRUE(Send(*stream, i, Encoded({})));
    stream->WritesDone();
  });
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(Detect(One()).status.ok());
  const auto responses = ReadAll(*stream);
  sender.join();
  EXPECT_TRUE(stream->Finish().ok());
  ASSERT_EQ(responses.size(), static_cast<size_t>(kFrames));
  for (int i = 0; i < kFrames; ++i) ASSERT_EQ(responses[i].frame_id(), static_cast<uint64_t>(i));
}

TEST_F(DetectionStreamTest, ACancelledStreamFreesItsPlace) {
  StartGated();
  grpc::ClientContext context;
  const auto stream = Open(&context);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(Send(*stream, i, Numbered(i)));
  running_.WaitForNotification();
  AwaitMetric("ela_detect_images_in_flight", 2, "waiting");
  context.TryCancel();
  EXPECT_EQ(stream->Finish().error_code(), grpc::CANCELLED);
  AwaitMetric("ela_detect_images_in_flight", 0, "waiting");
  gate_.Notify();
  AwaitMetric("ela_rpc_calls_total", 1, "CANCELLED");
  EXPECT_TRUE(Detect(One()).status.ok());
}

TEST_F(DetectionStreamTest, ADeadlineEndsTheStream) {
  StartGated();
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Milliseconds(300)));
  const auto stream = Open(&context);
  EXPECT_TRUE(Send(*stream, 0, Numbered(0)));
  EXPECT_TRUE(ReadAll(*stream).empty());
  EXPECT_EQ(stream->Finish().error_code(), grpc::DEADLINE_EXCEEDED);
  gate_.Notify();
  AwaitMetric("ela_rpc_calls_total", 1, "DetectStream");
}

TEST_F(DetectionStreamTest, TheFirstMessageMustStartTheStream) {
  StartDetector();
  grpc::ClientContext context;
  const auto stream = detection_->DetectStream(&context);
  Send(*stream, 0, Numbered(0));
  EXPECT_TRUE(ReadAll(*stream).empty());
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("start is absent from the first message"));
}

TEST_F(DetectionStreamTest, ASecondStartEndsTheStreamAfterItsFrames) {
  StartDetector();
  grpc::ClientContext context;
  const auto stream = Open(&context);
  Send(*stream, 7, Numbered(7));
  v1::DetectStreamRequest again;
  again.mutable_start();
  stream->Write(again);
  const auto responses = ReadAll(*stream);
  ASSERT_EQ(responses.size(), 1u);
  EXPECT_EQ(Seen(responses[0].result()), SeenIn(7));
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("frame is absent"));
}

TEST_F(DetectionStreamTest, ABadStartIsRefused) {
  StartDetector();
  const auto refused = [this](const v1::StreamStart& start) {
    grpc::ClientContext context;
    const auto stream = Open(&context, start);
    EXPECT_TRUE(ReadAll(*stream).empty());
    return stream->Finish();
  };
  v1::StreamStart window;
  window.set_max_frames_in_flight(65);
  EXPECT_THAT(refused(window).error_message(),
              HasSubstr("max_frames_in_flight is 65, allowed are 1 to 64"));
  window.set_max_frames_in_flight(0);
  EXPECT_EQ(refused(window).error_code(), grpc::INVALID_ARGUMENT);
  v1::StreamStart options;
  options.mutable_options()->add_classes("cat");
  EXPECT_THAT(refused(options).error_message(), HasSubstr("options.classes[0] is \"cat\""));
  v1::StreamStart model;
  model.set_model("tiny");
  EXPECT_EQ(refused(model).error_code(), grpc::NOT_FOUND);
  EXPECT_EQ(Metric("ela_detect_requests_rejected_total", "invalid"), 3);
}

TEST_F(DetectionStreamTest, AStreamWithoutMessagesEndsWell) {
  StartDetector();
  grpc::ClientContext context;
  const auto stream = detection_->DetectStream(&context);
  stream->WritesDone();
  EXPECT_TRUE(ReadAll(*stream).empty());
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(DetectionStreamTest, ADrainEndsAnIdleStreamAtOnce) {
  StartDetector();
  grpc::ClientContext context;
  const auto stream = Open(&context);
  EXPECT_TRUE(Send(*stream, 0, Numbered(0)));
  v1::DetectStreamResponse response;
  ASSERT_TRUE(stream->Read(&response));
  std::thread draining([this] { server_->Drain(absl::Hours(1)); });
  EXPECT_TRUE(ReadAll(*stream).empty());
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::UNAVAILABLE);
  EXPECT_EQ(ReasonOf(status), "DRAINING");
  EXPECT_GT(DetailOf<google::rpc::RetryInfo>(status).ByteSizeLong(), 0u);
  draining.join();
}

TEST_F(DetectionStreamTest, ADrainAnswersWhatIsInFlight) {
  StartGated();
  grpc::ClientContext context;
  const auto stream = Open(&context);
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(Send(*stream, i, Numbered(i)));
  running_.WaitForNotification();
  AwaitMetric("ela_detect_images_in_flight", 1, "waiting");
  std::thread draining([this] { server_->Drain(absl::Hours(1)); });
  gate_.Notify();
  const auto responses = ReadAll(*stream);
  EXPECT_EQ(stream->Finish().error_code(), grpc::UNAVAILABLE);
  ASSERT_EQ(responses.size(), 2u);
  EXPECT_EQ(Seen(responses[1].result()), SeenIn(1));
  draining.join();
}

}  // namespace
}  // namespace ela
