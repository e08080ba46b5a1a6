// The constant facts of one served detector: what requests are checked against and what
// DescribeDetector tells.
#ifndef ELA_SERVER_DETECTOR_CARD_H_
#define ELA_SERVER_DETECTOR_CARD_H_

#include <cstdint>
#include <string>

#include "model/detector.h"
#include "model/image/image.h"

namespace ela {

inline constexpr int kDefaultFramesInFlight = 4;
inline constexpr int kMaxFramesInFlight = 64;

struct DetectorCard {
  std::string name;
  DetectorInfo info;
  ImageLimits image;               // of one picture
  int64_t max_images = 0;          // of one Detect
  int64_t max_request_pixels = 0;  // of all pictures of one Detect
  int64_t max_message_bytes = 0;
};

}  // namespace ela

#endif  // ELA_SERVER_DETECTOR_CARD_H_
