// From bytes of strangers to a picture. Every limit is checked from the header; what a decoder only
// warns about (a file that ends too early, bad entropy data) is an error here, never a grey area.
#ifndef ELA_MODEL_IMAGE_DECODE_H_
#define ELA_MODEL_IMAGE_DECODE_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/image/image.h"

namespace ela {

// Size, format and orientation, without decoding. The format is told by content; a file's name
// plays no part. Thread-safe. Errors: kInvalidArgument, see ImageErrorOf.
absl::StatusOr<ImageHeader> ReadImageHeader(absl::Span<const uint8_t> bytes,
                                            const ImageLimits& limits);

// Decodes JPEG (baseline, progressive, arithmetic; grey, YCbCr, RGB, CMYK, YCCK) and PNG (every
// colour type and depth, interlaced too; 16-bit keeps the upper 8 bits, alpha is blended onto
// white), and applies the orientation. With wanted_width and wanted_height (of the oriented
// picture; 0: full size) a JPEG is decoded at 1/2, 1/4 or 1/8 when that still leaves at least twice
// as many pixels along both sides. Thread-safe. About 2 ms for a JPEG of 640 x 480.
// Errors: as ReadImageHeader.
absl::StatusOr<DecodedImage> DecodeImage(absl::Span<const uint8_t> bytes, const ImageLimits& limits,
                                         int32_t wanted_width = 0, int32_t wanted_height = 0);

enum class PixelFormat : uint8_t { kRgb8, kBgr8, kGray8 };

// A picture that is not compressed. Row y starts at y * stride; the last row need not be padded.
struct RawImage {
  PixelFormat format = PixelFormat::kRgb8;
  int64_t width = 0;  // pixels
  int64_t height = 0;
  int64_t stride = 0;               // bytes; 0: rows are packed
  absl::Span<const uint8_t> bytes;  // borrowed for the call
};

// Copies `raw` into packed RGB. Bytes beyond the last row are refused: they mean that sender and
// receiver disagree on the size. Up to stride bytes for the last row are fine.
// Errors: kInvalidArgument, see ImageErrorOf.
absl::StatusOr<DecodedImage> DecodeRawImage(const RawImage& raw, const ImageLimits& limits);

}  // namespace ela

#endif  // ELA_MODEL_IMAGE_DECODE_H_
