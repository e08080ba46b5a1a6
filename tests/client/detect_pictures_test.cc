// Which pictures a command line means, how they are read and where drawings are written.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "client/command/picture_file.h"
#include "client/command/picture_list.h"

namespace ela {
namespace {

namespace fs = std::filesystem;
using client::ListPictures;
using client::Picture;
using client::PictureList;
using client::ReadPicture;
using client::WritePicture;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class DetectPicturesTest : public ::testing::Test {
 protected:
  DetectPicturesTest() {
    std::string name = ::testing::TempDir() + "/ela-pictures-XXXXXX";
    root_ = mkdtemp(name.data());
  }
  ~DetectPicturesTest() override { fs::remove_all(root_); }

  std::string At(const std::string& name) const { return (root_ / name).string(); }

  std::string Make(const std::string& name, const std::string& text = "bytes") {
    const fs::path path = root_ / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path) << text;
    return path.string();
  }

  static std::string Text(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }

  // Paths of the pictures, and of their drawings, below the test's folder.
  std::vector<std::string> Paths(const PictureList& list) const {
    std::vector<std::string> paths;
    for (const Picture& picture : list.pictures) {
      paths.push_back(fs::path(picture.path).lexically_relative(root_).string());
    }
    return paths;
  }
  std::vector<std::string> Drawings(const std::vector<std::string>& arguments,
                                    const std::string& draw) const {
    std::vector<std::string> paths;
    const PictureList list = ListPictures(arguments, draw).value();
    for (const Picture& picture : list.pictures) {
      paths.push_back(fs::path(picture.draw_to).lexically_relative(root_).string());
    }
    return paths;
  }

