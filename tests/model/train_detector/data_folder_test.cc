#include "model/train/detector/data_folder.h"

#include <filesystem>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/json_file.h"
#include "tests/model/temporary_directory.h"
#include "tests/model/train_detector/picture_folder.h"

namespace ela::train {
namespace {

using testing::HasSubstr;

class DataFolderTest : public testing::Test {
 protected:
  absl::StatusOr<TrainingData> Read(const std::string& data) {
    DataOptions options;
    options.data = data;
    return ReadTrainingData(options);
  }
  void ExpectSplit(size_t training, size_t validation) {
    const auto data = Read(directory_.path());
    ASSERT_TRUE(data.ok()) << data.status();
    EXPECT_EQ(data->training.images.size(), training);
    EXPECT_EQ(data->validation.images.size(), validation);
    EXPECT_EQ(data->training.class_names, (std::vector<std::string>{"class0", "class1"}));
    EXPECT_EQ(data->validation.class_names, data->training.class_names);
    for (const LabelledImage& image : data->training.images) EXPECT_EQ(image.boxes.size(), 1u);
    for (const LabelledImage& image : data->validation.images) EXPECT_EQ(image.boxes.size(), 1u);
  }
  TemporaryDirectory directory_;
};

TEST_F(DataFolderTest, VocLists) {
  WriteVoc(directory_.path(), 4, 3, 2);
  ExpectSplit(4, 3);
}

TEST_F(DataFolderTest, VocFoldersSideBySide) {
  WriteFolder(directory_ / "train", 0, 4, 2);
  WriteFolder(directory_ / "valid", 4, 3, 2);
  ExpectSplit(4, 3);
}

TEST_F(DataFolderTest, VocFoldersBelowImages) {
  WriteFolder(directory_ / "images/train", 0, 4, 2);
  WriteFolder(directory_ / "images/val", 4, 3, 2);
  ExpectSplit(4, 3);
}

TEST_F(DataFolderTest, VocWithoutListsIsSplitBySeed) {
  WriteVoc(directory_.path(), 20, 0, 2);
  std::filesystem::remove_all(directory_ / "ImageSets");
  ExpectSplit(17, 3);
}

TEST_F(DataFolderTest, AnnotationsAndImagesInFoldersOfTheirOwn) {
  WriteFolder(directory_ / "images", 0, 20, 2);
  std::filesystem::create_directories(directory_ / "annotations");
  for (int i = 0; i < 20; ++i) {
    const std::string name = "/p" + std::to_string(i) + ".xml";
    std::filesystem::rename((directory_ / "images") + name, (directory_ / "annotations") + name);
  }
  ExpectSplit(17, 3);
}

TEST_F(DataFolderTest, AListOfTrainvalAloneIsSplitBySeed) {
  WriteVoc(directory_.path(), 20, 0, 2);
  std::filesystem::rename(directory_ / "ImageSets/Main/train.txt",
                          directory_ / "ImageSets/Main/trainval.txt");
  std::filesystem::remove(directory_ / "ImageSets/Main/val.txt");
  ExpectSplit(17, 3);
}

TEST_F(DataFolderTest, CocoFilesWithImageFolders) {
  WriteCoco(directory_ / "annotations/instances_train2017.json", directory_ / "train2017", 0, 4, 2);
  WriteCoco(directory_ / "annotations/instances_val2017.json", directory_ / "val2017", 4, 3, 2);
  ExpectSplit(4, 3);
}

TEST_F(DataFolderTest, CocoFilesWithImagesBelowImages) {
  WriteCoco(directory_ / "annotations/train.json", directory_ / "images/train", 0, 4, 2);
  WriteCoco(directory_ / "annotations/val.json", directory_ / "images/val", 4, 3, 2);
  ExpectSplit(4, 3);
}

TEST_F(DataFolderTest, CocoFilesBesideTheirPictures) {
  WriteCoco(directory_ / "train/_annotations.coco.json", directory_ / "train", 0, 4, 2);
  WriteCoco(directory_ / "valid/_annotations.coco.json", directory_ / "valid", 4, 3, 2);
  ExpectSplit(4, 3);
}

TEST_F(DataFolderTest, OneFolderIsSplitBySeed) {
  WriteFolder(directory_.path(), 0, 20, 2);
  ExpectSplit(17, 3);
  const auto held_out = [&](uint64_t seed) {
    DataOptions options;
    options.data = directory_.path();
    options.seed = seed;
    const TrainingData data = *ReadTrainingData(options);
    EXPECT_THAT(data.note, HasSubstr("3 of the training pictures are held out"));
    std::set<std::string> names;
    for (const LabelledImage& image : data.validation.images) names.insert(image.name);
    return names;
  };
  EXPECT_EQ(held_out(1), held_out(1));
  EXPECT_NE(held_out(1), held_out(2));
}

TEST_F(DataFolderTest, OneCocoFileIsSplitBySeed) {
  WriteCoco(directory_ / "labels.json", directory_ / "images", 0, 20, 2);
  const auto data = Read(directory_ / "labels.json");
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->training.images.size(), 17u);
  EXPECT_EQ(data->validation.images.size(), 3u);
}

TEST_F(DataFolderTest, ATestSplitIsNeverTrainedOnOrHeldOut) {
  WriteFolder(directory_ / "train", 0, 10, 2);
  WriteFolder(directory_ / "test", 10, 5, 2);
  const auto data = Read(directory_.path());
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->training.images.size() + data->validation.images.size(), 10u);
}

