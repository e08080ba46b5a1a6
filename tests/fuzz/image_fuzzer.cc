// libFuzzer target of both picture paths. The first byte chooses: JPEG or PNG as they are, each
// with its signature put in front (so that most inputs get past it), or raw pixels. Built by Clang;
// see CMakeLists.txt here.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "model/image/decode.h"
#include "model/image/fit.h"

namespace {

using Bytes = std::vector<uint8_t>;

void Check(bool holds) {
  if (!holds) std::abort();
}

// Whatever was decoded is whole, and can be fitted.
void Use(const absl::StatusOr<ela::DecodedImage>& decoded) {
  if (!decoded.ok()) {
    Check(ela::ImageErrorOf(decoded.status()) != ela::ImageError::kNone);
    return;
  }
  const ela::Image& image = decoded->image;
  Check(image.pixels.size() == size_t{3} * image.width * image.height);
  Check(decoded->orientation >= 1 && decoded->orientation <= 8);
  const ela::Placement placement = ela::PlaceInInput(decoded->source_width, decoded->source_height,
                                                     32, 32, ela::FitMode::kLetterbox);
  static Bytes input(3 * 32 * 32);
  ela::FitImage(*decoded, placement, absl::MakeSpan(input));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  ela::ImageLimits limits;
  limits.max_pixels = 1 << 18;  // keeps one run short
  limits.max_bytes = 1 << 16;
  Bytes bytes;
  if (data[0] % 4 == 1) bytes = {0xFF, 0xD8, 0xFF};
  if (data[0] % 4 == 2) bytes = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};
  if (data[0] % 4 == 3) {
    if (size < 5) return 0;
    ela::RawImage raw;
    raw.format = static_cast<ela::PixelFormat>(data[1] % 3);
    raw.width = data[2];
    raw.height = data[3];
    raw.stride = static_cast<int8_t>(data[4]) * int64_t{7};
    raw.bytes = {data + 5, size - 5};
    Use(ela::DecodeRawImage(raw, limits));
    return 0;
  }
  bytes.insert(bytes.end(), data + 1, data + size);
  const bool header_ok = ela::ReadImageHeader(bytes, limits).ok();
  const int32_t wanted = data[0] & 0x80 ? 8 : 0;
  const absl::StatusOr<ela::DecodedImage> decoded = ela::DecodeImage(bytes, limits, wanted, wanted);
  Check(header_ok || !decoded.ok());
  Use(decoded);
  return 0;
}
