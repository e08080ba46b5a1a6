// Detection through the C++ SDK, against a fake server in this process.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>
#include <utility>

#include "client/client.h"
#include "tests/client/fake_server.h"

namespace ela {
namespace {

using client::Cancellation;
using client::ClientOptions;
using client::DetectImage;
using client::DetectParams;
using client::DetectResults;
using client::DetectStream;
using client::DetectStreamParams;
using client::FrameResult;
using client::PixelFormat;
using client::RawPicture;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

DetectImage File(const std::string& bytes) {
  DetectImage image;
  image.encoded = bytes;
  return image;
}

DetectParams Images(std::vector<std::string> files) {
  DetectParams params;
  for (const std::string& file : files) params.images.push_back(File(file));
  return params;
}

// Answers each frame as FakeDetection::Look does.
FakeDetection::StreamHandler AnswersAll(FakeDetection& detection, Seen<v1::StreamStart>& start) {
  return [&](grpc::ServerContext* context, FakeDetection::Stream* stream) {
    context->AddInitialMetadata("ela-request-id", "stream-1");
    v1::DetectStreamRequest request;
    stream->Read(&request);
    start.Set(request.start());
    while (stream->Read(&request)) {
      v1::DetectStreamResponse response;
      response.set_frame_id(request.frame().frame_id());
      *response.mutable_result() = detection.Look(request.frame().image());
      stream->Write(response);
    }
    return grpc::Status::OK;
  };
}

// Reads until the client is gone, answers nothing.
grpc::Status NeverAnswers(grpc::ServerContext*, FakeDetection::Stream* stream) {
  v1::DetectStreamRequest request;
  while (stream->Read(&request)) {
  }
  return grpc::Status::CANCELLED;
}

class DetectClientTest : public ::testing::Test {
 protected:
  std::unique_ptr<Client> Connect(ClientOptions options = {}) {
    options.address = server_.address();
    options.first_pause = absl::Milliseconds(1);
    return *Client::Connect(std::move(options));
  }