TEST_F(DataFolderTest, ClassesAreMappedByNameAndOthersRejected) {
  WriteCoco(directory_ / "train.json", directory_ / "images", 0, 6, 3);
  const auto dataset = ReadSplit(directory_ / "train.json", "", {"class2", "class0"});
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ(dataset->class_names, (std::vector<std::string>{"class2", "class0"}));
  EXPECT_EQ(dataset->category_ids, (std::vector<int64_t>{9, 7}));
  ASSERT_EQ(dataset->images.size(), 6u);
  EXPECT_EQ(dataset->images[0].boxes[0].class_id, 1);
  EXPECT_TRUE(dataset->images[1].boxes.empty());
  EXPECT_EQ(dataset->images[2].boxes[0].class_id, 0);
  EXPECT_EQ(dataset->problems.size(), 2u);
}

TEST_F(DataFolderTest, ACategoryKeepsItsIdEvenIfThatIsZero) {
  const std::string file = directory_ / "train.json";
  WriteCoco(file, directory_ / "images", 0, 6, 2);
  WriteFile(file, absl::StrReplaceAll(*ReadTextFile(file, 1 << 20),
                                      {{"\"id\":7,\"name\"", "\"id\":0,\"name\""},
                                       {"\"category_id\":7", "\"category_id\":0"}}));
  const auto dataset = ReadSplit(file, "", {"class1", "unseen", "class0"});
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ(dataset->category_ids, (std::vector<int64_t>{8, 9, 0}));
}

TEST_F(DataFolderTest, AnAbsentSplitNamesWhatIsThere) {
  WriteFolder(directory_ / "train", 0, 2, 2);
  const absl::Status status = ReadSplit(directory_.path(), "test", {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()),
              testing::AllOf(HasSubstr("no split 'test'"), HasSubstr("the folder holds: train")));
  EXPECT_EQ(ReadSplit(directory_ / "none", "test", {}).status().code(),
            absl::StatusCode::kNotFound);
  directory_.Write("a.txt", "x");
  EXPECT_THAT(std::string(ReadSplit(directory_ / "a.txt", "", {}).status().message()),
              HasSubstr("neither a folder nor a COCO .json file"));
}

TEST_F(DataFolderTest, OnePictureOrNoBoxIsRefused) {
  WriteFolder(directory_ / "one", 0, 1, 1);
  EXPECT_THAT(std::string(Read(directory_ / "one").status().message()), HasSubstr("one picture"));
  WriteFolder(directory_ / "bare", 0, 2, 1);
  for (const char* name : {"/p0.xml", "/p1.xml"}) {
    WriteFile((directory_ / "bare") + name,
              "<annotation><size><width>96</width><height>64</height></size></annotation>");
  }
  EXPECT_THAT(std::string(Read(directory_ / "bare").status().message()),
              HasSubstr("no usable box in 2 pictures"));
}

constexpr char kBare[] =
    "<annotation><size><width>96</width><height>64</height></size></annotation>";

TEST_F(DataFolderTest, BothSidesOfASplitBySeedHaveBoxes) {
  const auto read = [&](int with_boxes, uint64_t seed) {
    const std::string folder = directory_ / absl::StrCat("of", with_boxes);
    WriteFolder(folder, 0, 8, 1);
    for (int i = with_boxes; i < 8; ++i) WriteFile(absl::StrCat(folder, "/p", i, ".xml"), kBare);
    DataOptions options;
    options.data = folder;
    options.seed = seed;
    return ReadTrainingData(options);
  };
  const auto boxes = [](const Dataset& dataset) {
    size_t count = 0;
    for (const LabelledImage& image : dataset.images) count += image.boxes.size();
    return count;
  };
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    const auto data = read(2, seed);
    ASSERT_TRUE(data.ok()) << data.status();
    EXPECT_EQ(boxes(data->training), 1u) << seed;
    EXPECT_EQ(boxes(data->validation), 1u) << seed;
    EXPECT_EQ(data->training.images.size() + data->validation.images.size(), 8u);
    EXPECT_THAT(std::string(read(1, seed).status().message()),
                HasSubstr("one picture with boxes cannot be split"));
  }
}

TEST_F(DataFolderTest, ABrokenCocoFileIsToldAsBroken) {
  directory_.Write("labels.json", "{\"images\": [");
  EXPECT_THAT(std::string(Read(directory_.path()).status().message()), HasSubstr("labels.json"));
}

}  // namespace
}  // namespace ela::train
