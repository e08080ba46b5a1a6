#include "model/image/fit.h"

#include <random>

#include "gtest/gtest.h"
#include "model/image/decode.h"
#include "tests/model/image/picture_files.h"

namespace ela {
namespace {

DecodedImage Unscaled(Image image) {
  DecodedImage decoded;
  decoded.source_width = image.width;
  decoded.source_height = image.height;
  decoded.image = std::move(image);
  return decoded;
}

TEST(FitTest, BoxesComeBackForAnySizes) {
  std::mt19937 random(7);
  const auto pick = [&](int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(random);
  };
  for (int round = 0; round < 20000; ++round) {
    const FitMode mode = round % 2 == 0 ? FitMode::kLetterbox : FitMode::kStretch;
    const int width = pick(1, 5000), height = pick(1, 5000);
    const Placement placement =
        PlaceInInput(width, height, 32 * pick(1, 40), 32 * pick(1, 40), mode);
    const Box box{static_cast<float>(pick(0, width)), static_cast<float>(pick(0, height)),
                  static_cast<float>(width), static_cast<float>(height)};
    const Box back = ToSource(placement, ToInput(placement, box));
    // float holds 1280 to 6e-5; back at 5000 that is up to 160 times coarser for a fitted side
    // of 32.
    const double tolerance =
        2e-4 * std::max(1.0, 1 / std::min(placement.scale_x, placement.scale_y));
    ASSERT_NEAR(back.x0, box.x0, tolerance) << round;
    ASSERT_NEAR(back.y0, box.y0, tolerance) << round;
    ASSERT_NEAR(back.x1, box.x1, tolerance) << round;
    ASSERT_NEAR(back.y1, box.y1, tolerance) << round;
    const Box edges = ToInput(placement, {0, 0, float(width), float(height)});
    ASSERT_FLOAT_EQ(edges.x0, placement.left);
    ASSERT_FLOAT_EQ(edges.x1, placement.left + placement.fitted_width);
    ASSERT_FLOAT_EQ(edges.y1, placement.top + placement.fitted_height);
    ASSERT_LE(placement.left + placement.fitted_width, placement.input_width);
  }
}

TEST(FitTest, LetterboxCentresAndStretchFills) {
  const Placement letterbox = PlaceInInput(640, 480, 320, 320, FitMode::kLetterbox);
  EXPECT_EQ(letterbox.fitted_width, 320);
  EXPECT_EQ(letterbox.fitted_height, 240);
  EXPECT_EQ(letterbox.top, 40);
  EXPECT_EQ(letterbox.left, 0);
  const Placement stretch = PlaceInInput(640, 480, 320, 320, FitMode::kStretch);
  EXPECT_EQ(stretch.fitted_height, 320);
  EXPECT_DOUBLE_EQ(stretch.scale_y, 320.0 / 480);
  EXPECT_EQ(PlaceInInput(10000, 1, 32, 32, FitMode::kLetterbox).fitted_height, 1);
}

TEST(FitTest, ABoxOutsideThePictureIsClipped) {
  const Placement placement = PlaceInInput(640, 480, 320, 320, FitMode::kLetterbox);
  const Box box = ToSource(placement, {-5, 30, 400, 290});
  EXPECT_EQ(box.x0, 0);
  EXPECT_EQ(box.y0, 0);
  EXPECT_EQ(box.x1, 640);
  EXPECT_EQ(box.y1, 480);
  const Box padding = ToSource(placement, {10, 0, 20, 20});
  EXPECT_EQ(padding.y0, padding.y1);
}

TEST(FitTest, SameSizeIsACopyAndPaddingIsGrey) {
  const Image image = Gradient(32, 24);
  const Placement placement = PlaceInInput(32, 24, 32, 32, FitMode::kLetterbox);
  std::vector<uint8_t> out(3 * 32 * 32);
  FitImage(Unscaled(image), placement, absl::MakeSpan(out));
  EXPECT_TRUE(std::equal(image.pixels.begin(), image.pixels.end(), out.begin() + 3 * 32 * 4));
  for (size_t i = 0; i < 3 * 32 * 4; ++i) {
    ASSERT_EQ(out[i], 114);
    ASSERT_EQ(out[out.size() - 1 - i], 114);
  }
}

TEST(FitTest, AFineCheckerboardBecomesGreyInsteadOfAliasing) {
  Image board{400, 400, std::vector<uint8_t>(3 * 400 * 400)};
  for (int i = 0; i < 400 * 400; ++i) {
    for (int c = 0; c < 3; ++c) board.pixels[3 * i + c] = (i % 400 + i / 400) % 2 == 0 ? 255 : 0;
  }
  std::vector<uint8_t> out(3 * 64 * 64);
  FitImage(Unscaled(board), PlaceInInput(400, 400, 64, 64, FitMode::kStretch), absl::MakeSpan(out));
  for (uint8_t value : out) ASSERT_NEAR(value, 127.5, 4);
}

// An edge at a known source coordinate lands where the placement says, whatever the JPEG's scale
// and orientation.
TEST(FitTest, ScaledDecodingDoesNotMoveThePicture) {
  const Bytes file = JpegOf(Gradient(1003, 757));
  for (uint8_t orientation = 1; orientation <= 8; ++orientation) {
    const Bytes turned = WithExif(file, orientation);
    const auto full = DecodeImage(turned, ImageLimits());
    const auto part = DecodeImage(turned, ImageLimits(), 100, 100);
    ASSERT_TRUE(full.ok() && part.ok());
    ASSERT_LT(part->scale, 1);
    const Placement placement =
        PlaceInInput(full->source_width, full->source_height, 96, 96, FitMode::kLetterbox);
    std::vector<uint8_t> a(3 * 96 * 96), b(3 * 96 * 96);
    FitImage(*full, placement, absl::MakeSpan(a));
    FitImage(*part, placement, absl::MakeSpan(b));
    // One input pixel is about 10 source pixels and 2 grey levels.
    for (size_t i = 0; i < a.size(); ++i)
      ASSERT_NEAR(a[i], b[i], 3) << int{orientation} << " " << i;
  }
}

TEST(FitTest, PlanesAreZeroToOne) {
  const std::vector<uint8_t> pixels = {0, 51, 255, 255, 0, 51};
  std::vector<float> planes(6);
  ToPlanes(pixels, 2, 1, absl::MakeSpan(planes));
  EXPECT_EQ(planes, (std::vector<float>{0, 1, 51 / 255.0f, 0, 1, 51 / 255.0f}));
}

}  // namespace
}  // namespace ela