  FakeServer server_;
  FakeDetection& detection_ = server_.detection();
};

TEST_F(DetectClientTest, EveryFieldArrives) {
  Seen<v1::DetectRequest> seen;
  detection_.OnDetect([&seen](grpc::ServerContext*, const v1::DetectRequest& request,
                              v1::DetectResponse* response) {
    seen.Set(request);
    v1::ImageResult* const result = response->add_results();
    *result->add_objects() = FakeObject(1, 0.5f, 1.5f, 2.5f, 30, 40);
    result->set_width(100);
    result->set_height(50);
    result->set_orientation(6);
    result->set_truncated(true);
    result->mutable_times()->set_decode_us(1);
    result->mutable_times()->set_queue_us(2);
    result->mutable_times()->set_network_us(3);
    result->mutable_times()->set_postprocess_us(4);
    response->set_model("eyes");
    response->set_fingerprint("f00d");
    return grpc::Status::OK;
  });
  DetectParams params = Images({"bytes"});
  params.model = "eyes";
  params.request_id = "one";
  params.options.score_threshold = 0.0f;
  params.options.iou_threshold = 0.5f;
  params.options.max_detections = 7;
  params.options.class_agnostic = true;
  params.options.classes = {"speck"};
  params.options.input_width = 640;
  params.options.input_height = 480;

  const absl::StatusOr<DetectResults> results = Connect()->Detect(std::move(params));

  ASSERT_TRUE(results.ok()) << results.status();
  const v1::DetectRequest request = seen.Get();
  EXPECT_EQ(request.model(), "eyes");
  EXPECT_EQ(request.request_id(), "one");
  EXPECT_EQ(request.images(0).encoded(), "bytes");
  EXPECT_TRUE(request.options().has_score_threshold());
  EXPECT_EQ(request.options().score_threshold(), 0.0f);
  EXPECT_EQ(request.options().iou_threshold(), 0.5f);
  EXPECT_EQ(request.options().max_detections(), 7);
  EXPECT_TRUE(request.options().class_agnostic());
  EXPECT_THAT(request.options().classes(), ElementsAre("speck"));
  EXPECT_EQ(request.options().input_width(), 640);
  EXPECT_EQ(request.options().input_height(), 480);
  EXPECT_EQ(results->model, "eyes");
  EXPECT_EQ(results->fingerprint, "f00d");
  const client::ImageResult& result = results->images.at(0);
  EXPECT_EQ(result.width, 100);
  EXPECT_EQ(result.height, 50);
  EXPECT_EQ(result.orientation, 6);
  EXPECT_TRUE(result.truncated);
  EXPECT_EQ(result.times.decode, absl::Microseconds(1));
  EXPECT_EQ(result.times.queue, absl::Microseconds(2));
  EXPECT_EQ(result.times.network, absl::Microseconds(3));
  EXPECT_EQ(result.times.postprocess, absl::Microseconds(4));
  const client::DetectedObject& object = result.objects.at(0);
  EXPECT_EQ(object.class_name, "speck");
  EXPECT_EQ(object.class_id, 1);
  EXPECT_EQ(object.score, 0.5f);
  EXPECT_EQ(object.box.x0, 1.5f);
  EXPECT_EQ(object.box.y0, 2.5f);
  EXPECT_EQ(object.box.x1, 30.0f);
  EXPECT_EQ(object.box.y1, 40.0f);
}

TEST_F(DetectClientTest, WhatIsNotAskedForIsLeftToTheModel) {
  Seen<v1::DetectRequest> seen;
  detection_.OnDetect([&seen](grpc::ServerContext*, const v1::DetectRequest& request,
                              v1::DetectResponse* response) {
    seen.Set(request);
    response->add_results();
    return grpc::Status::OK;
  });
  ClientOptions options;
  options.model = "eyes";

  ASSERT_TRUE(Connect(options)->Detect(Images({"x"})).ok());

  EXPECT_EQ(seen.Get().model(), "eyes");
  EXPECT_FALSE(seen.Get().options().has_score_threshold());
  EXPECT_FALSE(seen.Get().options().has_iou_threshold());
  EXPECT_FALSE(seen.Get().options().has_max_detections());
  EXPECT_FALSE(seen.Get().options().has_class_agnostic());
  EXPECT_FALSE(seen.Get().options().has_input_width());
}

TEST_F(DetectClientTest, PixelsAreSentAsTheyAre) {
  Seen<v1::DetectImage> seen;
  detection_.OnPicture([&seen](const v1::DetectImage& image) {
    seen.Set(image);
    return v1::ImageResult();
  });
  DetectParams params;
  params.images.resize(1);
  params.images[0].raw = RawPicture{PixelFormat::kBgr8, 2, 1, 8, "bgrbgr.."};

  ASSERT_TRUE(Connect()->Detect(std::move(params)).ok());

  EXPECT_EQ(seen.Get().raw().format(), v1::RawPicture::FORMAT_BGR8);
  EXPECT_EQ(seen.Get().raw().width(), 2);
  EXPECT_EQ(seen.Get().raw().height(), 1);
  EXPECT_EQ(seen.Get().raw().stride(), 8);
  EXPECT_EQ(seen.Get().raw().pixels(), "bgrbgr..");
}

TEST_F(DetectClientTest, ABadPictureFailsAloneWithItsReason) {
  detection_.OnPicture([this](const v1::DetectImage& image) {
    if (image.encoded() == "bad") return FakeImageError("no JPEG or PNG", "IMAGE_UNKNOWN_FORMAT");
    v1::ImageResult good;
    *good.add_objects() = FakeObject(0, 1, 0, 0, 1, 1);
    return good;
  });

  const absl::StatusOr<DetectResults> results = Connect()->Detect(Images({"good", "bad", "good"}));

  ASSERT_TRUE(results.ok()) << results.status();
  ASSERT_EQ(results->images.size(), 3);
  EXPECT_TRUE(results->images[0].status.ok());
  EXPECT_EQ(results->images[2].objects.size(), 1);
  const absl::Status& bad = results->images[1].status;
  EXPECT_EQ(bad.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(bad.message(), "no JPEG or PNG");
  EXPECT_EQ(client::DetailsOf(bad).reason, "IMAGE_UNKNOWN_FORMAT");
}

TEST_F(DetectClientTest, AnEmptyFileIsTheServersToRefuse) {
  Seen<bool> encoded;
  detection_.OnPicture([&encoded](const v1::DetectImage& image) {
    encoded.Set(image.has_encoded());
    return FakeImageError("the picture is empty", "IMAGE_EMPTY");
  });

  const absl::StatusOr<DetectResults> results = Connect()->Detect(Images({""}));

  ASSERT_TRUE(results.ok());
  EXPECT_TRUE(encoded.Get());
  EXPECT_EQ(client::DetailsOf(results->images[0].status).reason, "IMAGE_EMPTY");
}

TEST_F(DetectClientTest, APictureIsBytesOrPixelsNotBoth) {
  DetectParams params = Images({"a", "b"});
  params.images[1].raw = RawPicture();

  const absl::Status status = Connect()->Detect(std::move(params)).status();

  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "images[1]: encoded and raw are both set: give one of them");
  EXPECT_EQ(detection_.num_detect_calls(), 0);
}

TEST_F(DetectClientTest, AWrongRequestNamesItsFields) {
  google::rpc::BadRequest bad;
  auto* violation = bad.add_field_violations();
  violation->set_field("options.score_threshold");
  violation->set_description("is 2, allowed are 0 to 1");
  detection_.OnDetect([&](auto...) {
    return WithDetails(grpc::StatusCode::INVALID_ARGUMENT, "the request is wrong", {&bad});
  });

  const absl::Status status = Connect()->Detect(Images({"x"})).status();

  EXPECT_THAT(std::string(status.message()), HasSubstr("options.score_threshold: is 2"));
  EXPECT_EQ(client::DetailsOf(status).field_violations.at(0).field, "options.score_threshold");
}

TEST_F(DetectClientTest, AnAnswerOfAnotherLengthIsAnError) {
  detection_.OnDetect([](auto...) { return grpc::Status::OK; });
  const absl::Status status = Connect()->Detect(Images({"x"})).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(status.message(), "the server answered 0 pictures of 1");
}

TEST_F(DetectClientTest, ADrainingServerIsAskedAgain) {
  std::atomic<int> calls = 0;
  detection_.OnDetect([&calls](grpc::ServerContext*, const v1::DetectRequest& request,
                               v1::DetectResponse* response) {
    if (calls++ == 0) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "draining");
    response->add_results()->set_width(request.images(0).encoded().size());
    return grpc::Status::OK;
  });

