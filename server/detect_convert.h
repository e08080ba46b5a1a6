// Messages of ela.v1.Detection to domain types and back. Every limit on what a caller may ask for
// is here, and is checked before anything of a picture's size is allocated.
#ifndef ELA_SERVER_DETECT_CONVERT_H_
#define ELA_SERVER_DETECT_CONVERT_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "ela/v1/detection.pb.h"
#include "model/detector.h"
#include "model/image/decode.h"
#include "model/image/fit.h"
#include "scheduler/detect_task.h"
#include "server/detector_card.h"

namespace ela {

// What a call asks for, for all of its pictures.
struct DetectSettings {
  DetectionOptions options;
  int32_t input_width = 0;  // of the network
  int32_t input_height = 0;
};

// What is known of a picture before it is decoded.
struct PictureFacts {
  int64_t bytes = 0;
  int32_t width = 0;  // oriented
  int32_t height = 0;
  int64_t pixels() const { return int64_t{1} * width * height; }
};

struct StreamSettings {
  DetectSettings detect;
  bool drop_stale = false;
  int32_t max_frames_in_flight = kDefaultFramesInFlight;
};

// Errors: kInvalidArgument with google.rpc.BadRequest. Thread-safe.
absl::StatusOr<DetectSettings> ConvertDetect(const v1::DetectRequest& message,
                                             const DetectorCard& card);
absl::StatusOr<StreamSettings> ConvertStreamStart(const v1::StreamStart& message,
                                                  const DetectorCard& card);

// All pictures of one call together. Errors: kInvalidArgument with google.rpc.BadRequest.
absl::Status CheckRequestPixels(int64_t num_pixels, const DetectorCard& card);

// Limits and kind of one picture, from its header. Errors: kInvalidArgument, see ImageErrorOf; the
// ErrorInfo's reason is IMAGE_ and the error's name.
absl::StatusOr<PictureFacts> ReadPictureFacts(const v1::DetectImage& picture,
                                              const ImageLimits& limits);

// Errors: as ReadPictureFacts. `fitted_width`, `fitted_height`: what it will be reduced to.
absl::StatusOr<DecodedImage> DecodePicture(const v1::DetectImage& picture,
                                           const ImageLimits& limits, int32_t fitted_width,
                                           int32_t fitted_height);

// Boxes back in pixels of the picture, clipped to it; what has no area there is left out.
void SetResult(const DetectorCard& card, const Placement& placement, int32_t orientation,
               const DetectOutput& output, const PictureTimes& times, v1::ImageResult* result);

// The result of a picture that failed; nothing else of it is set.
void SetError(const absl::Status& status, absl::string_view request_id, v1::ImageResult* result);

void DescribeDetector(const DetectorCard& card, v1::DescribeDetectorResponse* message);

}  // namespace ela

#endif  // ELA_SERVER_DETECT_CONVERT_H_
