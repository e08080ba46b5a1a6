#include "model/image/exif.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>

namespace ela {
namespace {

constexpr uint16_t kOrientationTag = 0x0112;
constexpr uint16_t kShort = 3;

// Reads integers in the block's own byte order; past the end they are 0.
class TiffReader {
 public:
  TiffReader(absl::Span<const uint8_t> bytes, bool little) : bytes_(bytes), little_(little) {}
  uint32_t Read(size_t at, int size) const {
    if (at > bytes_.size() || bytes_.size() - at < static_cast<size_t>(size)) return 0;
    uint32_t value = 0;
    for (int i = 0; i < size; ++i) value = value << 8 | bytes_[at + (little_ ? size - 1 - i : i)];
    return value;
  }

 private:
  const absl::Span<const uint8_t> bytes_;
  const bool little_;
};

// Start-of-scan markers. Entropy-coded data holds none; a decoder that resynchronizes in damage
// finds no others.
int64_t CountScans(absl::Span<const uint8_t> bytes) {
  int64_t count = 0;
  for (size_t i = 1; i < bytes.size(); ++i) count += bytes[i - 1] == 0xFF && bytes[i] == 0xDA;
  return count;
}

}  // namespace

int32_t ExifOrientation(absl::Span<const uint8_t> tiff) {
  if (tiff.size() < 8) return 1;
  const bool little = tiff[0] == 'I' && tiff[1] == 'I';
  if (!little && !(tiff[0] == 'M' && tiff[1] == 'M')) return 1;
  const TiffReader reader(tiff, little);
  if (reader.Read(2, 2) != 42) return 1;
  const size_t directory = reader.Read(4, 4);
  const uint32_t num_entries = reader.Read(directory, 2);
  for (uint32_t i = 0; i < num_entries; ++i) {
    const size_t entry = directory + 2 + size_t{12} * i;
    if (entry + 12 > tiff.size()) return 1;
    if (reader.Read(entry, 2) != kOrientationTag) continue;
    const uint32_t value = reader.Read(entry + 8, 2);
    const bool valid = reader.Read(entry + 2, 2) == kShort && value >= 1 && value <= 8;
    return valid ? static_cast<int32_t>(value) : 1;
  }
  return 1;
}

JpegMarkers ReadJpegMarkers(absl::Span<const uint8_t> bytes) {
  JpegMarkers markers;
  bool exif_seen = false;
  size_t at = 2;  // after SOI
  while (at + 4 <= bytes.size() && bytes[at] == 0xFF) {
    const uint8_t marker = bytes[at + 1];
    if (marker == 0xFF) {  // fill byte
      ++at;
      continue;
    }
    if (marker == 0xDA || marker == 0xD9) break;  // scan, end
    if (marker == 0x01 || (marker >= 0xD0 && marker <= 0xD8)) {
      at += 2;  // markers without a length
      continue;
    }
    const size_t length = size_t{bytes[at + 2]} << 8 | bytes[at + 3];
    if (length < 2 || length > bytes.size() - at - 2) break;
    const absl::Span<const uint8_t> payload = bytes.subspan(at + 4, length - 2);
    if (marker == 0xE1 && !exif_seen && payload.size() > 6 &&
        std::memcmp(payload.data(), "Exif\0\0", 6) == 0) {
      exif_seen = true;
      markers.orientation = ExifOrientation(payload.subspan(6));
    }
    if (marker == 0xEE && payload.size() >= 12 && std::memcmp(payload.data(), "Adobe", 5) == 0) {
      markers.adobe = true;
    }
    at += 2 + length;
  }
  markers.num_scans = CountScans(bytes.subspan(std::min(at, bytes.size())));
  return markers;
}

Image Oriented(Image image, int32_t orientation) {
  if (orientation <= 1 || orientation > 8) return image;
  const int32_t stored_width = image.width;
  const int32_t stored_height = image.height;
  Image out;
  out.width = SwapsAxes(orientation) ? stored_height : stored_width;
  out.height = SwapsAxes(orientation) ? stored_width : stored_height;
  out.pixels.resize(image.pixels.size());
  // Where the oriented picture's first pixel lies in the stored one, and what a step right and a
  // step down mean there, in stored pixels.
  const bool from_right =
      orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool from_bottom =
      orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  const ptrdiff_t row = stored_width;
  const ptrdiff_t along = from_right ? -1 : 1;
  const ptrdiff_t across = from_bottom ? -row : row;
  const ptrdiff_t right = SwapsAxes(orientation) ? across : along;
  const ptrdiff_t down = SwapsAxes(orientation) ? along : across;
  const ptrdiff_t origin =
      (from_right ? stored_width - 1 : 0) + (from_bottom ? (stored_height - 1) * row : 0);
  uint8_t* to = out.pixels.data();
  for (ptrdiff_t y = 0; y < out.height; ++y) {
    for (ptrdiff_t x = 0; x < out.width; ++x, to += 3) {
      std::memcpy(to, image.pixels.data() + 3 * (origin + x * right + y * down), 3);
    }
  }
  return out;
}

}  // namespace ela
