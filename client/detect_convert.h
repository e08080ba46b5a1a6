// Messages of ela.v1.Detection to plain structs and back.
#ifndef ELA_CLIENT_DETECT_CONVERT_H_
#define ELA_CLIENT_DETECT_CONVERT_H_

#include <string>

#include "absl/status/statusor.h"
#include "client/detect.h"
#include "ela/v1/detection.pb.h"

namespace ela::client {

// Errors: kInvalidArgument when `encoded` and `raw` are both set: a message cannot hold both.
// Neither is an empty file, which is the server's to refuse.
absl::StatusOr<ela::v1::DetectImage> ToMessage(DetectImage&& image);

// Errors: as above, naming the image's index.
absl::StatusOr<ela::v1::DetectRequest> ToMessage(DetectParams&& params, const std::string& model);

ela::v1::StreamStart ToMessage(const DetectStreamParams& params, const std::string& model);

ImageResult FromMessage(ela::v1::ImageResult&& result);
FrameResult FromMessage(ela::v1::DetectStreamResponse&& response);
DetectResults FromMessage(ela::v1::DetectResponse&& response);
DetectorDescription FromMessage(ela::v1::DescribeDetectorResponse&& response);

}  // namespace ela::client

#endif  // ELA_CLIENT_DETECT_CONVERT_H_
