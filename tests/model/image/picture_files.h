// Makes the picture files that the tests need, by the same libraries and by hand.
#ifndef ELA_TESTS_MODEL_IMAGE_PICTURE_FILES_H_
#define ELA_TESTS_MODEL_IMAGE_PICTURE_FILES_H_

#include <spng.h>
#include <turbojpeg.h>

#include <cstdint>
#include <cstdlib>
#include <vector>

#include "gtest/gtest.h"
#include "model/image/image.h"

namespace ela {

using Bytes = std::vector<uint8_t>;

// Smooth, different in every corner: survives JPEG within a few grey levels.
inline Image Gradient(int32_t width, int32_t height) {
  Image image{width, height, Bytes(size_t{3} * width * height)};
  for (int32_t y = 0; y < height; ++y) {
    for (int32_t x = 0; x < width; ++x) {
      uint8_t* pixel = &image.pixels[3 * (size_t{1} * y * width + x)];
      pixel[0] = static_cast<uint8_t>(40 + 180 * x / width);
      pixel[1] = static_cast<uint8_t>(40 + 180 * y / height);
      pixel[2] = 90;
    }
  }
  return image;
}

// `pixels` in the layout of `format` (TJPF_…), stored as `subsampling` (TJSAMP_…).
inline Bytes JpegOf(const Bytes& pixels, int width, int height, int format, int subsampling,
                    int flags = 0) {
  tjhandle handle = tjInitCompress();
  unsigned char* buffer = nullptr;
  unsigned long size = 0;  // NOLINT: libturbojpeg's type
  EXPECT_EQ(tjCompress2(handle, pixels.data(), width, 0, height, format, &buffer, &size,
                        subsampling, 95, flags),
            0)
      << tjGetErrorStr2(handle);
  Bytes bytes(buffer, buffer + size);
  tjFree(buffer);
  tjDestroy(handle);
  return bytes;
}

inline Bytes JpegOf(const Image& image) {
  return JpegOf(image.pixels, image.width, image.height, TJPF_RGB, TJSAMP_444);
}

// An EXIF segment with nothing but the orientation, put behind the JPEG's first marker.
inline Bytes WithExif(const Bytes& jpeg, uint8_t orientation, bool little = true) {
  const Bytes big_tiff = {'M', 'M', 0, 42, 0, 0, 0,           8, 0, 1, 1, 0x12, 0,
                          3,   0,   0, 0,  1, 0, orientation, 0, 0, 0, 0, 0,    0};
  const Bytes little_tiff = {'I', 'I', 42, 0, 8, 0,           0, 0, 1, 0, 0x12, 1, 3,
                             0,   1,   0,  0, 0, orientation, 0, 0, 0, 0, 0,    0, 0};
  const Bytes& tiff = little ? little_tiff : big_tiff;
  Bytes bytes(jpeg.begin(), jpeg.begin() + 2);
  const size_t length = 2 + 6 + tiff.size();
  for (size_t byte : {size_t{0xFF}, size_t{0xE1}, length >> 8, length & 255}) {
    bytes.push_back(static_cast<uint8_t>(byte));
  }
  for (char letter : {'E', 'x', 'i', 'f', '\0', '\0'}) bytes.push_back(letter);
  bytes.insert(bytes.end(), tiff.begin(), tiff.end());
  bytes.insert(bytes.end(), jpeg.begin() + 2, jpeg.end());
  return bytes;
}

// `pixels` rows as PNG stores them (16-bit samples in the machine's order). `palette`, `exif`: may
// be null.
inline Bytes PngOf(const Bytes& pixels, uint32_t width, uint32_t height, uint8_t color_type,
                   uint8_t bit_depth, spng_plte* palette = nullptr, spng_exif* exif = nullptr) {
  spng_ctx* context = spng_ctx_new(SPNG_CTX_ENCODER);
  spng_set_option(context, SPNG_ENCODE_TO_BUFFER, 1);
  spng_ihdr ihdr = {};
  ihdr.width = width;
  ihdr.height = height;
  ihdr.color_type = color_type;
  ihdr.bit_depth = bit_depth;
  EXPECT_EQ(spng_set_ihdr(context, &ihdr), 0);
  EXPECT_TRUE(palette == nullptr || spng_set_plte(context, palette) == 0);
  EXPECT_TRUE(exif == nullptr || spng_set_exif(context, exif) == 0);
  int error =
      spng_encode_image(context, pixels.data(), pixels.size(), SPNG_FMT_PNG, SPNG_ENCODE_FINALIZE);
  EXPECT_EQ(error, 0) << spng_strerror(error);
  size_t size = 0;
  void* buffer = spng_get_png_buffer(context, &size, &error);
  Bytes bytes(static_cast<uint8_t*>(buffer), static_cast<uint8_t*>(buffer) + size);
  std::free(buffer);
  spng_ctx_free(context);
  return bytes;
}

inline Bytes PngOf(const Image& image) {
  return PngOf(image.pixels, image.width, image.height, SPNG_COLOR_TYPE_TRUECOLOR, 8);
}

}  // namespace ela

#endif  // ELA_TESTS_MODEL_IMAGE_PICTURE_FILES_H_
