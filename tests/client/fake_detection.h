// ela.v1.Detection that does what a test tells it to. Left alone, it finds one object in every
// picture: a "cell" whose box says how many bytes the picture has.
#ifndef ELA_TESTS_CLIENT_FAKE_DETECTION_H_
#define ELA_TESTS_CLIENT_FAKE_DETECTION_H_

#include <grpcpp/grpcpp.h>

#include <functional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "ela/v1/detection.grpc.pb.h"
#include "google/rpc/error_details.pb.h"

namespace ela {

inline v1::DetectedObject FakeObject(uint32_t class_id, float score, float x0, float y0, float x1,
                                     float y1) {
  v1::DetectedObject object;
  object.mutable_box()->set_x0(x0);
  object.mutable_box()->set_y0(y0);
  object.mutable_box()->set_x1(x1);
  object.mutable_box()->set_y1(y1);
  object.set_score(score);
  object.set_class_id(class_id);
  object.set_class_name(class_id == 0 ? "cell" : "speck");
  return object;
}

// A picture that cannot be read, as the server says it.
inline v1::ImageResult FakeImageError(const std::string& message, const std::string& reason) {
  v1::ImageResult result;
  result.mutable_error()->set_code(static_cast<int>(grpc::StatusCode::INVALID_ARGUMENT));
  result.mutable_error()->set_message(message);
  google::rpc::ErrorInfo info;
  info.set_reason(reason);
  info.set_domain("ela");
  result.mutable_error()->add_details()->PackFrom(info);
  return result;
}

class FakeDetection final : public v1::Detection::Service {
 public:
  using Stream = grpc::ServerReaderWriter<v1::DetectStreamResponse, v1::DetectStreamRequest>;
  using DetectHandler = std::function<grpc::Status(grpc::ServerContext*, const v1::DetectRequest&,
                                                   v1::DetectResponse*)>;
  using StreamHandler = std::function<grpc::Status(grpc::ServerContext*, Stream*)>;
  using PictureHandler = std::function<v1::ImageResult(const v1::DetectImage&)>;

  FakeDetection() {
    description_.set_name("eyes");
    description_.set_variant("lat");
    description_.add_class_names("cell");
    description_.add_class_names("speck");
    description_.set_num_parameters(316438);
    description_.set_weight_bytes(1265752);
    description_.set_input_width(320);
    description_.set_input_height(320);
    description_.set_fit(v1::DescribeDetectorResponse::FIT_LETTERBOX);
    description_.mutable_defaults()->set_score_threshold(0.25f);
    description_.mutable_defaults()->set_iou_threshold(0.6f);
    description_.mutable_defaults()->set_max_detections(300);
    description_.mutable_defaults()->set_class_agnostic(false);
    description_.mutable_defaults()->set_input_width(320);
    description_.mutable_defaults()->set_input_height(320);
    description_.mutable_limits()->set_max_input_side(1280);
    description_.mutable_limits()->set_input_multiple(16);
    description_.mutable_limits()->set_max_images(16);
    description_.mutable_limits()->set_max_image_bytes(1 << 20);
    description_.mutable_limits()->set_max_width(4096);
    description_.mutable_limits()->set_max_height(4096);
    description_.mutable_limits()->set_max_pixels(4 << 20);
    description_.set_fingerprint("f00d");
    description_.set_numerics_id("fake-1");
    description_.set_device("cpu");
  }

  // What one picture gets; Detect's default answers with it, one by one.
  void OnPicture(PictureHandler handler) {
    absl::MutexLock lock(&mutex_);
    picture_ = std::move(handler);
  }
  void OnDetect(DetectHandler handler) {
    absl::MutexLock lock(&mutex_);
    detect_ = std::move(handler);
  }
  void OnStream(StreamHandler handler) {
    absl::MutexLock lock(&mutex_);
    stream_ = std::move(handler);
  }

  v1::ImageResult Look(const v1::DetectImage& image) {
    PictureHandler handler;
    {
      absl::MutexLock lock(&mutex_);
      handler = picture_;
    }
    if (handler != nullptr) return handler(image);
    v1::ImageResult result;
    const float size = image.encoded().size() + image.raw().pixels().size();
    *result.add_objects() = FakeObject(0, 0.75f, 0, 0, size, 1);
    result.set_width(640);
    result.set_height(480);
    result.set_orientation(1);
    result.mutable_times()->set_network_us(1500);
    return result;
  }

  const v1::DescribeDetectorResponse& description() const { return description_; }

  int num_detect_calls() const {
    absl::MutexLock lock(&mutex_);
    return num_detect_calls_;
  }

 private:
  grpc::Status Detect(grpc::ServerContext* context, const v1::DetectRequest* request,
                      v1::DetectResponse* response) override {
    DetectHandler handler;
    {
      absl::MutexLock lock(&mutex_);
      ++num_detect_calls_;
      handler = detect_;
    }
    if (handler != nullptr) return handler(context, *request, response);
    for (const v1::DetectImage& image : request->images()) *response->add_results() = Look(image);
    response->set_model("eyes");
    response->set_fingerprint("f00d");
    return grpc::Status::OK;
  }
  grpc::Status DetectStream(grpc::ServerContext* context, Stream* stream) override {
    StreamHandler handler;
    {
      absl::MutexLock lock(&mutex_);
      handler = stream_;
    }
    return handler(context, stream);
  }
  grpc::Status DescribeDetector(grpc::ServerContext*, const v1::DescribeDetectorRequest* request,
                                v1::DescribeDetectorResponse* response) override {
    if (!request->model().empty() && request->model() != "eyes") {
      return {grpc::StatusCode::NOT_FOUND, "no detector \"" + request->model() + "\""};
    }
    *response = description_;
    return grpc::Status::OK;
  }

  v1::DescribeDetectorResponse description_;  // constant after construction
  mutable absl::Mutex mutex_;
  PictureHandler picture_ ABSL_GUARDED_BY(mutex_);
  DetectHandler detect_ ABSL_GUARDED_BY(mutex_);
  StreamHandler stream_ ABSL_GUARDED_BY(mutex_);
  int num_detect_calls_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace ela

#endif  // ELA_TESTS_CLIENT_FAKE_DETECTION_H_