  fs::path root_;
};

TEST_F(DetectPicturesTest, AFolderIsAllItsPicturesInOrder) {
  for (const char* name : {"in/b.JPG", "in/a.png", "in/c.jpeg", "in/notes.txt", "in/.hidden.png",
                           "in/deep/er/z.jpg", "in/.git/x.png"}) {
    Make(name);
  }
  fs::create_directory_symlink(root_ / "in", root_ / "in/loop");
  fs::create_symlink(root_ / "in/a.png", root_ / "in/link.png");

  const PictureList list = ListPictures({At("in")}, "").value();

  EXPECT_THAT(Paths(list),
              ElementsAre("in/a.png", "in/b.JPG", "in/c.jpeg", "in/deep/er/z.jpg", "in/link.png"));
  EXPECT_THAT(list.faults, IsEmpty());
  EXPECT_EQ(list.pictures[0].draw_to, "");
}

TEST_F(DetectPicturesTest, AFileIsTakenWhateverItsNameAndKeepsItsPlace) {
  const PictureList list =
      ListPictures({Make("z.dat"), "-", Make("a.jpg"), At("missing.jpg")}, "").value();
  ASSERT_EQ(list.pictures.size(), 4);
  EXPECT_EQ(list.pictures[0].name, At("z.dat"));
  EXPECT_EQ(list.pictures[1].name, "standard input");
  EXPECT_EQ(list.pictures[1].path, "-");
  EXPECT_EQ(list.pictures[3].path, At("missing.jpg"));
}

TEST_F(DetectPicturesTest, AFolderWithoutPicturesIsAFaultThatStopsNothing) {
  Make("empty/readme.txt");
  const PictureList list = ListPictures({At("empty"), Make("a.jpg")}, "").value();
  EXPECT_THAT(Paths(list), ElementsAre("a.jpg"));
  EXPECT_THAT(list.faults, ElementsAre(HasSubstr("empty holds no .jpg, .jpeg or .png file")));
}

TEST_F(DetectPicturesTest, StandardInputIsReadOnce) {
  EXPECT_EQ(ListPictures({"-", "-"}, "").status().message(),
            "standard input can be read only once");
}

TEST_F(DetectPicturesTest, OnePictureIsDrawnIntoAFileOrAFolder) {
  const std::string photo = Make("photo.jpg");
  EXPECT_THAT(Drawings({photo}, At("out.png")), ElementsAre("out.png"));
  EXPECT_THAT(Drawings({photo}, At("out.JPEG")), ElementsAre("out.JPEG"));
  EXPECT_THAT(Drawings({photo}, At("out")), ElementsAre("out/photo.jpg"));
  EXPECT_THAT(Drawings({photo}, At("out.v2/")), ElementsAre("out.v2/photo.jpg"));
  fs::create_directory(At("folder.png"));
  EXPECT_THAT(Drawings({photo}, At("folder.png")), ElementsAre("folder.png/photo.jpg"));
  EXPECT_THAT(std::string(ListPictures({photo}, At("out.gif")).status().message()),
              HasSubstr("out.gif: a file must end in .png, .jpg or .jpeg, a new folder in /"));
}

TEST_F(DetectPicturesTest, DrawingsOfAFolderKeepTheirPlacesAndEndings) {
  for (const char* name : {"in/a.png", "in/b.jpg", "in/sub/a.png"}) Make(name);
  EXPECT_THAT(
      Drawings({At("in"), Make("c.dat"), "-"}, At("out")),
      ElementsAre("out/a.png", "out/b.jpg", "out/sub/a.png", "out/c.dat.png", "out/stdin.png"));
}

TEST_F(DetectPicturesTest, TwoOfOneNameGetNumbers) {
  const std::vector<std::string> arguments = {Make("x/1.jpg"), Make("y/1.jpg"), Make("z/1.jpg")};
  EXPECT_THAT(Drawings(arguments, At("out")),
              ElementsAre("out/1.jpg", "out/1-2.jpg", "out/1-3.jpg"));
}

TEST_F(DetectPicturesTest, ManyPicturesAreNoSingleFile) {
  EXPECT_THAT(std::string(ListPictures({Make("a.jpg"), Make("b.jpg")}, "o.png").status().message()),
              HasSubstr("--draw o.png is one file and there are 2 pictures: name a folder"));
}

TEST_F(DetectPicturesTest, WhatWasDrawnBeforeIsNotAPicture) {
  Make("in/a.jpg");
  Make("in/boxes/a.jpg");
  EXPECT_THAT(Drawings({At("in")}, At("in/boxes")), ElementsAre("in/boxes/a.jpg"));
}

TEST_F(DetectPicturesTest, ADrawingNeverReplacesAPicture) {
  const std::string photo = Make("in/photo.jpg");
  fs::create_symlink(photo, At("link.png"));
  fs::create_hard_link(photo, At("other.jpg"));
  for (const std::string& draw :
       {photo, At("in"), At("link.png"), At("other.jpg"), At("in/../in/photo.jpg")}) {
    const absl::Status status = ListPictures({photo}, draw).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << draw;
    EXPECT_THAT(std::string(status.message()), HasSubstr("would replace the picture")) << draw;
  }
}

TEST_F(DetectPicturesTest, ReadingStopsAtTheLimit) {
  EXPECT_EQ(ReadPicture(Make("a", "12345"), 5).value(), "12345");
  const absl::Status large = ReadPicture(Make("b", "123456"), 5).status();
  EXPECT_EQ(large.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(large.message(), "larger than 5 bytes, the most that this server takes");
  EXPECT_FALSE(ReadPicture("/dev/zero", 1 << 20).ok());  // without end
  EXPECT_EQ(ReadPicture(At("missing"), 5).status().message(),
            "cannot open: No such file or directory");
  EXPECT_EQ(ReadPicture(root_.string(), 5).status().message(), "cannot read: Is a directory");
}

TEST_F(DetectPicturesTest, WritingMakesFoldersAndReplacesWhatWasThere) {
  ASSERT_TRUE(WritePicture(At("new/folder/a.png"), "one").ok());
  ASSERT_TRUE(WritePicture(At("new/folder/a.png"), "two").ok());
  EXPECT_EQ(Text(At("new/folder/a.png")), "two");
  fs::create_symlink(At("new/folder/a.png"), At("link.png"));
  ASSERT_TRUE(WritePicture(At("link.png"), "three").ok());
  EXPECT_TRUE(fs::is_symlink(At("link.png")));
  EXPECT_EQ(Text(At("new/folder/a.png")), "three");
}

TEST_F(DetectPicturesTest, WhatCannotBeWrittenIsNamedAndLeavesNothing) {
  const std::string file = Make("file");
  const absl::Status below = WritePicture(file + "/a.png", "x");
  EXPECT_THAT(std::string(below.message()), HasSubstr("cannot write " + file + "/a.png: "));
  fs::create_directory(At("folder.png"));
  EXPECT_FALSE(WritePicture(At("folder.png"), "x").ok());
  fs::create_symlink("/dev/full", At("full.png"));
  EXPECT_EQ(WritePicture(At("full.png"), "x").message(),
            "cannot write " + At("full.png") + ": No space left on device");
  for (const fs::directory_entry& entry : fs::directory_iterator(root_)) {
    EXPECT_THAT(entry.path().string(), ::testing::Not(HasSubstr(".part-")));
  }
}

}  // namespace
}  // namespace ela
