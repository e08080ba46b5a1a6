#include "client/detect_convert.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "client/connection.h"

namespace ela::client {
namespace {

ela::v1::RawPicture::Format ToMessage(PixelFormat format) {
  switch (format) {
    case PixelFormat::kRgb8:
      return ela::v1::RawPicture::FORMAT_RGB8;
    case PixelFormat::kBgr8:
      return ela::v1::RawPicture::FORMAT_BGR8;
    case PixelFormat::kGray8:
      return ela::v1::RawPicture::FORMAT_GRAY8;
  }
  return ela::v1::RawPicture::FORMAT_UNSPECIFIED;
}

void SetOptions(const DetectOptions& options, ela::v1::DetectOptions* message) {
  if (options.score_threshold) message->set_score_threshold(*options.score_threshold);
  if (options.iou_threshold) message->set_iou_threshold(*options.iou_threshold);
  if (options.max_detections) message->set_max_detections(*options.max_detections);
  if (options.class_agnostic) message->set_class_agnostic(*options.class_agnostic);
  *message->mutable_classes() = {options.classes.begin(), options.classes.end()};
  if (options.input_width) message->set_input_width(*options.input_width);
  if (options.input_height) message->set_input_height(*options.input_height);
}

DetectOptions FromMessage(const ela::v1::DetectOptions& message) {
  DetectOptions options;
  if (message.has_score_threshold()) options.score_threshold = message.score_threshold();
  if (message.has_iou_threshold()) options.iou_threshold = message.iou_threshold();
  if (message.has_max_detections()) options.max_detections = message.max_detections();
  if (message.has_class_agnostic()) options.class_agnostic = message.class_agnostic();
  options.classes = {message.classes().begin(), message.classes().end()};
  if (message.has_input_width()) options.input_width = message.input_width();
  if (message.has_input_height()) options.input_height = message.input_height();
  return options;
}

DetectionLimits FromMessage(const ela::v1::DetectionLimits& message) {
  DetectionLimits limits;
  limits.max_images = message.max_images();
  limits.max_image_bytes = message.max_image_bytes();
  limits.max_width = message.max_width();
  limits.max_height = message.max_height();
  limits.max_pixels = message.max_pixels();
  limits.max_request_pixels = message.max_request_pixels();
  limits.max_detections = message.max_detections();
  limits.max_frames_in_flight = message.max_frames_in_flight();
  limits.max_message_bytes = message.max_message_bytes();
  limits.max_input_side = message.max_input_side();
  limits.input_multiple = message.input_multiple();
  return limits;
}

DetectorFit FromMessage(ela::v1::DescribeDetectorResponse::Fit fit) {
  switch (fit) {
    case ela::v1::DescribeDetectorResponse::FIT_LETTERBOX:
      return DetectorFit::kLetterbox;
    case ela::v1::DescribeDetectorResponse::FIT_STRETCH:
      return DetectorFit::kStretch;
    default:
      return DetectorFit::kUnknown;
  }
}

DetectedObject FromMessage(ela::v1::DetectedObject&& message) {
  DetectedObject object;
  const ela::v1::DetectionBox& box = message.box();
  object.box = {box.x0(), box.y0(), box.x1(), box.y1()};
  object.score = message.score();
  object.class_id = message.class_id();
  object.class_name = std::move(*message.mutable_class_name());
  return object;
}

// A picture's own error, with its details where DetailsOf finds them.
absl::Status FromMessage(const google::rpc::Status& error) {
  const grpc::Status status(static_cast<grpc::StatusCode>(error.code()), error.message(),
                            error.SerializeAsString());
  if (status.ok()) return absl::InternalError("the server sent an error without a code");
  return ToStatus(status, "", absl::InfiniteDuration());
}

}  // namespace

absl::StatusOr<ela::v1::DetectImage> ToMessage(DetectImage&& image) {
  ela::v1::DetectImage message;
  if (!image.raw.has_value()) {
    message.set_encoded(std::move(image.encoded));
    return message;
  }
  if (!image.encoded.empty()) {
    return absl::InvalidArgumentError("encoded and raw are both set: give one of them");
  }
  ela::v1::RawPicture* const raw = message.mutable_raw();
  raw->set_format(ToMessage(image.raw->format));
  raw->set_width(image.raw->width);
  raw->set_height(image.raw->height);
  raw->set_stride(image.raw->stride);
  raw->set_pixels(std::move(image.raw->pixels));
  return message;
}

absl::StatusOr<ela::v1::DetectRequest> ToMessage(DetectParams&& params, const std::string& model) {
  ela::v1::DetectRequest request;
  request.set_model(model);
  for (size_t i = 0; i < params.images.size(); ++i) {
    absl::StatusOr<ela::v1::DetectImage> image = ToMessage(std::move(params.images[i]));
    if (!image.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("images[", i, "]: ", image.status().message()));
    }
    *request.add_images() = *std::move(image);
  }
  SetOptions(params.options, request.mutable_options());
  request.set_request_id(params.request_id);
  return request;
}

ela::v1::StreamStart ToMessage(const DetectStreamParams& params, const std::string& model) {
  ela::v1::StreamStart start;
  start.set_model(model);
  SetOptions(params.options, start.mutable_options());
  start.set_request_id(params.request_id);
  start.set_drop_stale(params.drop_stale);
  if (params.max_frames_in_flight) start.set_max_frames_in_flight(*params.max_frames_in_flight);
  return start;
}

ImageResult FromMessage(ela::v1::ImageResult&& message) {
  ImageResult result;
  if (message.has_error()) {
    result.status = FromMessage(message.error());
    return result;
  }
  for (ela::v1::DetectedObject& object : *message.mutable_objects()) {
    result.objects.push_back(FromMessage(std::move(object)));
  }
  result.width = message.width();
  result.height = message.height();
  result.orientation = message.orientation();
  result.truncated = message.truncated();
  result.times.decode = absl::Microseconds(message.times().decode_us());
  result.times.queue = absl::Microseconds(message.times().queue_us());
  result.times.network = absl::Microseconds(message.times().network_us());
  result.times.postprocess = absl::Microseconds(message.times().postprocess_us());
  return result;
}

FrameResult FromMessage(ela::v1::DetectStreamResponse&& message) {
  FrameResult frame;
  frame.frame_id = message.frame_id();
  frame.num_dropped = message.num_dropped();
  frame.dropped = message.has_dropped();
  if (message.has_result()) frame.result = FromMessage(std::move(*message.mutable_result()));
  return frame;
}

DetectResults FromMessage(ela::v1::DetectResponse&& message) {
  DetectResults results;
  for (ela::v1::ImageResult& result : *message.mutable_results()) {
    results.images.push_back(FromMessage(std::move(result)));
  }
  results.model = std::move(*message.mutable_model());
  results.fingerprint = std::move(*message.mutable_fingerprint());
  return results;
}

DetectorDescription FromMessage(ela::v1::DescribeDetectorResponse&& message) {
  DetectorDescription description;
  description.name = message.name();
  description.variant = message.variant();
  description.class_names = {message.class_names().begin(), message.class_names().end()};
  description.num_parameters = message.num_parameters();
  description.weight_bytes = message.weight_bytes();
  description.input_width = message.input_width();
  description.input_height = message.input_height();
  description.fit = FromMessage(message.fit());
  description.defaults = FromMessage(message.defaults());
  description.limits = FromMessage(message.limits());
  description.fingerprint = message.fingerprint();
  description.numerics_id = message.numerics_id();
  description.device = message.device();
  return description;
}

}  // namespace ela::client
