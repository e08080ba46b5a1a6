#include "model/image/decode.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <string>

#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/image/exif.h"
#include "tests/model/image/picture_files.h"

namespace ela {
namespace {

using ::testing::HasSubstr;

int MaxDifference(const Image& a, const Image& b) {
  EXPECT_EQ(a.width, b.width);
  EXPECT_EQ(a.height, b.height);
  if (a.pixels.size() != b.pixels.size()) return 256;
  int most = 0;
  for (size_t i = 0; i < a.pixels.size(); ++i) {
    most = std::max(most, std::abs(int{a.pixels[i]} - int{b.pixels[i]}));
  }
  return most;
}

DecodedImage Decoded(const Bytes& bytes, int32_t width = 0, int32_t height = 0) {
  absl::StatusOr<DecodedImage> decoded = DecodeImage(bytes, ImageLimits(), width, height);
  EXPECT_TRUE(decoded.ok()) << decoded.status();
  return decoded.ok() ? *std::move(decoded) : DecodedImage();
}

void ExpectRefused(const Bytes& bytes, ImageError error, const std::string& sentence,
                   const ImageLimits& limits = ImageLimits()) {
  const absl::Status status = DecodeImage(bytes, limits).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_EQ(ImageErrorName(ImageErrorOf(status)), ImageErrorName(error)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(sentence));
}

TEST(DecodeTest, PngIsExactAndJpegIsClose) {
  const Image image = Gradient(37, 23);
  EXPECT_EQ(Decoded(PngOf(image)).image.pixels, image.pixels);
  EXPECT_LE(MaxDifference(Decoded(JpegOf(image)).image, image), 4);
  const Bytes progressive = JpegOf(image.pixels, 37, 23, TJPF_RGB, TJSAMP_420, TJFLAG_PROGRESSIVE);
  EXPECT_LE(MaxDifference(Decoded(progressive).image, image), 24);
}

TEST(DecodeTest, HeaderTellsSizeWithoutDecoding) {
  const Bytes jpeg = WithExif(JpegOf(Gradient(60, 40)), 6);
  const auto header = ReadImageHeader(jpeg, ImageLimits());
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->width, 60);
  EXPECT_EQ(header->height, 40);
  EXPECT_EQ(header->orientation, 6);
  const auto png = ReadImageHeader(PngOf(Gradient(7, 9)), ImageLimits());
  ASSERT_TRUE(png.ok()) << png.status();
  EXPECT_EQ(png->format, ImageFormat::kPng);
  EXPECT_EQ(png->height, 9);
}

TEST(DecodeTest, GreyCmykAlphaPaletteAndSixteenBitBecomeRgb) {
  const Bytes grey(16 * 16, 77);
  for (const Bytes& file : {JpegOf(grey, 16, 16, TJPF_GRAY, TJSAMP_GRAY),
                            PngOf(grey, 16, 16, SPNG_COLOR_TYPE_GRAYSCALE, 8)}) {
    for (uint8_t value : Decoded(file).image.pixels) EXPECT_NEAR(value, 77, 2);
  }
  // libturbojpeg writes CMYK with an Adobe segment: 255 is no ink.
  Bytes inks;
  for (int i = 0; i < 256; ++i) inks.insert(inks.end(), {200, 100, 50, 255});
  const Image cmyk = Decoded(JpegOf(inks, 16, 16, TJPF_CMYK, TJSAMP_444)).image;
  EXPECT_NEAR(cmyk.pixels[0], 200, 3);
  EXPECT_NEAR(cmyk.pixels[1], 100, 3);
  EXPECT_NEAR(cmyk.pixels[2], 50, 3);
  // Half transparent black on white; fully transparent red is white.
  const Bytes alpha = {0, 0, 0, 128, 255, 0, 0, 0};
  EXPECT_EQ(Decoded(PngOf(alpha, 2, 1, SPNG_COLOR_TYPE_TRUECOLOR_ALPHA, 8)).image.pixels,
            (Bytes{127, 127, 127, 255, 255, 255}));
  const Bytes grey_alpha = {10, 255, 10, 0};
  EXPECT_EQ(Decoded(PngOf(grey_alpha, 2, 1, SPNG_COLOR_TYPE_GRAYSCALE_ALPHA, 8)).image.pixels,
            (Bytes{10, 10, 10, 255, 255, 255}));
  const Bytes deep = {0xFF, 0x12, 0xFF, 0x34, 0xFF, 0x56};  // little-endian samples
  EXPECT_EQ(Decoded(PngOf(deep, 1, 1, SPNG_COLOR_TYPE_TRUECOLOR, 16)).image.pixels,
            (Bytes{0x12, 0x34, 0x56}));
  spng_plte palette = {};
  palette.n_entries = 2;
  palette.entries[1] = {9, 8, 7, 0};
  EXPECT_EQ(Decoded(PngOf({0b01000000}, 2, 1, SPNG_COLOR_TYPE_INDEXED, 1, &palette)).image.pixels,
            (Bytes{0, 0, 0, 9, 8, 7}));
}

// Where EXIF says each stored pixel of a 3 x 2 picture belongs; letters name the stored pixels.
TEST(DecodeTest, OrientationMovesPixelsAsExifSays) {
  const std::string stored = "abcdef";
  const struct {
    int orientation, width;
    std::string seen;
  } cases[] = {{1, 3, "abcdef"}, {2, 3, "cbafed"}, {3, 3, "fedcba"}, {4, 3, "defabc"},
               {5, 2, "adbecf"}, {6, 2, "daebfc"}, {7, 2, "fcebda"}, {8, 2, "cfbead"}};
  for (const auto& c : cases) {
    Image image{3, 2, {}};
    for (char letter : stored) image.pixels.insert(image.pixels.end(), 3, letter);
    const Image oriented = Oriented(image, c.orientation);
    std::string seen;
    for (size_t i = 0; i < oriented.pixels.size(); i += 3) seen += oriented.pixels[i];
    EXPECT_EQ(seen, c.seen) << c.orientation;
    EXPECT_EQ(oriented.width, c.width) << c.orientation;
  }
}

TEST(DecodeTest, OrientationOfJpegAndPngIsApplied) {
  const Image image = Gradient(48, 32);
  for (uint8_t orientation = 1; orientation <= 8; ++orientation) {
    const Image expected = Oriented(image, orientation);
    for (bool little : {true, false}) {
      const DecodedImage jpeg = Decoded(WithExif(JpegOf(image), orientation, little));
      EXPECT_EQ(jpeg.orientation, orientation);
      EXPECT_EQ(jpeg.source_width, expected.width);
      EXPECT_LE(MaxDifference(jpeg.image, expected), 4);
    }
    char tiff[] = {'M', 'M',  0, 42, 0, 0, 0, 8, 0, 1,
                   1,   0x12, 0, 3,  0, 0, 0, 1, 0, static_cast<char>(orientation),
                   0,   0,    0, 0,  0, 0};
    spng_exif exif = {sizeof(tiff), tiff};
    const Bytes png = PngOf(image.pixels, 48, 32, SPNG_COLOR_TYPE_TRUECOLOR, 8, nullptr, &exif);
    EXPECT_EQ(Decoded(png).image.pixels, expected.pixels) << int{orientation};
  }
  EXPECT_EQ(Decoded(WithExif(JpegOf(image), 9)).orientation, 1) << "out of range: as stored";
}

TEST(DecodeTest, ScaledDecodingKeepsTwiceTheWantedPixelsAndTheCoordinates) {
  const Image image = Gradient(803, 601);
  const Bytes file = JpegOf(image);
  EXPECT_EQ(Decoded(file, 320, 240).scale, 1);
  EXPECT_EQ(Decoded(file, 200, 150).scale, 0.5);
  EXPECT_EQ(Decoded(file, 100, 75).scale, 0.25);
  EXPECT_EQ(Decoded(file, 10, 10).scale, 0.125);
  for (uint8_t orientation = 1; orientation <= 8; ++orientation) {
    const Bytes turned = WithExif(file, orientation);
    const DecodedImage full = Decoded(turned);
    const DecodedImage part = Decoded(turned, 35, 35);
    ASSERT_EQ(part.scale, 0.125);
    EXPECT_EQ(part.source_width, full.source_width);
    // A colour that changes by 180 over 803 pixels tells the place to within a few pixels.
    for (int32_t x = 5; x < part.image.width - 5; x += 17) {
      const double source_x = (x + 0.5 - part.offset_x) / part.scale;
      const double source_y = (20.5 - part.offset_y) / part.scale;
      const size_t i =
          3 * (static_cast<size_t>(source_y) * full.image.width + static_cast<size_t>(source_x));
      for (size_t c = 0; c < 2; ++c) {
        EXPECT_NEAR(part.image.pixels[3 * (size_t{20} * part.image.width + x) + c],
                    full.image.pixels[i + c], 3)
            << int{orientation} << " at " << x;
      }
    }
  }
}

TEST(DecodeTest, WhatIsNoPictureIsNamed) {
  ExpectRefused({}, ImageError::kEmpty, "0 bytes");
  ExpectRefused({'h', 'e', 'l', 'l', 'o'}, ImageError::kUnknown, "not an image");
  ExpectRefused({'G', 'I', 'F', '8', '9', 'a'}, ImageError::kUnsupported, "GIF");
  ExpectRefused({0xFF, 0xD8}, ImageError::kTruncated, "2 bytes");
  ImageLimits limits;
  limits.max_bytes = 100;
  ExpectRefused(PngOf(Gradient(64, 64)), ImageError::kTooManyBytes, "the limit is 100", limits);
}

TEST(DecodeTest, EveryTruncationIsAnError) {
  for (const Bytes& file : {JpegOf(Gradient(40, 30)), PngOf(Gradient(40, 30))}) {
    // The last four bytes of a PNG are the checksum of an empty chunk: nothing is missing then.
    for (size_t size = 0; size + 4 < file.size(); ++size) {
      const absl::Status status =
          DecodeImage(absl::MakeConstSpan(file.data(), size), ImageLimits()).status();
      ASSERT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << size << " of " << file.size();
      ASSERT_NE(ImageErrorOf(status), ImageError::kNone);
    }
  }
}

TEST(DecodeTest, HugeClaimsAreRefusedFromTheHeader) {
  Bytes png = PngOf(Gradient(8, 8));
  for (size_t at : {size_t{16}, size_t{20}}) {  // width, height: 60,000
    png[at + 2] = 0xEA;
    png[at + 3] = 0x60;
  }
  // IHDR's checksum for 60,000 x 60,000, 8-bit RGB.
  uint32_t crc = 0xFFFFFFFF;
  for (size_t i = 12; i < 29; ++i) {
    crc ^= png[i];
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
  }
  for (int i = 0; i < 4; ++i) png[29 + i] = static_cast<uint8_t>(~crc >> (24 - 8 * i));
  ExpectRefused(png, ImageError::kTooLarge, "60000 x 60000");

  Bytes jpeg = JpegOf(Gradient(8, 8));
  for (size_t i = 2; i + 8 < jpeg.size(); ++i) {
    if (jpeg[i] != 0xFF || jpeg[i + 1] != 0xC0) continue;
    for (size_t at : {i + 5, i + 7}) {
      jpeg[at] = 0xEA;
      jpeg[at + 1] = 0x60;
    }
    break;
  }
  ExpectRefused(jpeg, ImageError::kTooLarge, "60000 x 60000");
}

// A scan of a few bytes costs a pass over all pixels: the header says no before the first one.
TEST(DecodeTest, ScansThatRepeatThemselvesAreRefusedFromTheHeader) {
  const Image image = Gradient(64, 64);
  const Bytes jpeg = JpegOf(image.pixels, 64, 64, TJPF_RGB, TJSAMP_444, TJFLAG_PROGRESSIVE);
  ImageLimits limits;
  limits.max_pixels = 64 * 64;
  ASSERT_TRUE(DecodeImage(jpeg, limits).ok());
  const Bytes marker = {0xFF, 0xDA};
  const auto last = std::find_end(jpeg.begin(), jpeg.end(), marker.begin(), marker.end());
  Bytes bomb(jpeg.begin(), jpeg.end() - 2);
  for (int i = 0; i < 20; ++i) bomb.insert(bomb.end(), last, jpeg.end() - 2);
  bomb.insert(bomb.end(), jpeg.end() - 2, jpeg.end());
  const absl::Status status = ReadImageHeader(bomb, limits).status();
  EXPECT_EQ(ImageErrorOf(status), ImageError::kUnsupported) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "the most allowed are 16")) << status;
  limits.max_pixels = 4 * 64 * 64;  // a picture of a quarter of the limit may have 64
  EXPECT_TRUE(ReadImageHeader(bomb, limits).ok());
}

