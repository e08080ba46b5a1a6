// What lands on a picture, pixel by pixel.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/command/draw.h"
#include "model/image/decode.h"

namespace ela {
namespace {

using client::ClassColor;
using client::Color;
using client::DetectedObject;
using client::DrawingFormat;
using client::DrawObjects;
using client::TextColor;

Image Plain(int32_t width, int32_t height, uint8_t value) {
  return {width, height, std::vector<uint8_t>(static_cast<size_t>(width) * height * 3, value)};
}

DetectedObject Object(uint32_t class_id, const std::string& name, float score, float x0, float y0,
                      float x1, float y1) {
  DetectedObject object;
  object.class_id = class_id;
  object.class_name = name;
  object.score = score;
  object.box = {x0, y0, x1, y1};
  return object;
}

Image Decoded(const std::string& bytes) {
  const auto* const data = reinterpret_cast<const uint8_t*>(bytes.data());
  return DecodeImage({data, bytes.size()}, ImageLimits()).value().image;
}

Image Drawn(const Image& image, const std::vector<DetectedObject>& objects) {
  return Decoded(DrawObjects(image, objects, DrawingFormat::kPng).value());
}

// Largest distance of a channel of the pixel at (x, y) from `color`.
int Distance(const Image& image, int x, int y, Color color) {
  const uint8_t* const pixel = &image.pixels[(static_cast<size_t>(y) * image.width + x) * 3];
  return std::max({std::abs(pixel[0] - color.red), std::abs(pixel[1] - color.green),
                   std::abs(pixel[2] - color.blue)});
}

int Count(const Image& image, Color color, int x0, int y0, int x1, int y1) {
  int count = 0;
  for (int y = y0; y < y1; ++y) {
    for (int x = x0; x < x1; ++x) count += Distance(image, x, y, color) == 0;
  }
  return count;
}

constexpr Color kGrey = {128, 128, 128};

TEST(DetectDrawTest, TheBoxIsWhereTheObjectIs) {
  const Image image = Drawn(Plain(640, 480, 128), {Object(0, "cell", 0.9f, 200, 100, 400, 300)});

  ASSERT_EQ(image.width, 640);
  ASSERT_EQ(image.height, 480);
  // Two pixels of line on each edge of the box, in the class' colour.
  for (const auto& [x, y] : std::vector<std::pair<int, int>>{
           {200, 200}, {199, 200}, {400, 200}, {399, 200}, {300, 300}, {300, 299}, {350, 100}}) {
    EXPECT_LE(Distance(image, x, y, ClassColor(0)), 2) << x << "," << y;
  }
  // Inside and outside nothing changes, but for the label.
  EXPECT_EQ(Count(image, kGrey, 204, 120, 396, 296), 192 * 176);
  EXPECT_EQ(Count(image, kGrey, 404, 0, 640, 480), 236 * 480);
  EXPECT_EQ(Count(image, kGrey, 0, 304, 640, 480), 640 * 176);
}

TEST(DetectDrawTest, TheLabelIsAboveTheBoxOrInsideWhereThereIsNoRoom) {
  const Image image = Drawn(Plain(640, 480, 128), {Object(1, "cell", 0.9f, 200, 100, 400, 300),
                                                   Object(1, "cell", 0.9f, 450, 0, 550, 100)});

  EXPECT_GT(Count(image, ClassColor(1), 200, 84, 280, 98), 300);
  EXPECT_GT(Count(image, TextColor(ClassColor(1)), 200, 84, 280, 98), 20);  // letters
  EXPECT_GT(Count(image, ClassColor(1), 452, 3, 530, 14), 300);
  EXPECT_GT(Count(image, TextColor(ClassColor(1)), 452, 3, 530, 14), 20);
}

TEST(DetectDrawTest, ALabelStaysInThePicture) {
  const Image image = Drawn(Plain(640, 480, 128), {Object(2, "cell", 0.9f, 630, 200, 640, 220)});
  // As wide as anywhere else, moved to the left.
  EXPECT_GT(Count(image, ClassColor(2), 560, 182, 640, 198), 300);
}

TEST(DetectDrawTest, LinesShowOnAnyBackgroundByTheirDarkEdges) {
  for (const int value : {0, 64, 128, 192, 255}) {
    for (uint32_t class_id = 0; class_id < 7; ++class_id) {
      const Color color = ClassColor(class_id);
      const Image image = Drawn(Plain(640, 480, value), {Object(class_id, "x", 1, 9, 99, 99, 199)});
      // Across the left edge: some neighbouring pixels differ strongly in brightness or hue.
      int largest = 0;
      for (int x = 0; x < 20; ++x) {
        const uint8_t* const pixel = &image.pixels[(150 * 640 + x) * 3];
        largest = std::max(largest, Distance(image, x + 1, 150, {pixel[0], pixel[1], pixel[2]}));
      }
      EXPECT_GT(largest, 60) << value << " class " << class_id << " " << int{color.red};
    }
  }
}

TEST(DetectDrawTest, TextIsReadableOnEveryClassColor) {
  for (uint32_t class_id = 0; class_id < 7; ++class_id) {
    const Color color = ClassColor(class_id);
    const auto linear = [](uint8_t v) { return std::pow(v / 255.0, 2.2); };
    const double luminance =
        0.2126 * linear(color.red) + 0.7152 * linear(color.green) + 0.0722 * linear(color.blue);
    const double contrast =
        TextColor(color).red == 0 ? (luminance + 0.05) / 0.05 : 1.05 / (luminance + 0.05);
    EXPECT_GT(contrast, 4.5) << class_id;  // WCAG 2.1, level AA
  }
  const Color eighth = ClassColor(7);
  EXPECT_EQ(eighth.red, ClassColor(0).red);
}

TEST(DetectDrawTest, LinesAndTextGrowWithThePicture) {
  EXPECT_EQ(client::LineWidth(640, 480), 2.0);
  EXPECT_EQ(client::LineWidth(4800, 9600), 20.0);
  EXPECT_EQ(client::LineWidth(10, 10), 1.0);
  EXPECT_GT(client::TextSize(3000, 2000), 3 * client::TextSize(640, 480));
  EXPECT_GE(client::TextSize(10, 10), 9.0);
}

TEST(DetectDrawTest, TheBestObjectLiesOnTop) {
  const Image image = Drawn(Plain(640, 480, 128), {Object(0, "best", 0.9f, 100, 100, 200, 200),
                                                   Object(1, "less", 0.5f, 100, 100, 200, 200)});
  EXPECT_LE(Distance(image, 200, 150, ClassColor(0)), 2);
  EXPECT_EQ(Count(image, ClassColor(1), 0, 0, 640, 480), 0);
}

TEST(DetectDrawTest, JpegIsCloseToPng) {
  const Image plain = Plain(640, 480, 128);
  const std::vector<DetectedObject> objects = {Object(0, "cell", 0.9f, 200, 100, 400, 300)};
  const std::string jpeg = DrawObjects(plain, objects, DrawingFormat::kJpeg).value();

  EXPECT_EQ(jpeg.substr(0, 2), "\xFF\xD8");
  const Image image = Decoded(jpeg);
  EXPECT_LE(Distance(image, 400, 200, ClassColor(0)), 40);
  EXPECT_LE(Distance(image, 300, 200, kGrey), 3);
}

TEST(DetectDrawTest, TheEndingChoosesTheFormat) {
  EXPECT_EQ(client::DrawingFormatOf("a.PNG"), DrawingFormat::kPng);
  EXPECT_EQ(client::DrawingFormatOf("a.png.jpg"), DrawingFormat::kJpeg);
  EXPECT_EQ(client::DrawingFormatOf("a.JPEG"), DrawingFormat::kJpeg);
}

TEST(DetectDrawTest, ATinyPictureAndABoxOutsideDoNoHarm) {
  const std::vector<DetectedObject> objects = {
      Object(4000000000u, "\xC3\x9Cn\xC3\xAF code \xE7\x8C\xAB", 1, 0, 0, 1, 1),
      Object(1, std::string(2000, 'w'), 0.5f, -50, -50, 5000, 5000), Object(2, "", 0, 3, 3, 3, 3)};
  for (const int side : {1, 2, 7}) {
    const Image image = Drawn(Plain(side, side, 10), objects);
    EXPECT_EQ(image.width, side);
    EXPECT_EQ(image.height, side);
  }
}

TEST(DetectDrawTest, WithoutObjectsThePixelsStay) {
  Image image = Plain(31, 17, 0);
  for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = i * 7;
  EXPECT_EQ(Drawn(image, {}).pixels, image.pixels);
}

TEST(DetectDrawTest, APictureThatIsTooWideIsAnError) {
  const absl::Status status = DrawObjects(Plain(40000, 1, 0), {}, DrawingFormat::kPng).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace ela
