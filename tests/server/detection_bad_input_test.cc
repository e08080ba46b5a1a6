// Every bad input of detection has its own clear error, as a client decodes it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/server/detection_fixture.h"

namespace ela {
namespace {

using testing::HasSubstr;

class DetectionBadInputTest : public DetectionTest {
 protected:
  // The error of one bad picture beside a good one.
  void ExpectPictureError(const v1::DetectImage& image, const std::string& reason,
                          const std::string& message) {
    v1::DetectRequest request = One();
    *request.add_images() = image;
    const Detected detected = Detect(request);
    ASSERT_TRUE(detected.status.ok()) << detected.status.error_message();
    ASSERT_EQ(detected.response.results_size(), 2);
    EXPECT_EQ(Seen(detected.response.results(0)), "red 20,10,60,40");
    const v1::ImageResult& result = detected.response.results(1);
    EXPECT_EQ(result.error().code(), grpc::INVALID_ARGUMENT);
    EXPECT_EQ(ReasonOf(result), reason);
    EXPECT_THAT(result.error().message(), HasSubstr(message));
    EXPECT_EQ(result.width(), 0u);
  }

  // The whole call is refused for this field.
  void ExpectRefused(const v1::DetectRequest& request, const std::string& field,
                     const std::string& message) {
    const grpc::Status status = Detect(request).status;
    EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT) << field;
    EXPECT_EQ(ReasonOf(status), "INVALID_REQUEST");
    const auto details = DetailOf<google::rpc::BadRequest>(status);
    ASSERT_EQ(details.field_violations_size(), 1) << field;
    EXPECT_EQ(details.field_violations(0).field(), field);
    EXPECT_THAT(details.field_violations(0).description(), HasSubstr(message));
    EXPECT_EQ(detector_->num_pictures(), 0);
  }
};

// A JPEG's frame header that claims another size.
Bytes Claiming(Bytes jpeg, uint16_t width, uint16_t height) {
  for (size_t i = 2; i + 9 < jpeg.size(); ++i) {
    if (jpeg[i] != 0xFF || jpeg[i + 1] != 0xC0) continue;
    jpeg[i + 5] = static_cast<uint8_t>(height >> 8);
    jpeg[i + 6] = static_cast<uint8_t>(height);
    jpeg[i + 7] = static_cast<uint8_t>(width >> 8);
    jpeg[i + 8] = static_cast<uint8_t>(width);
    return jpeg;
  }
  ADD_FAILURE() << "the JPEG has no baseline frame header";
  return jpeg;
}

Bytes Half(Bytes bytes) {
  bytes.resize(bytes.size() / 2);
  return bytes;
}

TEST_F(DetectionBadInputTest, BadFilesFailAlone) {
  StartDetector();
  const Bytes jpeg = JpegOf(picture_), png = PngOf(picture_);
  const std::string html = "<html><body>404</body></html>";  // whatever its name said
  ExpectPictureError(v1::DetectImage(), "IMAGE_EMPTY", "absent");
  ExpectPictureError(Encoded({}), "IMAGE_EMPTY", "0 bytes");
  ExpectPictureError(Encoded(Half(jpeg)), "IMAGE_TRUNCATED", "cut short");
  ExpectPictureError(Encoded(Half(png)), "IMAGE_TRUNCATED", "PNG");
  ExpectPictureError(Encoded({html.begin(), html.end()}), "IMAGE_UNKNOWN_FORMAT", "JPEG");
  ExpectPictureError(Encoded(Claiming(jpeg, 60000, 60000)), "IMAGE_TOO_LARGE", "60000 x 60000");
  EXPECT_EQ(Metric("ela_detect_images_rejected_total", "empty"), 2);
  EXPECT_EQ(Metric("ela_detect_images_rejected_total", "truncated"), 2);
}

TEST_F(DetectionBadInputTest, LimitsAreTheConfigs) {
  config_.max_image_bytes = 100;
  config_.max_image_side = 150;
  config_.max_image_pixels = 128 * 96;
  StartDetector();
  picture_ = Scene(8, 4, {});  // within all of them
  const auto expect = [this](const Image& image, const std::string& reason,
                             const std::string& message) {
    v1::DetectImage raw = Raw(image);
    const Detected detected = Detect(One(raw));
    ASSERT_TRUE(detected.status.ok());
    EXPECT_EQ(ReasonOf(detected.response.results(0)), reason);
    EXPECT_THAT(detected.response.results(0).error().message(), HasSubstr(message));
  };
  expect(Scene(20, 10, {}), "IMAGE_TOO_MANY_BYTES", "600 bytes, the limit is 100");
  v1::DetectImage wide = Raw(Scene(1, 1, {}));
  wide.mutable_raw()->set_width(151);
  v1::DetectImage large = wide;
  large.mutable_raw()->set_width(150);
  large.mutable_raw()->set_height(149);
  v1::DetectRequest request = One(wide);
  *request.add_images() = large;
  const Detected detected = Detect(request);
  EXPECT_THAT(detected.response.results(0).error().message(), HasSubstr("widest allowed is 150"));
  EXPECT_THAT(detected.response.results(1).error().message(), HasSubstr("limit is 12288 pixels"));
}

TEST_F(DetectionBadInputTest, RawPicturesMustFitTheirBytes) {
  StartDetector();
  v1::DetectImage image = Raw(picture_);
  image.mutable_raw()->set_width(129);
  ExpectPictureError(image, "IMAGE_RAW_MISMATCH", "bytes");
  image.mutable_raw()->set_width(0);
  ExpectPictureError(image, "IMAGE_TOO_LARGE", "at least 1");
  image = Raw(picture_);
  image.mutable_raw()->set_stride(100);
  ExpectPictureError(image, "IMAGE_RAW_MISMATCH", "stride");
  image = Raw(picture_);
  image.mutable_raw()->set_format(v1::RawPicture::FORMAT_UNSPECIFIED);
  ExpectPictureError(image, "IMAGE_RAW_MISMATCH", "raw.format is 0");
}

TEST_F(DetectionBadInputTest, ThresholdsOutOfRangeAreNamed) {
  StartDetector();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const float bad : {nan, -0.01f, 1.01f, std::numeric_limits<float>::infinity()}) {
    v1::DetectRequest score = One(), iou = One();
    score.mutable_options()->set_score_threshold(bad);
    iou.mutable_options()->set_iou_threshold(bad);
    ExpectRefused(score, "options.score_threshold", "allowed are 0 to 1");
    ExpectRefused(iou, "options.iou_threshold", "allowed are 0 to 1");
  }
}