TEST(DecodeTest, EachLimitHasItsOwnSentence) {
  ImageLimits limits;
  limits.max_width = 50;
  limits.max_height = 40;
  limits.max_pixels = 1000;
  ExpectRefused(PngOf(Gradient(51, 8)), ImageError::kTooLarge, "widest allowed is 50", limits);
  ExpectRefused(JpegOf(Gradient(8, 41)), ImageError::kTooLarge, "highest allowed is 40", limits);
  ExpectRefused(PngOf(Gradient(50, 21)), ImageError::kTooLarge, "limit is 1000 pixels", limits);
  EXPECT_TRUE(DecodeImage(PngOf(Gradient(50, 20)), limits).ok());
}

TEST(DecodeTest, DamageInThePngIsFoundByItsChecksum) {
  Bytes png = PngOf(Gradient(40, 30));
  png[png.size() / 2] ^= 0x10;
  ExpectRefused(png, ImageError::kDamaged, "damaged");
}

TEST(DecodeTest, AShippedPhotographIsRead) {
  std::ifstream file(ELA_SOURCE_DIR "/tests/golden/images/bccd/JPEGImages/BloodImage_00007.jpg",
                     std::ios::binary);
  const Bytes bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const DecodedImage decoded = Decoded(bytes, 320, 320);
  EXPECT_EQ(decoded.source_width, 640);
  EXPECT_EQ(decoded.source_height, 480);
  EXPECT_EQ(decoded.scale, 1) << "a half would leave less than twice the wanted pixels";
}

