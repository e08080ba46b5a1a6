// The one thing we want of EXIF: how the camera was held.
#ifndef ELA_MODEL_IMAGE_EXIF_H_
#define ELA_MODEL_IMAGE_EXIF_H_

#include <cstdint>

#include "absl/types/span.h"
#include "model/image/image.h"

namespace ela {

// Orientation of a TIFF block (an EXIF payload without its "Exif\0\0"): tag 0x0112 of the first
// directory. 1 when it is absent, damaged or out of [1, 8]: a broken tag never refuses a picture.
int32_t ExifOrientation(absl::Span<const uint8_t> tiff);

// What a JPEG's marker segments tell beyond its size.
struct JpegMarkers {
  int32_t orientation = 1;
  bool adobe = false;     // an APP14 "Adobe" segment: CMYK samples are stored inverted
  int64_t num_scans = 0;  // passes over the picture that a decoder may be led to, at most
};
JpegMarkers ReadJpegMarkers(absl::Span<const uint8_t> bytes);

// True for orientations that exchange width and height (5 to 8).
inline bool SwapsAxes(int32_t orientation) { return orientation >= 5; }

// `image` as a person should see it. 1: unchanged, without a copy.
Image Oriented(Image image, int32_t orientation);

}  // namespace ela

#endif  // ELA_MODEL_IMAGE_EXIF_H_
