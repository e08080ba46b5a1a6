#include "model/image/jpeg.h"

#include <turbojpeg.h>

#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "model/image/exif.h"
#include "model/status_macros.h"

namespace ela {
namespace {

// Each scan is a pass over the whole picture, and a few bytes are enough for one: without a limit a
// picture of 15 MB holds a decoder for a minute. Encoders write about ten.
constexpr int64_t kMaxScansOfLargest = 16;  // as many for a picture of max_pixels, more for less

absl::Status CheckScans(int64_t num_scans, const ImageHeader& header, const ImageLimits& limits) {
  const int64_t num_pixels = int64_t{1} * header.width * header.height;
  const int64_t most = kMaxScansOfLargest * limits.max_pixels / num_pixels;
  if (num_scans <= most) return absl::OkStatus();
  return MakeImageError(ImageError::kUnsupported,
                        absl::StrCat("the JPEG has ", num_scans, " scans, of ", header.width, " x ",
                                     header.height, " pixels the most allowed are ", most));
}

struct Destroy {
  void operator()(void* handle) const { tjDestroy(handle); }
};
using Handle = std::unique_ptr<std::remove_pointer_t<tjhandle>, Destroy>;

absl::Status DecoderError(tjhandle handle) {
  const std::string message = tjGetErrorStr2(handle);
  if (absl::StrContains(message, "Premature end")) {
    return MakeImageError(ImageError::kTruncated, absl::StrCat("the JPEG is cut short: ", message));
  }
  if (absl::StrContains(message, "Unsupported") || absl::StrContains(message, "not supported")) {
    return MakeImageError(ImageError::kUnsupported,
                          absl::StrCat("this kind of JPEG is not read here: ", message));
  }
  return MakeImageError(ImageError::kDamaged, absl::StrCat("the JPEG is damaged: ", message));
}

struct Opened {
  Handle handle;
  ImageHeader header;
  int colorspace = 0;
  bool adobe = false;
};

absl::StatusOr<Opened> Open(absl::Span<const uint8_t> bytes, const ImageLimits& limits) {
  Opened opened;
  opened.handle.reset(tjInitDecompress());
  if (opened.handle == nullptr) return absl::ResourceExhaustedError("no memory for a JPEG decoder");
  int subsampling = 0;
  if (tjDecompressHeader3(opened.handle.get(), bytes.data(), bytes.size(), &opened.header.width,
                          &opened.header.height, &subsampling, &opened.colorspace) != 0) {
    return DecoderError(opened.handle.get());
  }
  ELA_RETURN_IF_ERROR(CheckImageSize(opened.header.width, opened.header.height, limits));
  const JpegMarkers markers = ReadJpegMarkers(bytes);
  ELA_RETURN_IF_ERROR(CheckScans(markers.num_scans, opened.header, limits));
  opened.header.format = ImageFormat::kJpeg;
  opened.header.orientation = markers.orientation;
  opened.adobe = markers.adobe;
  return opened;
}

// 1, 2, 4 or 8: the greatest reduction that leaves twice the wanted pixels along both sides.
int32_t Reduction(int32_t width, int32_t height, int32_t wanted_width, int32_t wanted_height) {
  if (wanted_width <= 0 || wanted_height <= 0) return 1;
  int32_t reduction = 8;
  while (reduction > 1 && (width / reduction < int64_t{2} * wanted_width ||
                           height / reduction < int64_t{2} * wanted_height)) {
    reduction /= 2;
  }
  return reduction;
}

// Ink on white paper, without a colour profile. `adobe`: 255 means no ink.
void CmykToRgb(const std::vector<uint8_t>& cmyk, bool adobe, std::vector<uint8_t>* rgb) {
  const uint8_t flip = adobe ? 0 : 255;
  uint8_t* to = rgb->data();
  for (size_t i = 0; i < cmyk.size(); i += 4, to += 3) {
    const uint32_t light = cmyk[i + 3] ^ flip;
    for (int c = 0; c < 3; ++c) {
      to[c] = static_cast<uint8_t>(((cmyk[i + c] ^ flip) * light + 127) / 255);
    }
  }
}

}  // namespace

absl::StatusOr<ImageHeader> ReadJpegHeader(absl::Span<const uint8_t> bytes,
                                           const ImageLimits& limits) {
  ELA_ASSIGN_OR_RETURN(const Opened opened, Open(bytes, limits));
  return opened.header;
}

absl::StatusOr<DecodedImage> DecodeJpeg(absl::Span<const uint8_t> bytes, const ImageLimits& limits,
                                        int32_t wanted_width, int32_t wanted_height) {
  ELA_ASSIGN_OR_RETURN(const Opened opened, Open(bytes, limits));
  const int32_t width = opened.header.width;
  const int32_t height = opened.header.height;
  const int32_t orientation = opened.header.orientation;
  const bool swaps = SwapsAxes(orientation);
  if (swaps) std::swap(wanted_width, wanted_height);
  const int32_t reduction = Reduction(width, height, wanted_width, wanted_height);

  Image image;  // as stored
  image.width = (width + reduction - 1) / reduction;
  image.height = (height + reduction - 1) / reduction;
  const size_t num_pixels = size_t{1} * image.width * image.height;
  image.pixels.resize(3 * num_pixels);
  const bool cmyk = opened.colorspace == TJCS_CMYK || opened.colorspace == TJCS_YCCK;
  std::vector<uint8_t> inks(cmyk ? 4 * num_pixels : 0);
  // LIMITSCANS: a progressive file can ask for thousands of passes over the same picture.
  if (tjDecompress2(opened.handle.get(), bytes.data(), bytes.size(),
                    cmyk ? inks.data() : image.pixels.data(), image.width, 0, image.height,
                    cmyk ? TJPF_CMYK : TJPF_RGB, TJFLAG_LIMITSCANS) != 0) {
    return DecoderError(opened.handle.get());
  }
  if (cmyk) CmykToRgb(inks, opened.adobe, &image.pixels);

  DecodedImage decoded;
  decoded.orientation = orientation;
  decoded.scale = 1.0 / reduction;
  decoded.source_width = swaps ? height : width;
  decoded.source_height = swaps ? width : height;
  decoded.image = Oriented(std::move(image), orientation);
  // A reduced picture's last column and row reach beyond the source. Where the orientation makes
  // them the first, the source starts inside that pixel.
  const double beyond_x = decoded.image.width - decoded.source_width * decoded.scale;
  const double beyond_y = decoded.image.height - decoded.source_height * decoded.scale;
  const bool mirrored_x =
      orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7;
  const bool mirrored_y =
      orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8;
  decoded.offset_x = mirrored_x ? beyond_x : 0;
  decoded.offset_y = mirrored_y ? beyond_y : 0;
  return decoded;
}

}  // namespace ela