TEST(RawImageTest, FormatsAndStridesBecomePackedRgb) {
  const Bytes rows = {1, 2, 3, 4, 5, 6, 99, 7, 8, 9, 10, 11, 12};  // stride 7, last row unpadded
  RawImage raw{PixelFormat::kRgb8, 2, 2, 7, rows};
  EXPECT_EQ(DecodeRawImage(raw, ImageLimits())->image.pixels,
            (Bytes{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}));
  raw.format = PixelFormat::kBgr8;
  EXPECT_EQ(DecodeRawImage(raw, ImageLimits())->image.pixels,
            (Bytes{3, 2, 1, 6, 5, 4, 9, 8, 7, 12, 11, 10}));
  const Bytes grey = {5, 6};
  EXPECT_EQ(DecodeRawImage({PixelFormat::kGray8, 2, 1, 0, grey}, ImageLimits())->image.pixels,
            (Bytes{5, 5, 5, 6, 6, 6}));
}

TEST(RawImageTest, WhatDoesNotFitIsRefused) {
  const Bytes bytes(12);
  const auto error = [&](int64_t width, int64_t height, int64_t stride) {
    const RawImage raw{PixelFormat::kRgb8, width, height, stride, bytes};
    return ImageErrorName(ImageErrorOf(DecodeRawImage(raw, ImageLimits()).status()));
  };
  EXPECT_EQ(error(2, 2, 0), "none");
  EXPECT_EQ(error(2, 3, 0), "raw_mismatch");  // too few bytes
  EXPECT_EQ(error(2, 1, 0), "raw_mismatch");  // too many
  EXPECT_EQ(error(2, 2, 5), "raw_mismatch");  // a row does not fit its stride
  EXPECT_EQ(error(2, 2, -6), "raw_mismatch");
  EXPECT_EQ(error(1, 2, int64_t{1} << 62), "raw_mismatch");
  EXPECT_EQ(error(0, 2, 0), "too_large");
  EXPECT_EQ(error(int64_t{1} << 40, int64_t{1} << 40, 0), "too_large");
}

}  // namespace
}  // namespace ela
