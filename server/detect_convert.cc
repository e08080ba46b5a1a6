#include "server/detect_convert.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/detection_options.h"
#include "model/image/exif.h"
#include "model/status_macros.h"
#include "server/rpc_status.h"

namespace ela {
namespace {

// An error message travels in HTTP headers: of a detector with a thousand classes the first few.
constexpr size_t kMaxClassesShown = 20;

absl::Span<const uint8_t> BytesOf(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

void CheckShare(absl::string_view field, float value, Violations* violations) {
  if (value >= 0 && value <= 1) return;  // NaN is not
  violations->Add(field, absl::StrCat("is ", value, ", allowed are 0 to 1"));
}

void CheckCount(absl::string_view field, uint64_t value, uint64_t max, Violations* violations) {
  if (value >= 1 && value <= max) return;
  violations->Add(field, absl::StrCat("is ", value, ", allowed are 1 to ", max));
}

void CheckSide(absl::string_view field, uint32_t value, const DetectorInfo& info,
               Violations* violations) {
  const uint32_t multiple = static_cast<uint32_t>(info.size_multiple);
  if (value > 0 && value % multiple == 0 && value <= static_cast<uint32_t>(info.max_input_side)) {
    return;
  }
  violations->Add(field, absl::StrCat("is ", value, ", allowed are multiples of ", multiple,
                                      " up to ", info.max_input_side));
}

std::string ClassList(const std::vector<std::string>& names) {
  std::vector<std::string> shown;
  for (size_t i = 0; i < std::min(names.size(), kMaxClassesShown); ++i) {
    shown.push_back(Shortened(names[i]));
  }
  std::string list = absl::StrJoin(shown, ", ");
  if (names.size() > kMaxClassesShown) {
    absl::StrAppend(&list, " and ", names.size() - kMaxClassesShown, " more");
  }
  return list;
}

// Names to ids, each once. The first unknown one is enough: there may be a million.
void ConvertClasses(const google::protobuf::RepeatedPtrField<std::string>& names,
                    const DetectorCard& card, std::vector<int32_t>* ids, Violations* violations) {
  const std::vector<std::string>& known = card.info.class_names;
  std::vector<char> wanted(known.size());
  for (int i = 0; i < names.size(); ++i) {
    const auto found = std::find(known.begin(), known.end(), names[i]);
    if (found == known.end()) {
      violations->Add(absl::StrCat("options.classes[", i, "]"),
                      absl::StrCat("is \"", Shortened(names[i]), "\", the classes of model ",
                                   card.name, " are ", ClassList(known)));
      return;
    }
    wanted[found - known.begin()] = 1;
  }
  for (size_t id = 0; id < wanted.size(); ++id) {
    if (wanted[id]) ids->push_back(static_cast<int32_t>(id));
  }
}

DetectSettings ConvertOptions(const v1::DetectOptions& message, const DetectorCard& card,
                              Violations* violations) {
  DetectSettings settings;
  DetectionOptions& options = settings.options = card.info.defaults;
  options.suppress = card.info.needs_suppression;
  settings.input_width = card.info.input_width;
  settings.input_height = card.info.input_height;
  if (message.has_score_threshold()) {
    options.score_threshold = message.score_threshold();
    CheckShare("options.score_threshold", options.score_threshold, violations);
  }
  if (message.has_iou_threshold()) {
    options.iou_threshold = message.iou_threshold();
    CheckShare("options.iou_threshold", options.iou_threshold, violations);
  }
  if (message.has_max_detections()) {
    CheckCount("options.max_detections", message.max_detections(), kMaxDetections, violations);
    options.max_detections = static_cast<int32_t>(message.max_detections());
  }
  if (message.has_class_agnostic()) options.class_agnostic = message.class_agnostic();
  if (message.has_input_width()) {
    CheckSide("options.input_width", message.input_width(), card.info, violations);
    settings.input_width = static_cast<int32_t>(message.input_width());
  }
  if (message.has_input_height()) {
    CheckSide("options.input_height", message.input_height(), card.info, violations);
    settings.input_height = static_cast<int32_t>(message.input_height());
  }
  options.classes.clear();
  ConvertClasses(message.classes(), card, &options.classes, violations);
  return settings;
}

absl::Status RawError(absl::string_view message) {
  return MakeImageError(ImageError::kRawMismatch, message);
}

absl::Status CheckRawFormat(const v1::RawPicture& raw) {
  switch (raw.format()) {
    case v1::RawPicture::FORMAT_RGB8:
    case v1::RawPicture::FORMAT_BGR8:
    case v1::RawPicture::FORMAT_GRAY8:
      return absl::OkStatus();
    default:
      return RawError(absl::StrCat("raw.format is ", static_cast<int>(raw.format()),
                                   ", known are FORMAT_RGB8, FORMAT_BGR8 and FORMAT_GRAY8"));
  }
}

PixelFormat FormatOf(const v1::RawPicture& raw) {
  if (raw.format() == v1::RawPicture::FORMAT_BGR8) return PixelFormat::kBgr8;
  return raw.format() == v1::RawPicture::FORMAT_GRAY8 ? PixelFormat::kGray8 : PixelFormat::kRgb8;
}

absl::StatusOr<PictureFacts> ReadFacts(const v1::DetectImage& picture, const ImageLimits& limits) {
  PictureFacts facts;
  if (picture.has_raw()) {
    const v1::RawPicture& raw = picture.raw();
    facts.bytes = static_cast<int64_t>(raw.pixels().size());
    ELA_RETURN_IF_ERROR(CheckImageBytes(facts.bytes, limits));
    ELA_RETURN_IF_ERROR(CheckRawFormat(raw));
    ELA_RETURN_IF_ERROR(CheckImageSize(raw.width(), raw.height(), limits));
    facts.width = static_cast<int32_t>(raw.width());
    facts.height = static_cast<int32_t>(raw.height());
    return facts;
  }
  if (!picture.has_encoded()) {
    return MakeImageError(ImageError::kEmpty, "the image is absent: give encoded or raw");
  }
  facts.bytes = static_cast<int64_t>(picture.encoded().size());
  ELA_ASSIGN_OR_RETURN(const ImageHeader header,
                       ReadImageHeader(BytesOf(picture.encoded()), limits));
  facts.width = header.width;
  facts.height = header.height;
  if (SwapsAxes(header.orientation)) std::swap(facts.width, facts.height);
  return facts;
}

absl::StatusOr<DecodedImage> Decode(const v1::DetectImage& picture, const ImageLimits& limits,
                                    int32_t fitted_width, int32_t fitted_height) {
  if (!picture.has_raw()) {
    return DecodeImage(BytesOf(picture.encoded()), limits, fitted_width, fitted_height);
  }
  const v1::RawPicture& raw = picture.raw();
  return DecodeRawImage(
      {FormatOf(raw), raw.width(), raw.height(), raw.stride(), BytesOf(raw.pixels())}, limits);
}

absl::Status ImageErrorNamed(absl::Status status) {
  const ImageError error = ImageErrorOf(status);
  if (error == ImageError::kNone) return status;
  return WithReason(std::move(status),
                    absl::AsciiStrToUpper(absl::StrCat("image_", ImageErrorName(error))));
}

}  // namespace

absl::StatusOr<DetectSettings> ConvertDetect(const v1::DetectRequest& message,
                                             const DetectorCard& card) {
  Violations violations;
  const int64_t num_images = message.images_size();
  if (num_images == 0) {
    violations.Add("images", "is empty, at least one is needed");
  } else if (num_images > card.max_images) {
    violations.Add("images", absl::StrCat("has ", num_images, " pictures, this server allows ",
                                          card.max_images));
  }
  DetectSettings settings = ConvertOptions(message.options(), card, &violations);
  if (!violations.empty()) return violations.ToStatus();
  return settings;
}

absl::StatusOr<StreamSettings> ConvertStreamStart(const v1::StreamStart& message,
                                                  const DetectorCard& card) {
  Violations violations;
  StreamSettings settings;
  settings.detect = ConvertOptions(message.options(), card, &violations);
  settings.drop_stale = message.drop_stale();
  if (message.has_max_frames_in_flight()) {
    CheckCount("max_frames_in_flight", message.max_frames_in_flight(), kMaxFramesInFlight,
               &violations);
    settings.max_frames_in_flight = static_cast<int32_t>(message.max_frames_in_flight());
  }
  if (!violations.empty()) return violations.ToStatus();
  return settings;
}

absl::Status CheckRequestPixels(int64_t num_pixels, const DetectorCard& card) {
  Violations violations;
  if (num_pixels > card.max_request_pixels) {
    violations.Add("images",
                   absl::StrCat("has ", num_pixels, " pixels together, this server allows ",
                                card.max_request_pixels));
  }
  return violations.ToStatus();
}

absl::StatusOr<PictureFacts> ReadPictureFacts(const v1::DetectImage& picture,
                                              const ImageLimits& limits) {
  absl::StatusOr<PictureFacts> facts = ReadFacts(picture, limits);
  if (!facts.ok()) return ImageErrorNamed(facts.status());
  return facts;
}

absl::StatusOr<DecodedImage> DecodePicture(const v1::DetectImage& picture,
                                           const ImageLimits& limits, int32_t fitted_width,
                                           int32_t fitted_height) {
  absl::StatusOr<DecodedImage> decoded = Decode(picture, limits, fitted_width, fitted_height);
  if (!decoded.ok()) return ImageErrorNamed(decoded.status());
  return decoded;
}

void SetResult(const DetectorCard& card, const Placement& placement, int32_t orientation,
               const DetectOutput& output, const PictureTimes& times, v1::ImageResult* result) {
  result->mutable_objects()->Reserve(static_cast<int>(output.detections.size()));
  for (const Detection& detection : output.detections) {
    const Box box = ToSource(placement, detection.box);
    if (!(box.x0 < box.x1 && box.y0 < box.y1)) continue;
    v1::DetectedObject* object = result->add_objects();
    v1::DetectionBox* corners = object->mutable_box();
    corners->set_x0(box.x0);
    corners->set_y0(box.y0);
    corners->set_x1(box.x1);
    corners->set_y1(box.y1);
    object->set_score(detection.score);
    object->set_class_id(static_cast<uint32_t>(detection.class_id));
    object->set_class_name(card.info.class_names[detection.class_id]);
  }
  result->set_width(placement.source_width);
  result->set_height(placement.source_height);
  result->set_orientation(orientation);
  result->set_truncated(output.truncated);
  v1::DetectionTimes* message = result->mutable_times();
  message->set_decode_us(absl::ToInt64Microseconds(times.prepare));
  message->set_queue_us(absl::ToInt64Microseconds(times.queue));
  message->set_network_us(absl::ToInt64Microseconds(times.network));
  message->set_postprocess_us(absl::ToInt64Microseconds(times.postprocess));
}

void SetError(const absl::Status& status, absl::string_view request_id, v1::ImageResult* result) {
  result->Clear();
  result->mutable_error()->ParseFromString(ToGrpcStatus(status, request_id).error_details());
}

void DescribeDetector(const DetectorCard& card, v1::DescribeDetectorResponse* message) {
  const DetectorInfo& info = card.info;
  message->set_name(card.name);
  message->set_variant(info.variant);
  message->mutable_class_names()->Add(info.class_names.begin(), info.class_names.end());
  message->set_num_parameters(info.num_parameters);
  message->set_weight_bytes(info.weight_bytes);
  message->set_input_width(info.input_width);
  message->set_input_height(info.input_height);
  message->set_fit(info.fit == FitMode::kStretch ? v1::DescribeDetectorResponse::FIT_STRETCH
                                                 : v1::DescribeDetectorResponse::FIT_LETTERBOX);
  v1::DetectOptions* defaults = message->mutable_defaults();
  defaults->set_score_threshold(info.defaults.score_threshold);
  defaults->set_iou_threshold(info.defaults.iou_threshold);
  defaults->set_max_detections(info.defaults.max_detections);
  defaults->set_class_agnostic(info.defaults.class_agnostic);
  defaults->set_input_width(info.input_width);
  defaults->set_input_height(info.input_height);
  v1::DetectionLimits* limits = message->mutable_limits();
  limits->set_max_images(static_cast<uint32_t>(card.max_images));
  limits->set_max_image_bytes(card.image.max_bytes);
  limits->set_max_width(card.image.max_width);
  limits->set_max_height(card.image.max_height);
  limits->set_max_pixels(card.image.max_pixels);
  limits->set_max_request_pixels(card.max_request_pixels);
  limits->set_max_detections(kMaxDetections);
  limits->set_max_frames_in_flight(kMaxFramesInFlight);
  limits->set_max_message_bytes(card.max_message_bytes);
  limits->set_max_input_side(info.max_input_side);
  limits->set_input_multiple(info.size_multiple);
  message->set_fingerprint(info.model_fingerprint);
  message->set_numerics_id(info.numerics_id);
  message->set_device(info.device);
}

}  // namespace ela
