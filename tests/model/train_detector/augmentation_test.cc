#include "model/train/detector/augmentation.h"

#include <cmath>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/train/detector/data_folder.h"
#include "model/train/detector/labelled_picture.h"
#include "tests/model/temporary_directory.h"
#include "tests/model/train_detector/picture_folder.h"

namespace ela::train {
namespace {

constexpr int kPictures = 6;  // one class each, so that a colour tells where a pixel comes from

class AugmentationTest : public testing::Test {
 protected:
  AugmentationTest() {
    WriteFolder(directory_.path(), 0, kPictures, kPictures);
    auto dataset = *ReadSplit(directory_.path(), "", {});
    std::vector<LabelProblem> problems;
    store_ = *PictureStore::Create(dataset.images, {64, 64}, &problems);
    EXPECT_TRUE(problems.empty());
  }

  // Geometry alone: colours stay recognisable.
  static AugmentationOptions Geometry() {
    AugmentationOptions options;
    options.brightness = options.contrast = options.saturation = options.hue = 0;
    options.flip_vertical = 0.5;
    return options;
  }

  TemporaryDirectory directory_;
  std::unique_ptr<PictureStore> store_;
};

bool Inside(const Box& box, double x, double y, double margin) {
  return x >= box.x0 - margin && x < box.x1 + margin && y >= box.y0 - margin && y < box.y1 + margin;
}

// Every box holds its colour alone, and no coloured pixel lies outside of all boxes of its class.
void ExpectBoxesSurroundTheirColours(const Sample& sample) {
  const Image& image = sample.image;
  const auto& targets = sample.targets;
  ASSERT_EQ(targets.boxes.size(), targets.class_ids.size());
  for (size_t i = 0; i < targets.boxes.size(); ++i) {
    const Box& box = targets.boxes[i];
    EXPECT_GE(box.x0, 0);
    EXPECT_GE(box.y0, 0);
    EXPECT_LE(box.x1, image.width);
    EXPECT_LE(box.y1, image.height);
  }
  for (int32_t y = 0; y < image.height; ++y) {
    for (int32_t x = 0; x < image.width; ++x) {
      for (int c = 0; c < kPictures; ++c) {
        const bool coloured = IsColour(image, x, y, kClassColours[c]);
        bool near = false, deep = false;
        for (size_t i = 0; i < targets.boxes.size(); ++i) {
          if (targets.class_ids[i] != c) continue;
          near |= Inside(targets.boxes[i], x + 0.5, y + 0.5, 1.5);
          deep |= Inside(targets.boxes[i], x + 0.5, y + 0.5, -2);
        }
        for (const Box& box : targets.ignored) near |= Inside(box, x + 0.5, y + 0.5, 1.5);
        ASSERT_TRUE(!coloured || near)
            << "class " << c << " shows outside its boxes at " << x << ", " << y;
        ASSERT_TRUE(coloured || !deep)
            << "class " << c << " is missing in its box at " << x << ", " << y;
      }
    }
  }
}

TEST_F(AugmentationTest, BoxesMoveWithTheirPixels) {
  for (const FitMode fit : {FitMode::kLetterbox, FitMode::kStretch}) {
    int mosaics = 0, cut = 0;
    for (uint64_t i = 0; i < 150; ++i) {
      SCOPED_TRACE(i);
      const Sample sample =
          AugmentedSample(*store_, i % kPictures, {96, 64, fit}, Geometry(), Random(1, 2, i));
      ASSERT_NO_FATAL_FAILURE(ExpectBoxesSurroundTheirColours(sample));
      mosaics += sample.targets.boxes.size() > 1;
      cut += !sample.targets.ignored.empty();
    }
    EXPECT_GT(mosaics, 10);
    EXPECT_GT(cut, 3);
  }
}

TEST_F(AugmentationTest, ASampleIsAFunctionOfItsNumbers) {
  const SampleFrame frame = {64, 64, FitMode::kLetterbox};
  int differences = 0;
  for (uint64_t i = 0; i < 10; ++i) {
    const Sample one = AugmentedSample(*store_, 2, frame, {}, Random(5, 2, i));
    const Sample same = AugmentedSample(*store_, 2, frame, {}, Random(5, 2, i));
    const Sample other = AugmentedSample(*store_, 2, frame, {}, Random(6, 2, i));
    EXPECT_EQ(one.image.pixels, same.image.pixels);
    differences += one.image.pixels != other.image.pixels;
  }
  EXPECT_GE(differences, 9);
}

TEST_F(AugmentationTest, APlainSampleIsWhatServingShows) {
  const auto picture = store_->Get(3);
  const Sample sample = PlainSample(*picture, {96, 64, FitMode::kStretch});
  EXPECT_EQ(sample.image.pixels, picture->image.pixels);
  ASSERT_EQ(sample.targets.boxes.size(), 1u);
  EXPECT_EQ(sample.targets.boxes[0].x1, picture->boxes[0].box.x1);
}

TEST_F(AugmentationTest, AnObjectOfWhichLittleIsLeftIsNeitherObjectNorBackground) {
  AugmentationOptions options = Geometry();
  options.min_visible = 1.0;  // any cut
  options.zoom_min = options.zoom_max = 3;
  options.mosaic = options.plain = 0;
  int ignored = 0;
  for (uint64_t i = 0; i < 50; ++i) {
    const Sample sample =
        AugmentedSample(*store_, 0, {96, 64, FitMode::kStretch}, options, Random(1, 2, i));
    ignored += static_cast<int>(sample.targets.ignored.size());
    for (const Box& box : sample.targets.ignored) {
      EXPECT_TRUE(box.x0 == 0 || box.y0 == 0 || box.x1 == 96 || box.y1 == 64);
    }
  }
  EXPECT_GT(ignored, 3);
}

TEST(ColourMapTest, GreyStaysGreyUnderSaturationAndHue) {
  AugmentationOptions options;
  options.brightness = options.contrast = 0;
  options.saturation = 1;
  options.hue = 0.5;
  for (uint64_t i = 0; i < 20; ++i) {
    Random random(3, 0, i);
    const ColourMap map = DrawColourMap(options, &random);
    Image image{3, 1, {0, 0, 0, 128, 128, 128, 255, 255, 255}};
    Recolour(map, &image);
    for (int p = 0; p < 3; ++p) {
      for (int c = 0; c < 3; ++c) {
        EXPECT_NEAR(image.pixels[3 * p + c], p == 0 ? 0 : p == 1 ? 128 : 255, 1);
      }
    }
  }
}

TEST(ColourMapTest, AThirdOfATurnMakesRedGreen) {
  AugmentationOptions options;
  options.brightness = options.contrast = options.saturation = 0;
  options.hue = 1.0 / 3;  // the extreme of the range; the map is linear in what is drawn
  double best = 0;
  for (uint64_t i = 0; i < 200; ++i) {
    Random random(4, 0, i);
    Image image{1, 1, {200, 0, 0}};
    Recolour(DrawColourMap(options, &random), &image);
    best = std::max(best, static_cast<double>(image.pixels[1]) - image.pixels[0]);
  }
  EXPECT_GT(best, 150);
}

class OrientationTest : public testing::TestWithParam<int> {};

TEST_P(OrientationTest, LabelsTurnWithThePicture) {
  TemporaryDirectory directory;
  const Drawn drawn = {80, 48, {8, 4, 40, 20}, 0};
  const Bytes jpeg = WithExif(JpegOf(PictureOf(drawn)), static_cast<uint8_t>(GetParam()));
  directory.Write("a.jpg", std::string(jpeg.begin(), jpeg.end()));
  LabelledImage labels;
  labels.name = "a.jpg";
  labels.path = directory / "a.jpg";
  labels.width = 80;
  labels.height = 48;
  labels.boxes.push_back({drawn.box, 0, 512, false});
  const auto picture = LoadLabelledPicture(labels, 0, 0);
  ASSERT_TRUE(picture.ok()) << picture.status();
  EXPECT_TRUE(picture->problems.empty());
  const Image& image = picture->decoded.image;
  EXPECT_EQ(image.width, GetParam() >= 5 ? 48 : 80);
  ASSERT_EQ(picture->boxes.size(), 1u);
  const Box& box = picture->boxes[0].box;
  for (int32_t y = 0; y < image.height; ++y) {
    for (int32_t x = 0; x < image.width; ++x) {
      const bool red = IsColour(image, x, y, kClassColours[0]);
      if (Inside(box, x + 0.5, y + 0.5, -2)) {
        ASSERT_TRUE(red) << x << ", " << y;
      }
      if (!Inside(box, x + 0.5, y + 0.5, 2)) {
        ASSERT_FALSE(red) << x << ", " << y;
      }
    }
  }
  // A tool that turned the picture itself wrote the size that it saw: nothing is left to turn.
  if (GetParam() >= 5) {
    labels.width = 48;
    labels.height = 80;
    labels.boxes[0].box = box;
    const auto seen = LoadLabelledPicture(labels, 0, 0);
    ASSERT_TRUE(seen.ok());
    EXPECT_EQ(seen->boxes[0].box.x0, box.x0);
    EXPECT_EQ(seen->boxes[0].box.y1, box.y1);
  }
}

INSTANTIATE_TEST_SUITE_P(AllEight, OrientationTest, testing::Range(1, 9));

TEST(LabelledPictureTest, LabelsOfAResizedCopyAreScaledAndThatIsTold) {
  TemporaryDirectory directory;
  const Bytes png = PngOf(PictureOf({80, 40, {8, 4, 40, 20}, 0}));
  directory.Write("a.png", std::string(png.begin(), png.end()));
  LabelledImage labels;
  labels.name = "a.png";
  labels.path = directory / "a.png";
  labels.width = 160;
  labels.height = 80;
  labels.boxes.push_back({{16, 8, 80, 40}, 0, 2048, false});
  const auto picture = LoadLabelledPicture(labels, 0, 0);
  ASSERT_TRUE(picture.ok()) << picture.status();
  EXPECT_EQ(picture->boxes[0].box.x1, 40);
  EXPECT_EQ(picture->boxes[0].box.y0, 4);
  EXPECT_EQ(picture->boxes[0].area, 512);
  ASSERT_EQ(picture->problems.size(), 1u);
  EXPECT_EQ(ToString(picture->problems[0]),
            "repaired: a.png: the annotation says 160 x 80, the picture is 80 x 40: boxes are "
            "scaled");
}

TEST(PictureStoreTest, WhatDoesNotFitInMemoryIsDecodedWhenAskedFor) {
  TemporaryDirectory directory;
  WriteFolder(directory.path(), 0, 4, 2);
  const auto dataset = *ReadSplit(directory.path(), "", {});
  std::vector<LabelProblem> problems;
  const auto all = *PictureStore::Create(dataset.images, {64, 64}, &problems);
  const auto none = *PictureStore::Create(dataset.images, {64, 64, /*max_bytes=*/0}, &problems);
  EXPECT_EQ(all->num_kept(), 4);
  EXPECT_EQ(none->num_kept(), 0);
  EXPECT_EQ(all->Digest(), none->Digest());
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(all->Get(i)->image.pixels, none->Get(i)->image.pixels);
    EXPECT_EQ(all->Get(i)->boxes[0].box.x1, none->Get(i)->boxes[0].box.x1);
  }
}

TEST(PictureStoreTest, LargePicturesAreKeptAtWorkingSizeWithTheirBoxes) {
  TemporaryDirectory directory;
  WritePicture(directory / "big.png", {800, 600, {200, 150, 600, 450}, 0});
  LabelledImage labels{"big.png", directory / "big.png", 1, 800, 600, {}};
  labels.boxes.push_back({{200, 150, 600, 450}, 0, 120000, false});
  std::vector<LabelProblem> problems;
  const auto store = *PictureStore::Create({labels}, {64, 64}, &problems);
  const auto picture = store->Get(0);
  EXPECT_EQ(picture->image.width, 144);
  EXPECT_EQ(picture->image.height, 108);
  EXPECT_NEAR(picture->boxes[0].box.x0, 36, 0.01);
  EXPECT_NEAR(picture->boxes[0].box.y1, 81, 0.01);
}

TEST(PictureStoreTest, AnUnreadablePictureIsLeftOutAndTold) {
  TemporaryDirectory directory;
  WriteFolder(directory.path(), 0, 2, 2);
  directory.Write("p0.png", "not a picture");
  const auto dataset = *ReadSplit(directory.path(), "", {});
  std::vector<LabelProblem> problems;
  const auto store = *PictureStore::Create(dataset.images, {64, 64}, &problems);
  EXPECT_EQ(store->size(), 1);
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_THAT(ToString(problems[0]), testing::HasSubstr("p0.png"));
}

}  // namespace
}  // namespace ela::train
