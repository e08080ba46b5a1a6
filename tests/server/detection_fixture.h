#ifndef ELA_TESTS_SERVER_DETECTION_FIXTURE_H_
#define ELA_TESTS_SERVER_DETECTION_FIXTURE_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ela/v1/detection.grpc.pb.h"
#include "tests/fakes/fake_detector.h"
#include "tests/model/image/picture_files.h"
#include "tests/server/server_fixture.h"

namespace ela {

enum Colour { kRed, kGreen, kBlue };  // the fake's class ids

// A rectangle of a colour that the fake detector knows, in pixels of the picture.
struct Patch {
  Colour colour;
  int32_t x0, y0, x1, y1;
};

// Grey, with patches.
inline Image Scene(int32_t width, int32_t height, const std::vector<Patch>& patches) {
  Image image{width, height, Bytes(size_t{3} * width * height, 128)};
  for (const Patch& patch : patches) {
    for (int32_t y = patch.y0; y < patch.y1; ++y) {
      for (int32_t x = patch.x0; x < patch.x1; ++x) {
        for (int c = 0; c < 3; ++c) {
          image.pixels[3 * (size_t{1} * y * width + x) + c] = c == patch.colour ? 255 : 0;
        }
      }
    }
  }
  return image;
}

inline v1::DetectImage Encoded(const Bytes& bytes) {
  v1::DetectImage image;
  image.set_encoded(bytes.data(), bytes.size());
  return image;
}

inline v1::DetectImage Raw(const Image& image) {
  v1::DetectImage message;
  message.mutable_raw()->set_format(v1::RawPicture::FORMAT_RGB8);
  message.mutable_raw()->set_width(image.width);
  message.mutable_raw()->set_height(image.height);
  message.mutable_raw()->set_pixels(image.pixels.data(), image.pixels.size());
  return message;
}

// A real server over loopback with a fake detector, "eyes", and the fake text model, "tiny".
class DetectionTest : public ServerTest {
 protected:
  DetectionTest() {
    config_.threads = 2;
    // 128 x 96 pictures are halved exactly: boxes at even coordinates come back exactly.
    picture_ = Scene(128, 96, {{kRed, 20, 10, 60, 40}});
  }

  // Once per test, after the options are as it wants them. `gate` is called at the start of each
  // batch of the detector; it may block. `text_gate`: see ServerTest.
  void StartDetector(std::function<void()> gate = nullptr,
                     std::function<void()> text_gate = nullptr) {
    auto detector = std::make_unique<FakeDetector>(detector_options_);
    detector_ = detector.get();
    if (gate) detector->HoldWith(std::move(gate));
    if (fault_) detector->FailWhen(std::move(fault_));
    DetectorParts parts;
    parts.name = "eyes";
    parts.detector = std::move(detector);
    detectors_.push_back(std::move(parts));
    Start(std::move(text_gate));
    detection_ = v1::Detection::NewStub(channel_);
  }

  struct Detected {
    grpc::Status status;
    v1::DetectResponse response;
    std::string request_id;
  };
  Detected Detect(const v1::DetectRequest& request) {
    grpc::ClientContext context;
    return Detect(request, &context);
  }
  Detected Detect(const v1::DetectRequest& request, grpc::ClientContext* context) {
    Detected detected;
    detected.status = detection_->Detect(context, request, &detected.response);
    const auto found = context->GetServerInitialMetadata().find("ela-request-id");
    if (found != context->GetServerInitialMetadata().end()) {
      detected.request_id.assign(found->second.data(), found->second.size());
    }
    return detected;
  }
  v1::DetectRequest One(const v1::DetectImage& image) const {
    v1::DetectRequest request;
    *request.add_images() = image;
    return request;
  }
  v1::DetectRequest One() const { return One(Raw(picture_)); }

  // "red 20,10,60,40; green 1,2,3,4", corners rounded to whole pixels.
  static std::string Seen(const v1::ImageResult& result) {
    std::string text;
    for (const v1::DetectedObject& object : result.objects()) {
      if (!text.empty()) text += "; ";
      text += object.class_name();
      char separator = ' ';
      for (const float corner :
           {object.box().x0(), object.box().y0(), object.box().x1(), object.box().y1()}) {
        text += separator + std::to_string(std::lround(corner));
        separator = ',';
      }
    }
    return text;
  }
  static std::string ReasonOf(const v1::ImageResult& result) {
    for (const auto& detail : result.error().details()) {
      google::rpc::ErrorInfo info;
      if (detail.UnpackTo(&info)) return info.reason();
    }
    return "";
  }
  using ServerTest::ReasonOf;

  FakeDetectorOptions detector_options_;
  std::function<absl::Status(const DetectItem&)> fault_;
  Image picture_;
  FakeDetector* detector_ = nullptr;  // the server's
  std::unique_ptr<v1::Detection::Stub> detection_;
};

}  // namespace ela

#endif  // ELA_TESTS_SERVER_DETECTION_FIXTURE_H_
