#include "model/vision/dataset.h"

#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/model/temporary_directory.h"

namespace ela {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kBccd[] = ELA_SOURCE_DIR "/tests/golden/images/bccd";

std::vector<std::string> Sentences(const Dataset& dataset) {
  std::vector<std::string> sentences;
  for (const LabelProblem& problem : dataset.problems) sentences.push_back(ToString(problem));
  return sentences;
}

std::string Annotation(const std::string& objects, const std::string& size = "100") {
  return "<annotation><size><width>" + size + "</width><height>80</height></size>" + objects +
         "</annotation>";
}
std::string Object(const std::string& name, const std::string& x0, const std::string& y0,
                   const std::string& x1, const std::string& y1) {
  return "<object><name>" + name + "</name><bndbox><xmin>" + x0 + "</xmin><ymin>" + y0 +
         "</ymin><xmax>" + x1 + "</xmax><ymax>" + y1 + "</ymax></bndbox></object>";
}

TEST(VocDatasetTest, ReadsASplitAndTellsBoxesWithoutArea) {
  const auto test = ReadVocDataset(kBccd, "test");
  ASSERT_TRUE(test.ok()) << test.status();
  EXPECT_THAT(test->class_names, ElementsAre("RBC", "WBC"));
  ASSERT_EQ(test->images.size(), 2u);
  EXPECT_EQ(test->images[0].name, "BloodImage_00007.jpg");
  EXPECT_EQ(test->images[0].width, 640);
  EXPECT_THAT(test->problems, testing::IsEmpty());
  const auto train = ReadVocDataset(kBccd, "train");
  ASSERT_TRUE(train.ok()) << train.status();
  EXPECT_THAT(
      Sentences(*train),
      ElementsAre("box rejected: BloodImage_00338.jpg: RBC box (504, 337, 504, 337) has no area",
                  "box rejected: BloodImage_00343.jpg: RBC box (181, 329, 181, 329) has no area"));
}

TEST(VocDatasetTest, AMissingListNamesThoseThatExist) {
  const auto none = ReadVocDataset(kBccd, "valid");
  EXPECT_EQ(none.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(none.status().message()), HasSubstr("lists there: test, train"));
  EXPECT_EQ(ReadVocDataset("/does/not/exist", "train").status().code(),
            absl::StatusCode::kNotFound);
}

TEST(VocDatasetTest, PicturesAndXmlSideBySideAreRepairedOrRejected) {
  TemporaryDirectory directory;
  for (const char* name : {"a.png", "b.JPG", "c.png", "d.png"}) directory.Write(name, "picture");
  directory.Write("a.xml", Annotation(Object("dog", "90", "10", "20", "30") +    // swapped
                                      Object("dog", "-5", "10", "20", "90") +    // cut
                                      Object("dog", "200", "10", "220", "30") +  // outside
                                      Object("dog", "x", "10", "220", "30") +    // no number
                                      Object("cat", "1", "2", "3", "4")));
  directory.Write("b.xml", Annotation(""));
  directory.Write("c.xml", "<annotation><size>");
  const auto dataset = ReadVocDataset(directory / "", "", {"dog"});
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  ASSERT_EQ(dataset->images.size(), 2u);
  EXPECT_EQ(dataset->images[1].name, "b.JPG");
  ASSERT_EQ(dataset->images[0].boxes.size(), 2u);
  EXPECT_EQ(dataset->images[0].boxes[0].box.x0, 20);
  EXPECT_EQ(dataset->images[0].boxes[1].box.y1, 80);
  EXPECT_EQ(dataset->images[0].boxes[1].area, 20 * 70);
  EXPECT_THAT(
      Sentences(*dataset),
      ElementsAre(HasSubstr("image rejected: c.png: the annotation is not XML"),
                  HasSubstr("image rejected: d.png: the annotation does not exist"),
                  "repaired: a.png: dog box (90, 10, 20, 30) had its corners exchanged",
                  "repaired: a.png: dog box (-5, 10, 20, 90) was cut to the picture of 100 x 80",
                  HasSubstr("lies outside the picture of 100 x 80"),
                  HasSubstr("is not made of numbers"),
                  "box rejected: a.png: class 'cat' is unknown"));
}

TEST(VocDatasetTest, NothingUsableIsAnError) {
  TemporaryDirectory directory;
  directory.Write("a.png", "picture");
  directory.Write("a.xml", Annotation("", "-3"));
  const auto dataset = ReadVocDataset(directory / "", "");
  EXPECT_EQ(dataset.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(dataset.status().message()), HasSubstr("<size>"));
}

TEST(CocoDatasetTest, ReadsCategoriesCrowdsAndAreas) {
  TemporaryDirectory directory;
  directory.Write("a.png", "picture");
  directory.Write("b.png", "picture");
  directory.Write("labels.json", R"({
    "images": [{"id": 7, "file_name": "b.png", "width": 50, "height": 40},
               {"id": 3, "file_name": "a.png", "width": 100, "height": 80},
               {"id": 9, "file_name": "../x.png", "width": 100, "height": 80},
               {"id": 10, "file_name": "gone.png", "width": 100, "height": 80}],
    "categories": [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}],
    "annotations": [
      {"id": 1, "image_id": 3, "category_id": 18, "bbox": [1.5, 2, 10, 20], "area": 120.5, "iscrowd": 0},
      {"id": 2, "image_id": 7, "category_id": 1, "bbox": [40, 2, 20, 20], "area": 400, "iscrowd": 1},
      {"id": 3, "image_id": 7, "category_id": 2, "bbox": [1, 2, 3, 4]},
      {"id": 4, "image_id": 8, "category_id": 1, "bbox": [1, 2, 3, 4]},
      {"id": 5, "image_id": 7, "category_id": 1, "bbox": [1, 2, 3]},
      {"id": 6, "image_id": 7, "category_id": 1, "bbox": [1, 2, 0, 4]},
      {"id": 7, "image_id": 7, "category_id": 1, "bbox": [1, 2, "a", 4]}]})");
  const auto dataset = ReadCocoDataset(directory / "labels.json", directory / "");
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_THAT(dataset->class_names, ElementsAre("person", "dog"));
  EXPECT_THAT(dataset->category_ids, ElementsAre(1, 18));
  ASSERT_EQ(dataset->images.size(), 2u);
  EXPECT_EQ(dataset->images[0].name, "a.png");
  ASSERT_EQ(dataset->images[0].boxes.size(), 1u);
  EXPECT_EQ(dataset->images[0].boxes[0].area, 120.5);
  EXPECT_EQ(dataset->images[0].boxes[0].class_id, 1);
  ASSERT_EQ(dataset->images[1].boxes.size(), 1u);
  EXPECT_TRUE(dataset->images[1].boxes[0].crowd);
  EXPECT_EQ(dataset->images[1].boxes[0].area, 200) << "the part that is inside";
  EXPECT_THAT(Sentences(*dataset),
              ElementsAre(HasSubstr("leads out of the image folder"), HasSubstr("gone.png"),
                          HasSubstr("repaired: b.png"), HasSubstr("category 2 is unknown"),
                          HasSubstr("picture is unknown"), HasSubstr("`bbox` is not"),
                          HasSubstr("has no area"), HasSubstr("not made of numbers")));
  const std::vector<CocoTruth> truths = TruthsOf(dataset->images[0]);
  EXPECT_EQ(truths[0].box.width, 10);
}

TEST(CocoDatasetTest, WhatIsNoCocoFileIsRefused) {
  TemporaryDirectory directory;
  const auto message = [&](const std::string& text) {
    directory.Write("labels.json", text);
    return std::string(
        ReadCocoDataset(directory / "labels.json", directory / "").status().message());
  };
  EXPECT_THAT(message("[1, 2"), HasSubstr("labels.json"));
  EXPECT_THAT(message("[]"), HasSubstr("needs the lists images, annotations, categories"));
  EXPECT_THAT(message(R"({"images": [], "annotations": [], "categories": [{"id": 1}]})"),
              HasSubstr("a category has no"));
  EXPECT_THAT(
      message(R"({"images": [3], "annotations": [], "categories": [{"id": 1, "name": "a"}]})"),
      HasSubstr("none of 1 pictures can be used"));
}

}  // namespace
}  // namespace ela
