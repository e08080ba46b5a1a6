// What Detect answers: boxes in the picture's own pixels, options, several pictures, descriptions.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "tests/server/detection_fixture.h"

namespace ela {
namespace {

using testing::HasSubstr;

TEST_F(DetectionTest, BoxesAreInPixelsOfThePicture) {
  StartDetector();
  v1::DetectRequest request = One();
  request.set_request_id("photo-1");
  const Detected detected = Detect(request);
  ASSERT_TRUE(detected.status.ok()) << detected.status.error_message();
  ASSERT_EQ(detected.response.results_size(), 1);
  const v1::ImageResult& result = detected.response.results(0);
  EXPECT_FALSE(result.has_error());
  EXPECT_EQ(Seen(result), "red 20,10,60,40");
  EXPECT_EQ(result.objects(0).class_id(), 0u);
  EXPECT_EQ(result.objects(0).score(), FakeDetector::kScores[0]);
  EXPECT_EQ(result.width(), 128u);
  EXPECT_EQ(result.height(), 96u);
  EXPECT_EQ(result.orientation(), 1u);
  EXPECT_TRUE(result.has_times());
  EXPECT_EQ(detected.response.model(), "eyes");
  EXPECT_EQ(detected.response.fingerprint(), "0123456789abcdef");
  EXPECT_EQ(detected.request_id, "photo-1");
}

TEST_F(DetectionTest, PngAndJpegAreReadByContent) {
  StartDetector();
  v1::DetectRequest request = One(Encoded(PngOf(picture_)));
  *request.add_images() = Encoded(JpegOf(picture_));
  const Detected detected = Detect(request);
  ASSERT_EQ(detected.response.results_size(), 2);
  EXPECT_EQ(Seen(detected.response.results(0)), "red 20,10,60,40");
  EXPECT_EQ(Seen(detected.response.results(1)), "red 20,10,60,40");
}

TEST_F(DetectionTest, BoxesAreInTheOrientationInWhichPeopleSeeThePicture) {
  StartDetector();
  // Orientation 6: turned clockwise for viewing; (x, y) of 128 x 96 is seen at (96 - y, x).
  const Detected detected = Detect(One(Encoded(WithExif(JpegOf(picture_), 6))));
  ASSERT_EQ(detected.response.results_size(), 1);
  const v1::ImageResult& result = detected.response.results(0);
  EXPECT_EQ(Seen(result), "red 56,20,86,60");
  EXPECT_EQ(result.width(), 96u);
  EXPECT_EQ(result.height(), 128u);
  EXPECT_EQ(result.orientation(), 6u);
}

TEST_F(DetectionTest, BoxesAreClippedToThePicture) {
  StartDetector();
  // 100 x 33: the fitted height is rounded, so that the last row of the input is partly padding.
  const Image image = Scene(100, 33, {{kGreen, 0, 0, 100, 33}});
  const Detected detected = Detect(One(Raw(image)));
  ASSERT_EQ(detected.response.results_size(), 1);
  const v1::DetectionBox& box = detected.response.results(0).objects(0).box();
  EXPECT_GE(box.x0(), 0);
  EXPECT_GE(box.y0(), 0);
  EXPECT_LE(box.x1(), 100);
  EXPECT_LE(box.y1(), 33);
  EXPECT_EQ(Seen(detected.response.results(0)), "green 0,0,100,33");
}

TEST_F(DetectionTest, RawPicturesMayHaveOtherChannelsAndPaddedRows) {
  StartDetector();
  v1::DetectRequest request;
  v1::RawPicture* bgr = request.add_images()->mutable_raw();
  bgr->set_format(v1::RawPicture::FORMAT_BGR8);
  bgr->set_width(128);
  bgr->set_height(96);
  bgr->set_stride(400);
  std::string pixels(400 * 96, '\0');
  for (size_t y = 0; y < 96; ++y) {
    for (size_t i = 0; i < 3 * 128; ++i) {
      const size_t x = i / 3;
      pixels[400 * y + i] = static_cast<char>(picture_.pixels[3 * (128 * y + x) + 2 - i % 3]);
    }
  }
  bgr->set_pixels(pixels);
  v1::RawPicture* gray = request.add_images()->mutable_raw();
  gray->set_format(v1::RawPicture::FORMAT_GRAY8);
  gray->set_width(40);
  gray->set_height(30);
  gray->set_pixels(std::string(40 * 30, '\x80'));
  const Detected detected = Detect(request);
  ASSERT_EQ(detected.response.results_size(), 2);
  EXPECT_EQ(Seen(detected.response.results(0)), "red 20,10,60,40");
  EXPECT_EQ(Seen(detected.response.results(1)), "");
  EXPECT_FALSE(detected.response.results(1).has_error());
}

TEST_F(DetectionTest, EveryPictureHasItsOwnResultInItsPlace) {
  StartDetector();
  v1::DetectRequest request;
  for (int i = 0; i < 40; ++i) {
    *request.add_images() =
        i % 5 == 3 ? Encoded({'n', 'o'})
                   : Raw(Scene(128, 96, {{static_cast<Colour>(i % 3), 2 * i, 10, 2 * i + 20, 40}}));
  }
  const Detected detected = Detect(request);
  ASSERT_TRUE(detected.status.ok()) << detected.status.error_message();
  ASSERT_EQ(detected.response.results_size(), 40);
  const char* names[] = {"red", "green", "blue"};
  for (int i = 0; i < 40; ++i) {
    const v1::ImageResult& result = detected.response.results(i);
    if (i % 5 == 3) {
      EXPECT_EQ(ReasonOf(result), "IMAGE_UNKNOWN_FORMAT") << i;
      EXPECT_EQ(result.objects_size(), 0);
      continue;
    }
    EXPECT_EQ(Seen(result), std::string(names[i % 3]) + " " + std::to_string(2 * i) + ",10," +
                                std::to_string(2 * i + 20) + ",40");
  }
  EXPECT_EQ(Metric("ela_detect_images_total", "ok"), 32);
  EXPECT_EQ(Metric("ela_detect_images_rejected_total", "unknown_format"), 8);
}

TEST_F(DetectionTest, OptionsChooseWhatIsReported) {
  StartDetector();
  picture_ =
      Scene(128, 96, {{kRed, 0, 0, 20, 20}, {kGreen, 40, 0, 60, 20}, {kBlue, 80, 0, 100, 20}});
  const auto seen = [this](const v1::DetectOptions& options) {
    v1::DetectRequest request = One();
    *request.mutable_options() = options;
    const Detected detected = Detect(request);
    EXPECT_TRUE(detected.status.ok()) << detected.status.error_message();
    return Seen(detected.response.results(0)) +
           (detected.response.results(0).truncated() ? "!" : "");
  };
  EXPECT_EQ(seen({}), "red 0,0,20,20; green 40,0,60,20; blue 80,0,100,20");
  v1::DetectOptions classes;
  classes.add_classes("blue");
  classes.add_classes("red");
  classes.add_classes("blue");
  EXPECT_EQ(seen(classes), "red 0,0,20,20; blue 80,0,100,20");
  v1::DetectOptions threshold;
  threshold.set_score_threshold(0.75f);
  EXPECT_EQ(seen(threshold), "red 0,0,20,20; green 40,0,60,20");
  v1::DetectOptions few;
  few.set_max_detections(1);
  EXPECT_EQ(seen(few), "red 0,0,20,20!");
}

TEST_F(DetectionTest, ACallerMayChooseTheNetworksInput) {
  StartDetector();
  v1::DetectRequest request = One();
  request.mutable_options()->set_input_width(128);
  request.mutable_options()->set_input_height(96);
  const Detected detected = Detect(request);
  ASSERT_TRUE(detected.status.ok());
  EXPECT_EQ(Seen(detected.response.results(0)), "red 20,10,60,40");
  ASSERT_EQ(detector_->batches().size(), 1u);
  EXPECT_EQ(detector_->batches()[0].width, 128);
  EXPECT_EQ(detector_->batches()[0].height, 96);
}

TEST_F(DetectionTest, PicturesOfSeveralCallsShareABatch) {
  detector_options_.num_lanes = 1;
  detector_options_.max_batch = detector_options_.preferred_batch = 3;
  config_.batch_wait_seconds = 1;
  StartDetector();
  std::vector<std::thread> calls;
  for (int i = 0; i < 3; ++i) {
    calls.emplace_back([this] {
      const Detected detected = Detect(One());
      ASSERT_EQ(detected.response.results_size(), 1);
      EXPECT_EQ(Seen(detected.response.results(0)), "red 20,10,60,40");
    });
  }
  for (std::thread& call : calls) call.join();
  ASSERT_EQ(detector_->batches().size(), 1u);
  EXPECT_EQ(detector_->batches()[0].num_items, 3);
}

TEST_F(DetectionTest, AnOutputThatIsNotFiniteFailsItsPictureAlone) {
  std::atomic<int> count{0};
  fault_ = [&count](const DetectItem& item) {
    const bool blue = item.pixels[3 * (64 * 32 + 20) + 2] > 170;
    if (blue) ++count;
    return blue ? absl::DataLossError("the head's output holds NaN") : absl::OkStatus();
  };
  StartDetector();
  v1::DetectRequest request = One();
  *request.add_images() = Raw(Scene(128, 96, {{kBlue, 0, 0, 128, 96}}));
  const Detected detected = Detect(request);
  ASSERT_TRUE(detected.status.ok());
  EXPECT_EQ(Seen(detected.response.results(0)), "red 20,10,60,40");
  EXPECT_EQ(detected.response.results(1).error().code(), grpc::DATA_LOSS);
  EXPECT_EQ(ReasonOf(detected.response.results(1)), "MODEL_OUTPUT_NOT_FINITE");
  EXPECT_EQ(count, 1);
  EXPECT_EQ(Metric("ela_detect_images_total", "error"), 1);
}

TEST_F(DetectionTest, ADefectOfOursKeepsItsMessageToTheLog) {
  fault_ = [](const DetectItem&) { return absl::InternalError("/home/me/secret.cc:12"); };
  StartDetector();
  v1::DetectRequest request = One();
  request.set_request_id("find-me");
  const Detected detected = Detect(request);
  ASSERT_TRUE(detected.status.ok());
  const google::rpc::Status& error = detected.response.results(0).error();
  EXPECT_EQ(error.code(), grpc::INTERNAL);
  EXPECT_THAT(error.message(), HasSubstr("find-me"));
  EXPECT_THAT(error.message(), testing::Not(HasSubstr("secret")));
}

TEST_F(DetectionTest, DescribeTellsWhatACallMayAskFor) {
  StartDetector();
  v1::DescribeDetectorResponse detector;
  grpc::ClientContext context;
  ASSERT_TRUE(detection_->DescribeDetector(&context, {}, &detector).ok());
  EXPECT_EQ(detector.name(), "eyes");
  EXPECT_EQ(detector.variant(), "fake");
  EXPECT_THAT(detector.class_names(), testing::ElementsAre("red", "green", "blue"));
  EXPECT_EQ(detector.input_width(), 64u);
  EXPECT_EQ(detector.fit(), v1::DescribeDetectorResponse::FIT_LETTERBOX);
  EXPECT_EQ(detector.defaults().score_threshold(), 0.25f);
  EXPECT_EQ(detector.defaults().max_detections(), 300u);
  EXPECT_EQ(detector.limits().max_images(), 64u);
  EXPECT_EQ(detector.limits().max_pixels(), 40'000'000u);
  EXPECT_EQ(detector.limits().max_frames_in_flight(), 64u);
  EXPECT_EQ(detector.limits().input_multiple(), 32u);
  EXPECT_EQ(detector.numerics_id(), "fake-1");
}

TEST_F(DetectionTest, ModelsListsAndDescribesDetectorsToo) {
  StartDetector();
  v1::ListModelsResponse list;
  grpc::ClientContext listing;
  ASSERT_TRUE(models_->List(&listing, {}, &list).ok());
  ASSERT_EQ(list.models_size(), 2);
  EXPECT_EQ(list.models(0).kind(), v1::ModelSummary::KIND_LANGUAGE);
  EXPECT_EQ(list.models(1).name(), "eyes");
  EXPECT_EQ(list.models(1).kind(), v1::ModelSummary::KIND_DETECTOR);

  const auto describe = [this](const std::string& name) {
    v1::DescribeModelRequest request;
    request.set_model(name);
    v1::DescribeModelResponse response;
    grpc::ClientContext context;
    EXPECT_TRUE(models_->Describe(&context, request, &response).ok());
    return response;
  };
  EXPECT_EQ(describe("eyes").kind(), v1::ModelSummary::KIND_DETECTOR);
  EXPECT_EQ(describe("eyes").detector().class_names_size(), 3);
  EXPECT_TRUE(describe("").has_language());

  v1::DescribeModelRequest unknown;
  unknown.set_model("nobody");
  v1::DescribeModelResponse response;
  grpc::ClientContext context;
  const grpc::Status status = models_->Describe(&context, unknown, &response);
  EXPECT_EQ(status.error_message(), "no model is named \"nobody\"; this server has tiny, eyes");
}

TEST_F(DetectionTest, AServerMayServeDetectorsAlone) {
  DetectorParts parts;
  parts.name = "eyes";
  parts.detector = std::make_unique<FakeDetector>();
  detectors_.push_back(std::move(parts));
  Serve({});
  detection_ = v1::Detection::NewStub(channel_);
  EXPECT_TRUE(Detect(One()).status.ok());
  v1::DescribeModelResponse described;
  grpc::ClientContext context;
  EXPECT_TRUE(models_->Describe(&context, {}, &described).ok());
  EXPECT_TRUE(described.has_detector());
  const grpc::Status status = Generate(Prompt("hi", 1)).status;
  EXPECT_EQ(status.error_code(), grpc::NOT_FOUND);
  EXPECT_EQ(status.error_message(), "this server has no language model");
}

}  // namespace
}  // namespace ela