TEST_F(DetectionBadInputTest, CountsOutOfRangeAreNamed) {
  config_.max_images = 3;
  StartDetector();
  ExpectRefused({}, "images", "is empty");
  v1::DetectRequest many;
  for (int i = 0; i < 4; ++i) *many.add_images() = Raw(picture_);
  ExpectRefused(many, "images", "has 4 pictures, this server allows 3");
  for (const uint32_t bad : {0u, 1001u, 4000000000u}) {
    v1::DetectRequest request = One();
    request.mutable_options()->set_max_detections(bad);
    ExpectRefused(request, "options.max_detections", "allowed are 1 to 1000");
  }
  for (const uint32_t bad : {0u, 33u, 288u, 4294967264u}) {
    v1::DetectRequest request = One();
    request.mutable_options()->set_input_width(bad);
    ExpectRefused(request, "options.input_width", "multiples of 32 up to 256");
  }
}

TEST_F(DetectionBadInputTest, AllPicturesTogetherAreBounded) {
  config_.max_request_pixels = 3 * 128 * 96;
  StartDetector();
  v1::DetectRequest request;
  for (int i = 0; i < 4; ++i) *request.add_images() = Raw(picture_);
  ExpectRefused(request, "images", "has 49152 pixels together, this server allows 36864");
}

TEST_F(DetectionBadInputTest, AnUnknownClassNamesTheKnownOnes) {
  StartDetector();
  v1::DetectRequest request = One();
  request.mutable_options()->add_classes("red");
  request.mutable_options()->add_classes("purple");
  ExpectRefused(request, "options.classes[1]",
                "is \"purple\", the classes of model eyes are red, green, blue");
}

TEST_F(DetectionBadInputTest, AllViolationsComeTogether) {
  StartDetector();
  v1::DetectRequest request;
  request.mutable_options()->set_score_threshold(2);
  request.mutable_options()->add_classes("purple");
  const auto details = DetailOf<google::rpc::BadRequest>(Detect(request).status);
  EXPECT_EQ(details.field_violations_size(), 3);
  EXPECT_EQ(Metric("ela_detect_requests_rejected_total", "invalid"), 1);
}

TEST_F(DetectionBadInputTest, AModelThatIsNoDetectorIsNotFound) {
  StartDetector();
  for (const char* name : {"tiny", "nobody"}) {
    v1::DetectRequest request = One();
    request.set_model(name);
    const grpc::Status status = Detect(request).status;
    EXPECT_EQ(status.error_code(), grpc::NOT_FOUND);
    EXPECT_EQ(status.error_message(),
              std::string("no detector is named \"") + name + "\"; this server has eyes");
    EXPECT_EQ(ReasonOf(status), "MODEL_NOT_FOUND");
  }
}

TEST_F(DetectionBadInputTest, WithoutADetectorTheServerSaysSo) {
  Start();
  detection_ = v1::Detection::NewStub(channel_);
  const grpc::Status status = Detect(One()).status;
  EXPECT_EQ(status.error_code(), grpc::NOT_FOUND);
  EXPECT_EQ(status.error_message(), "this server has no detector");
}

TEST_F(DetectionBadInputTest, ACallOfBadPicturesAloneCostsNoDetector) {
  StartDetector();
  v1::DetectRequest request = One(Encoded({}));
  *request.add_images() = Encoded({'G', 'I', 'F'});
  const Detected detected = Detect(request);
  EXPECT_TRUE(detected.status.ok());
  ASSERT_EQ(detected.response.results_size(), 2);
  EXPECT_TRUE(detected.response.results(1).has_error());
  EXPECT_EQ(detector_->num_pictures(), 0);
}

}  // namespace
}  // namespace ela
