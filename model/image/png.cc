#include "model/image/png.h"

#include <spng.h>

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/image/exif.h"
#include "model/status_macros.h"

namespace ela {
namespace {

// Text, profiles and EXIF are inflated into memory: bounded, one chunk and all together.
constexpr size_t kMaxChunkBytes = 1 << 20;
constexpr size_t kMaxChunkCacheBytes = 4 << 20;

struct Free {
  void operator()(spng_ctx* context) const { spng_ctx_free(context); }
};
using Context = std::unique_ptr<spng_ctx, Free>;

absl::Status DecoderError(int error) {
  const bool cut = error == SPNG_EOF || error == SPNG_EIDAT_TOO_SHORT || error == SPNG_IO_EOF;
  return MakeImageError(
      cut ? ImageError::kTruncated : ImageError::kDamaged,
      absl::StrCat(cut ? "the PNG is cut short: " : "the PNG is damaged: ", spng_strerror(error)));
}

struct Opened {
  Context context;
  ImageHeader header;
  bool transparent = false;  // alpha channel or tRNS
};

absl::StatusOr<Opened> Open(absl::Span<const uint8_t> bytes, const ImageLimits& limits) {
  Opened opened;
  opened.context.reset(spng_ctx_new(0));
  if (opened.context == nullptr) return absl::ResourceExhaustedError("no memory for a PNG decoder");
  spng_ctx* context = opened.context.get();
  spng_set_chunk_limits(context, kMaxChunkBytes, kMaxChunkCacheBytes);
  if (const int error = spng_set_png_buffer(context, bytes.data(), bytes.size())) {
    return DecoderError(error);
  }
  spng_ihdr ihdr;
  if (const int error = spng_get_ihdr(context, &ihdr)) return DecoderError(error);
  ELA_RETURN_IF_ERROR(CheckImageSize(ihdr.width, ihdr.height, limits));
  // Reads the chunks up to the picture data, so that damage there is told as damage.
  spng_trns trns;
  const int trns_error = spng_get_trns(context, &trns);
  if (trns_error != 0 && trns_error != SPNG_ECHUNKAVAIL) return DecoderError(trns_error);
  opened.transparent = trns_error == 0 || ihdr.color_type == SPNG_COLOR_TYPE_GRAYSCALE_ALPHA ||
                       ihdr.color_type == SPNG_COLOR_TYPE_TRUECOLOR_ALPHA;
  opened.header.format = ImageFormat::kPng;
  opened.header.width = static_cast<int32_t>(ihdr.width);
  opened.header.height = static_cast<int32_t>(ihdr.height);
  spng_exif exif;
  if (spng_get_exif(context, &exif) == 0) {
    opened.header.orientation =
        ExifOrientation({reinterpret_cast<const uint8_t*>(exif.data), exif.length});
  }
  return opened;
}

void BlendOntoWhite(const std::vector<uint8_t>& rgba, std::vector<uint8_t>* rgb) {
  uint8_t* to = rgb->data();
  for (size_t i = 0; i < rgba.size(); i += 4, to += 3) {
    const uint32_t alpha = rgba[i + 3];
    for (int c = 0; c < 3; ++c) {
      to[c] = static_cast<uint8_t>((rgba[i + c] * alpha + 255 * (255 - alpha) + 127) / 255);
    }
  }
}

}  // namespace

absl::StatusOr<ImageHeader> ReadPngHeader(absl::Span<const uint8_t> bytes,
                                          const ImageLimits& limits) {
  ELA_ASSIGN_OR_RETURN(const Opened opened, Open(bytes, limits));
  return opened.header;
}

absl::StatusOr<DecodedImage> DecodePng(absl::Span<const uint8_t> bytes, const ImageLimits& limits) {
  ELA_ASSIGN_OR_RETURN(const Opened opened, Open(bytes, limits));
  Image image;
  image.width = opened.header.width;
  image.height = opened.header.height;
  const size_t num_pixels = size_t{1} * image.width * image.height;
  std::vector<uint8_t> pixels((opened.transparent ? 4 : 3) * num_pixels);
  const int format = opened.transparent ? SPNG_FMT_RGBA8 : SPNG_FMT_RGB8;
  if (const int error = spng_decode_image(opened.context.get(), pixels.data(), pixels.size(),
                                          format, opened.transparent ? SPNG_DECODE_TRNS : 0)) {
    return DecoderError(error);
  }
  // Up to the end chunk: a file that lacks it was cut, even if all pixels happen to be there.
  if (const int error = spng_decode_chunks(opened.context.get())) return DecoderError(error);
  if (opened.transparent) {
    image.pixels.resize(3 * num_pixels);
    BlendOntoWhite(pixels, &image.pixels);
  } else {
    image.pixels = std::move(pixels);
  }

  DecodedImage decoded;
  decoded.orientation = opened.header.orientation;
  decoded.image = Oriented(std::move(image), decoded.orientation);
  decoded.source_width = decoded.image.width;
  decoded.source_height = decoded.image.height;
  return decoded;
}

}  // namespace ela
