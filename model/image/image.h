// A decoded picture, what is known of it before decoding, and the limits that are checked in
// between.
#ifndef ELA_MODEL_IMAGE_IMAGE_H_
#define ELA_MODEL_IMAGE_IMAGE_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace ela {

// 8-bit RGB, rows packed: pixels has 3 * width * height bytes.
struct Image {
  int32_t width = 0;
  int32_t height = 0;
  std::vector<uint8_t> pixels;
};

enum class ImageFormat : uint8_t { kJpeg, kPng, kRaw };

// Of the stored picture, before its orientation is applied.
struct ImageHeader {
  ImageFormat format = ImageFormat::kJpeg;
  int32_t width = 0;
  int32_t height = 0;
  int32_t orientation = 1;  // EXIF, [1, 8]; 1: as stored
};

// All are checked from the header, before anything of the picture's size is allocated. A picture at
// the pixel limit needs about 4 bytes per pixel for a PNG, 3 for a baseline JPEG and 9 for a
// progressive one; the oriented copy needs 3 more while it is made.
struct ImageLimits {
  int64_t max_bytes = 16 << 20;  // compressed, or raw
  int32_t max_width = 16384;     // as stored
  int32_t max_height = 16384;
  int64_t max_pixels = 40'000'000;
};

// A picture in the orientation in which people look at it. With a scaled JPEG the pixels are fewer
// than the source has: source coordinate x lies at x * scale + offset_x of `image`, y likewise.
struct DecodedImage {
  Image image;
  int32_t source_width = 0;  // oriented, full size: the pixels that boxes are reported in
  int32_t source_height = 0;
  int32_t orientation = 1;  // that was applied
  double scale = 1;         // 1, 1/2, 1/4 or 1/8
  double offset_x = 0;      // [0, 1): the part of an edge pixel that lies outside the source
  double offset_y = 0;
};

// Why a picture was refused, one word for metrics. All such errors are kInvalidArgument.
enum class ImageError : uint8_t {
  kNone,   // not an error of this folder
  kEmpty,  // no bytes
  kTooManyBytes,
  kTooLarge,     // width, height or pixels over a limit, or zero
  kUnknown,      // not JPEG or PNG
  kUnsupported,  // a known format, or a kind of JPEG or PNG, that is not read here
  kTruncated,    // ends too early
  kDamaged,
  kRawMismatch,  // raw size or stride does not fit the bytes
};
absl::string_view ImageErrorName(ImageError error);  // "too_large"

absl::Status MakeImageError(ImageError error, absl::string_view message);
ImageError ImageErrorOf(const absl::Status& status);

// kTooManyBytes, kEmpty; kTooLarge. The messages name value and limit.
absl::Status CheckImageBytes(int64_t num_bytes, const ImageLimits& limits);
absl::Status CheckImageSize(int64_t width, int64_t height, const ImageLimits& limits);

}  // namespace ela

#endif  // ELA_MODEL_IMAGE_IMAGE_H_