  const absl::StatusOr<DetectResults> results = Connect()->Detect(Images({"12345"}));

  ASSERT_TRUE(results.ok()) << results.status();
  EXPECT_EQ(results->images[0].width, 5);  // the second attempt had the picture too
}

TEST_F(DetectClientTest, ACallEndsAtItsOwnDeadline) {
  detection_.OnDetect([](grpc::ServerContext* context, auto...) {
    while (!context->IsCancelled()) std::this_thread::yield();
    return grpc::Status::CANCELLED;
  });
  DetectParams params = Images({"x"});
  params.timeout = absl::Milliseconds(50);

  const absl::Status status = Connect()->Detect(std::move(params)).status();

  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(status.message(), "no complete answer within 50ms");
}

TEST_F(DetectClientTest, OneCancellationEndsAllCallsThatHaveIt) {
  std::atomic<int> running = 0;
  detection_.OnDetect([&running](grpc::ServerContext* context, auto...) {
    ++running;
    while (!context->IsCancelled()) std::this_thread::yield();
    return grpc::Status::CANCELLED;
  });
  const std::unique_ptr<Client> client = Connect();
  Cancellation cancellation;
  std::vector<std::thread> callers;
  for (int i = 0; i < 3; ++i) {
    callers.emplace_back([&] {
      EXPECT_EQ(client->Detect(Images({"x"}), &cancellation).status().code(),
                absl::StatusCode::kCancelled);
    });
  }
  while (running < 3) std::this_thread::yield();

  cancellation.Cancel();

  for (std::thread& caller : callers) caller.join();
  EXPECT_TRUE(cancellation.cancelled());
  EXPECT_EQ(client->Detect(Images({"x"}), &cancellation).status().code(),
            absl::StatusCode::kCancelled);
}

TEST_F(DetectClientTest, CancellationEndsTheWaitForAnotherAttempt) {
  Cancellation cancellation;
  detection_.OnDetect([&cancellation](auto...) {
    cancellation.Cancel();
    return Busy(grpc::StatusCode::UNAVAILABLE, "loading", absl::Seconds(100));
  });
  ClientOptions options;
  options.longest_pause = absl::Seconds(200);

  const absl::Status status = Connect(options)->Detect(Images({"x"}), &cancellation).status();

  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
}

TEST_F(DetectClientTest, DescribeTellsAllOfTheDetector) {
  const absl::StatusOr<client::DetectorDescription> eyes = Connect()->DescribeDetector();

  ASSERT_TRUE(eyes.ok()) << eyes.status();
  EXPECT_EQ(eyes->name, "eyes");
  EXPECT_EQ(eyes->variant, "lat");
  EXPECT_THAT(eyes->class_names, ElementsAre("cell", "speck"));
  EXPECT_EQ(eyes->num_parameters, 316438);
  EXPECT_EQ(eyes->weight_bytes, 1265752);
  EXPECT_EQ(eyes->input_width, 320);
  EXPECT_EQ(eyes->input_height, 320);
  EXPECT_STREQ(Name(eyes->fit), "letterbox");
  EXPECT_EQ(eyes->defaults.score_threshold, 0.25f);
  EXPECT_EQ(eyes->defaults.iou_threshold, 0.6f);
  EXPECT_EQ(eyes->defaults.max_detections, 300);
  EXPECT_EQ(eyes->defaults.class_agnostic, false);
  EXPECT_EQ(eyes->defaults.input_width, 320);
  EXPECT_EQ(eyes->defaults.input_height, 320);
  EXPECT_EQ(eyes->limits.max_input_side, 1280);
  EXPECT_EQ(eyes->limits.input_multiple, 16);
  EXPECT_EQ(eyes->limits.max_images, 16);
  EXPECT_EQ(eyes->limits.max_image_bytes, 1 << 20);
  EXPECT_EQ(eyes->fingerprint, "f00d");
  EXPECT_EQ(eyes->numerics_id, "fake-1");
  EXPECT_EQ(eyes->device, "cpu");
  EXPECT_EQ(Connect()->DescribeDetector("ears").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Connect()->DescribeModel("eyes")->detector->fingerprint, "f00d");
}

TEST_F(DetectClientTest, FramesAreAnsweredInTheirOrder) {
  Seen<v1::StreamStart> start;
  detection_.OnStream(AnswersAll(detection_, start));
  DetectStreamParams params;
  params.model = "eyes";
  params.options.max_detections = 9;
  params.drop_stale = true;
  params.max_frames_in_flight = 2;
  params.request_id = "camera";
  DetectStream stream = Connect()->DetectFrames(params);  // outlives its client

  std::thread writer([&stream] {
    for (uint64_t id = 1; id <= 50; ++id) {
      EXPECT_TRUE(stream.Write(1000 + id, File(std::string(id, 'x'))));
    }
    stream.WritesDone();
  });
  std::vector<FrameResult> results;
  while (std::optional<FrameResult> result = stream.Next()) results.push_back(*std::move(result));
  writer.join();

  EXPECT_TRUE(stream.status().ok()) << stream.status();
  ASSERT_EQ(results.size(), 50);
  for (uint64_t id = 1; id <= 50; ++id) {
    const FrameResult& result = results[id - 1];
    EXPECT_EQ(result.frame_id, 1000 + id);
    EXPECT_EQ(result.result.objects.at(0).box.x1, id);
  }
  EXPECT_EQ(stream.num_in_flight(), 0);
  EXPECT_EQ(stream.request_id(), "stream-1");
  EXPECT_EQ(start.Get().model(), "eyes");
  EXPECT_EQ(start.Get().options().max_detections(), 9);
  EXPECT_TRUE(start.Get().drop_stale());
  EXPECT_EQ(start.Get().max_frames_in_flight(), 2);
  EXPECT_EQ(start.Get().request_id(), "camera");
}

TEST_F(DetectClientTest, OneThreadCanWriteAndReadInTurn) {
  Seen<v1::StreamStart> start;
  detection_.OnStream(AnswersAll(detection_, start));
  DetectStream stream = Connect()->DetectFrames({});
  int num_results = 0;

  for (uint64_t id = 0; id < 20; ++id) {
    ASSERT_TRUE(stream.Write(id, File("frame")));
    while (stream.num_in_flight() >= 4 && stream.Next().has_value()) ++num_results;
    EXPECT_LT(stream.num_in_flight(), 4);
  }
  stream.WritesDone();
  while (stream.Next().has_value()) ++num_results;

  EXPECT_TRUE(stream.status().ok()) << stream.status();
  EXPECT_EQ(num_results, 20);
}

TEST_F(DetectClientTest, AServerThatStopsReadingHoldsTheWriterBack) {
  absl::Notification go_on;
  detection_.OnStream([&go_on](grpc::ServerContext*, FakeDetection::Stream* stream) {
    go_on.WaitForNotification();
    v1::DetectStreamRequest request;
    while (stream->Read(&request)) {
      if (!request.has_frame()) continue;
      v1::DetectStreamResponse response;
      response.set_frame_id(request.frame().frame_id());
      response.mutable_result();
      stream->Write(response);
    }
    return grpc::Status::OK;
  });
  DetectStream stream = Connect()->DetectFrames({});
  constexpr int kFrames = 40;  // 40 MB, far more than any window
  absl::Notification all_written;
  std::thread writer([&] {
    for (int id = 0; id < kFrames; ++id) stream.Write(id, File(std::string(1 << 20, 'x')));
    all_written.Notify();
    stream.WritesDone();
  });

  // The network's buffers take some frames, never all of them: nobody has read one yet.
  EXPECT_FALSE(all_written.WaitForNotificationWithTimeout(absl::Milliseconds(200)));

  go_on.Notify();
  int num_answered = 0;
  while (stream.Next().has_value()) ++num_answered;
  writer.join();
  EXPECT_EQ(num_answered, kFrames);
  EXPECT_TRUE(stream.status().ok()) << stream.status();
}

TEST_F(DetectClientTest, ABadFrameHasItsErrorAndADroppedOneSaysSo) {
  detection_.OnStream([](grpc::ServerContext*, FakeDetection::Stream* stream) {
    v1::DetectStreamRequest request;
    stream->Read(&request);
    while (stream->Read(&request)) {
      v1::DetectStreamResponse response;
      response.set_frame_id(request.frame().frame_id());
      if (request.frame().frame_id() == 1) {
        *response.mutable_result() = FakeImageError("cut off", "IMAGE_TRUNCATED");
      } else {
        response.mutable_dropped();
        response.set_num_dropped(1);
      }
      stream->Write(response);
    }
    return grpc::Status::OK;
  });
  DetectStream stream = Connect()->DetectFrames({});
  stream.Write(1, File("half a fra"));
  stream.Write(2, File("stale"));
  stream.WritesDone();

  const std::optional<FrameResult> bad = stream.Next();
  const std::optional<FrameResult> dropped = stream.Next();

  ASSERT_TRUE(bad.has_value() && dropped.has_value());
  EXPECT_FALSE(bad->dropped);
  EXPECT_EQ(client::DetailsOf(bad->result.status).reason, "IMAGE_TRUNCATED");
  EXPECT_TRUE(dropped->dropped);
  EXPECT_EQ(dropped->num_dropped, 1);
  EXPECT_FALSE(stream.Next().has_value());
  EXPECT_TRUE(stream.status().ok());
}

TEST_F(DetectClientTest, CancelEndsAStreamThatWaits) {
  detection_.OnStream(NeverAnswers);
  DetectStream stream = Connect()->DetectFrames({});
  ASSERT_TRUE(stream.Write(1, File("x")));
  std::thread other([&stream] { stream.Cancel(); });

  EXPECT_FALSE(stream.Next().has_value());

  other.join();
  EXPECT_EQ(stream.status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(stream.num_in_flight(), 1);
  stream.Cancel();  // harmless
}

TEST_F(DetectClientTest, DestroyingAStreamEarlyCancelsIt) {
  absl::Notification gone;
  detection_.OnStream([&gone](grpc::ServerContext* context, FakeDetection::Stream* stream) {
    const grpc::Status status = NeverAnswers(context, stream);
    gone.Notify();
    return status;
  });
  { DetectStream stream = Connect()->DetectFrames({}); }
  gone.WaitForNotification();
}

TEST_F(DetectClientTest, AStreamEndsAtItsDeadline) {
  detection_.OnStream(NeverAnswers);
  DetectStreamParams params;
  params.timeout = absl::Milliseconds(50);
  DetectStream stream = Connect()->DetectFrames(params);
  EXPECT_FALSE(stream.Next().has_value());
  EXPECT_EQ(stream.status().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(DetectClientTest, ARefusedStreamSaysWhyToBothThreads) {
  detection_.OnStream(
      [](auto...) { return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "no class \"dog\""); });
  DetectStream stream = Connect()->DetectFrames({});

  EXPECT_FALSE(stream.Next().has_value());
  EXPECT_FALSE(stream.Write(1, File("x")));
  EXPECT_EQ(stream.num_in_flight(), 0);
  stream.WritesDone();
  stream.WritesDone();
  EXPECT_FALSE(stream.Write(2, File("x")));
  EXPECT_FALSE(stream.Next().has_value());
  EXPECT_EQ(stream.status().message(), "no class \"dog\"");
}

TEST_F(DetectClientTest, AFrameThatCannotBeSentEndsTheStream) {
  detection_.OnStream(NeverAnswers);
  DetectStream stream = Connect()->DetectFrames({});
  DetectImage both = File("x");
  both.raw = RawPicture();

  EXPECT_FALSE(stream.Write(7, both));
  EXPECT_FALSE(stream.Next().has_value());
  EXPECT_EQ(stream.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(stream.status().message(), "frame 7: encoded and raw are both set: give one of them");
}

TEST_F(DetectClientTest, AnEndWithFramesUnansweredIsAnError) {
  detection_.OnStream([](grpc::ServerContext*, FakeDetection::Stream* stream) {
    v1::DetectStreamRequest request;
    while (stream->Read(&request)) {
    }
    return grpc::Status::OK;
  });
  DetectStream stream = Connect()->DetectFrames({});
  stream.Write(1, File("x"));
  stream.WritesDone();
  EXPECT_FALSE(stream.Next().has_value());
  EXPECT_EQ(stream.status().message(), "the server ended the stream with 1 frames unanswered");
}

}  // namespace
}  // namespace ela
