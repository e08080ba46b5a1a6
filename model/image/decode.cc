#include "model/image/decode.h"

#include <cstring>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "model/image/jpeg.h"
#include "model/image/png.h"
#include "model/status_macros.h"

namespace ela {
namespace {

absl::string_view AsText(absl::Span<const uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The name of a format that people do send and that is not read here; empty: none of them.
absl::string_view ForeignFormat(absl::string_view text) {
  if (absl::StartsWith(text, "GIF8")) return "GIF";
  if (absl::StartsWith(text, "BM")) return "BMP";
  if (absl::StartsWith(text, absl::string_view("II*\0", 4)) ||
      absl::StartsWith(text, absl::string_view("MM\0*", 4))) {
    return "TIFF";
  }
  if (absl::StartsWith(text, "RIFF") && text.size() >= 12 && text.substr(8, 4) == "WEBP") {
    return "WebP";
  }
  if (text.size() >= 12 && text.substr(4, 4) == "ftyp") {
    const absl::string_view brand = text.substr(8, 4);
    if (brand == "avif" || brand == "avis") return "AVIF";
    if (brand == "heic" || brand == "heix" || brand == "mif1") return "HEIC";
  }
  if (absl::StartsWith(text, "%PDF")) return "PDF";
  return "";
}

absl::StatusOr<ImageFormat> FormatOf(absl::Span<const uint8_t> bytes) {
  const absl::string_view text = AsText(bytes);
  constexpr absl::string_view kJpegStart = "\xFF\xD8\xFF";
  constexpr absl::string_view kPngStart = "\x89PNG\r\n\x1A\n";
  if (absl::StartsWith(text, kJpegStart)) return ImageFormat::kJpeg;
  if (absl::StartsWith(text, kPngStart)) return ImageFormat::kPng;
  if (absl::StartsWith(kJpegStart, text) || absl::StartsWith(kPngStart, text)) {
    return MakeImageError(ImageError::kTruncated,
                          absl::StrCat("the image ends after ", bytes.size(), " bytes"));
  }
  const absl::string_view foreign = ForeignFormat(text);
  if (!foreign.empty()) {
    return MakeImageError(ImageError::kUnsupported,
                          absl::StrCat("the image is ", foreign, "; JPEG and PNG are read here"));
  }
  return MakeImageError(
      ImageError::kUnknown,
      absl::StrCat("the ", bytes.size(), " bytes are not an image: they start with 0x",
                   absl::BytesToHexString(text.substr(0, 8)), ", neither JPEG nor PNG"));
}

int64_t BytesPerPixel(PixelFormat format) { return format == PixelFormat::kGray8 ? 1 : 3; }

}  // namespace

absl::StatusOr<ImageHeader> ReadImageHeader(absl::Span<const uint8_t> bytes,
                                            const ImageLimits& limits) {
  ELA_RETURN_IF_ERROR(CheckImageBytes(bytes.size(), limits));
  ELA_ASSIGN_OR_RETURN(const ImageFormat format, FormatOf(bytes));
  return format == ImageFormat::kJpeg ? ReadJpegHeader(bytes, limits)
                                      : ReadPngHeader(bytes, limits);
}

absl::StatusOr<DecodedImage> DecodeImage(absl::Span<const uint8_t> bytes, const ImageLimits& limits,
                                         int32_t wanted_width, int32_t wanted_height) {
  ELA_RETURN_IF_ERROR(CheckImageBytes(bytes.size(), limits));
  ELA_ASSIGN_OR_RETURN(const ImageFormat format, FormatOf(bytes));
  return format == ImageFormat::kJpeg ? DecodeJpeg(bytes, limits, wanted_width, wanted_height)
                                      : DecodePng(bytes, limits);
}

absl::StatusOr<DecodedImage> DecodeRawImage(const RawImage& raw, const ImageLimits& limits) {
  ELA_RETURN_IF_ERROR(CheckImageSize(raw.width, raw.height, limits));
  const int64_t row_bytes = raw.width * BytesPerPixel(raw.format);
  const int64_t stride = raw.stride == 0 ? row_bytes : raw.stride;
  const auto refuse = [](absl::string_view why) {
    return MakeImageError(ImageError::kRawMismatch, why);
  };
  if (stride < row_bytes) {
    return refuse(absl::StrCat("the stride is ", raw.stride, " bytes, a row of ", raw.width,
                               " pixels needs ", row_bytes));
  }
  // The limit on bytes bounds the stride, so that nothing below can overflow.
  if (stride > limits.max_bytes) {
    return refuse(absl::StrCat("the stride is ", stride, " bytes, the limit of a whole image is ",
                               limits.max_bytes));
  }
  const int64_t least = stride * (raw.height - 1) + row_bytes;
  const int64_t most = stride * raw.height;
  const int64_t given = raw.bytes.size();
  if (given < least || given > most) {
    return refuse(absl::StrCat("the raw image has ", given, " bytes; ", raw.width, " x ",
                               raw.height, " pixels with a stride of ", stride, " need ", most));
  }
  ELA_RETURN_IF_ERROR(CheckImageBytes(given, limits));

  DecodedImage decoded;
  decoded.source_width = decoded.image.width = static_cast<int32_t>(raw.width);
  decoded.source_height = decoded.image.height = static_cast<int32_t>(raw.height);
  decoded.orientation = 1;
  decoded.image.pixels.resize(3 * raw.width * raw.height);
  uint8_t* to = decoded.image.pixels.data();
  for (int64_t y = 0; y < raw.height; ++y) {
    const uint8_t* from = raw.bytes.data() + y * stride;
    switch (raw.format) {
      case PixelFormat::kRgb8:
        std::memcpy(to, from, row_bytes);
        to += row_bytes;
        break;
      case PixelFormat::kBgr8:
        for (int64_t x = 0; x < raw.width; ++x, from += 3, to += 3) {
          to[0] = from[2];
          to[1] = from[1];
          to[2] = from[0];
        }
        break;
      case PixelFormat::kGray8:
        for (int64_t x = 0; x < raw.width; ++x, to += 3) to[0] = to[1] = to[2] = from[x];
        break;
    }
  }
  return decoded;
}

}  // namespace ela
