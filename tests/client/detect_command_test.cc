// `ela detect` as a process, against a fake server in this one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/command/draw.h"
#include "model/image/decode.h"
#include "tests/client/fake_server.h"
#include "tests/client/process.h"

namespace ela {
namespace {

namespace fs = std::filesystem;
using client::DrawingFormat;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

struct Result {
  int exit_code;
  std::string output;
  std::string errors;
};

// A grey picture file.
std::string GreyFile(int32_t width, int32_t height, DrawingFormat format) {
  const Image image = {width, height,
                       std::vector<uint8_t>(static_cast<size_t>(width) * height * 3, 128)};
  return client::DrawObjects(image, {}, format).value();
}

// The same with an EXIF orientation.
std::string Turned(const std::string& jpeg, char orientation) {
  std::string exif("Exif\0\0MM\0\x2A\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0", 25);
  exif += std::string(1, orientation) + std::string(6, '\0');
  const size_t size = exif.size() + 2;
  const std::string segment{'\xFF', '\xE1', static_cast<char>(size >> 8), static_cast<char>(size)};
  return jpeg.substr(0, 2) + segment + exif + jpeg.substr(2);
}

class DetectCommandTest : public ::testing::Test {
 protected:
  DetectCommandTest() {
    std::string name = ::testing::TempDir() + "/ela-detect-XXXXXX";
    root_ = mkdtemp(name.data());
  }
  ~DetectCommandTest() override { fs::remove_all(root_); }

  Result Run(std::vector<std::string> arguments, const std::string& input = "") {
    arguments.insert(arguments.begin(), {ELA_COMMAND, "detect"});
    Process process(arguments, {"ELA_SERVER=" + server_.address()});
    if (!input.empty()) process.Write(input);
    const int exit_code = process.Wait();
    return {exit_code, process.output(), process.errors()};
  }

  std::string At(const std::string& name) const { return (root_ / name).string(); }
  std::string Make(const std::string& name, const std::string& text) {
    const fs::path path = root_ / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << text;
    return path.string();
  }
  static std::string Bytes(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return text.str();
  }
  static Image Picture(const std::string& path) {
    const std::string bytes = Bytes(path);
    const auto* const data = reinterpret_cast<const uint8_t*>(bytes.data());
    return DecodeImage({data, bytes.size()}, ImageLimits()).value().image;
  }
  static std::vector<nlohmann::json> Lines(const std::string& text) {
    std::vector<nlohmann::json> lines;
    for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
      lines.push_back(nlohmann::json::parse(line));
    }
    return lines;
  }

  // A cell at (10, 20) to (50, 60) in every picture.
  void FindACell() {
    detection_.OnPicture([](const v1::DetectImage&) {
      v1::ImageResult result;
      *result.add_objects() = FakeObject(0, 0.97f, 10, 20, 50, 60);
      result.set_width(100);
      result.set_height(80);
      result.set_orientation(1);
      return result;
    });
  }

  fs::path root_;
  FakeServer server_;
  FakeDetection& detection_ = server_.detection();
};

TEST_F(DetectCommandTest, ObjectsAreATable) {
  detection_.OnPicture([](const v1::DetectImage& image) {
    v1::ImageResult result;
    if (image.encoded() == "empty") return result;
    *result.add_objects() = FakeObject(1, 0.97f, 1.25f, 20, 300.5f, 400);
    *result.add_objects() = FakeObject(0, 0.5f, 0, 0, 9.96f, 10);
    return result;
  });
  const std::string two = Make("two.jpg", "two"), none = Make("none.jpg", "empty");

  const Result result = Run({two, none});

  EXPECT_EQ(result.exit_code, 0) << result.errors;
  const std::vector<std::string> lines = absl::StrSplit(result.output, '\n');
  ASSERT_EQ(lines.size(), 5) << result.output;
  const auto words = [](const std::string& line) -> std::vector<std::string> {
    return absl::StrSplit(line, ' ', absl::SkipEmpty());
  };
  EXPECT_THAT(words(lines[0]), ElementsAre("IMAGE", "CLASS", "SCORE", "X0", "Y0", "X1", "Y1"));
  EXPECT_THAT(words(lines[1]), ElementsAre(two, "speck", "0.97", "1.2", "20.0", "300.5", "400.0"));
  EXPECT_THAT(words(lines[2]), ElementsAre(two, "cell", "0.50", "0.0", "0.0", "10.0", "10.0"));
  EXPECT_THAT(words(lines[3]), ElementsAre(none, "(none)"));
  EXPECT_EQ(lines[0].find("Y1") + 2, lines[1].size());  // one column under the other
  EXPECT_THAT(result.errors, HasSubstr("2 of 2 pictures, 2 objects"));
}

TEST_F(DetectCommandTest, JsonIsOneObjectAPicture) {
  FindACell();
  const std::string path = Make("a.jpg", "bytes");

  const Result result = Run({path, "--json"});

  ASSERT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_EQ(result.errors, "");
  const std::vector<nlohmann::json> lines = Lines(result.output);
  ASSERT_EQ(lines.size(), 1);
  EXPECT_EQ(lines[0]["image"], path);
  EXPECT_EQ(lines[0]["width"], 100);
  EXPECT_EQ(lines[0]["height"], 80);
  EXPECT_EQ(lines[0]["orientation"], 1);
  EXPECT_EQ(lines[0]["truncated"], false);
  EXPECT_EQ(lines[0]["objects"][0]["class"], "cell");
  EXPECT_EQ(lines[0]["objects"][0]["class_id"], 0);
  EXPECT_EQ(lines[0]["objects"][0]["box"], nlohmann::json({10, 20, 50, 60}));
  EXPECT_EQ(lines[0]["objects"][0]["score"], 0.97);  // not 0.9700000286102295
  EXPECT_TRUE(lines[0]["times"].contains("network_seconds"));
}

TEST_F(DetectCommandTest, OptionsReachTheServer) {
  Seen<v1::DetectRequest> seen;
  detection_.OnDetect([&seen](grpc::ServerContext*, const v1::DetectRequest& request,
                              v1::DetectResponse* response) {
    seen.Set(request);
    response->add_results();
    return grpc::Status::OK;
  });
  const std::string path = Make("a.jpg", "bytes");

  EXPECT_EQ(Run({path, "--threshold", "0.5", "--iou", "0.4", "--max", "7", "--classes",
                 "cell,speck", "--class-agnostic", "--input-size", "640x480", "--model", "eyes"})
                .exit_code,
            0);
  EXPECT_EQ(seen.Get().model(), "eyes");
  EXPECT_EQ(seen.Get().options().score_threshold(), 0.5f);
  EXPECT_EQ(seen.Get().options().iou_threshold(), 0.4f);
  EXPECT_EQ(seen.Get().options().max_detections(), 7);
  EXPECT_TRUE(seen.Get().options().class_agnostic());
  EXPECT_THAT(seen.Get().options().classes(), ElementsAre("cell", "speck"));
  EXPECT_EQ(seen.Get().options().input_width(), 640);
  EXPECT_EQ(seen.Get().options().input_height(), 480);
  EXPECT_EQ(seen.Get().images(0).encoded(), "bytes");

  EXPECT_EQ(Run({path, "--input-size", "416"}).exit_code, 0);
  EXPECT_EQ(seen.Get().options().input_width(), 416);
  EXPECT_EQ(seen.Get().options().input_height(), 416);

  EXPECT_EQ(Run({path}).exit_code, 0);
  EXPECT_FALSE(seen.Get().options().has_score_threshold());
  EXPECT_FALSE(seen.Get().options().has_class_agnostic());
}

TEST_F(DetectCommandTest, PicturesComeFromFilesFoldersAndInput) {
  Make("folder/one.png", "1");
  Make("folder/sub/two.jpg", "22");
  const std::string file = Make("three.dat", "333");

  const Result result = Run({file, At("folder"), "-", "--json"}, "4444");

  ASSERT_EQ(result.exit_code, 0) << result.errors;
  std::vector<std::pair<std::string, int>> found;  // name, and the bytes that the server got
  for (const nlohmann::json& line : Lines(result.output)) {
    found.emplace_back(line["image"], line["objects"][0]["box"][2]);
  }
  EXPECT_THAT(found, ElementsAre(std::pair(file, 3), std::pair(At("folder/one.png"), 1),
                                 std::pair(At("folder/sub/two.jpg"), 2), std::pair("-", 4)));
}

TEST_F(DetectCommandTest, ABadPictureIsNamedAndTheOthersGoOn) {
  detection_.OnPicture([](const v1::DetectImage& image) {
    if (image.encoded() == "good") return v1::ImageResult();
    return FakeImageError("no JPEG or PNG: it starts with \"text\"", "IMAGE_UNKNOWN_FORMAT");
  });
  const std::string good = Make("good.jpg", "good"), bad = Make("bad.jpg", "text");

  const Result result = Run({bad, At("missing.jpg"), good, root_.string() + "/nothing", "--json"});

  EXPECT_EQ(result.exit_code, 3);
  EXPECT_THAT(result.errors,
              AllOf(HasSubstr("ela: " + bad + ": no JPEG or PNG: it starts with \"text\"\n"),
                    HasSubstr("ela: " + At("missing.jpg") + ": cannot open: No such file")));
  const std::vector<nlohmann::json> lines = Lines(result.output);
  ASSERT_EQ(lines.size(), 4);
  EXPECT_EQ(lines[0]["error"]["reason"], "IMAGE_UNKNOWN_FORMAT");
  EXPECT_EQ(lines[0]["error"]["code"], "INVALID_ARGUMENT");
  EXPECT_EQ(lines[1]["error"]["code"], "NOT_FOUND");
  EXPECT_EQ(lines[2]["image"], good);
  EXPECT_FALSE(lines[2].contains("error"));
}

TEST_F(DetectCommandTest, AFaultOfTheServerAtOnePictureIsNoFaultOfThePicture) {
  detection_.OnPicture([](const v1::DetectImage& image) {
    v1::ImageResult result;
    if (image.encoded() == "good") return result;
    result = FakeImageError("the network's output is not finite", "");
    result.mutable_error()->set_code(static_cast<int>(grpc::StatusCode::DATA_LOSS));
    return result;
  });
  const Result result = Run({Make("bad.jpg", "bad"), Make("good.jpg", "good")});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.output, HasSubstr("good.jpg"));
  EXPECT_THAT(result.errors, HasSubstr("bad.jpg: the network's output is not finite"));
}

TEST_F(DetectCommandTest, AnEmptyFolderIsToldByTheExitCode) {
  fs::create_directory(At("empty"));
  const Result result = Run({At("empty")});
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_EQ(result.errors, "ela: " + At("empty") + " holds no .jpg, .jpeg or .png file\n");
  EXPECT_EQ(result.output, "");
}

TEST_F(DetectCommandTest, APictureOverTheServersLimitIsNotSent) {
  const Result result = Run({Make("large.jpg", std::string((1 << 20) + 1, 'x'))});
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_THAT(result.errors, HasSubstr("large.jpg: larger than 1048576 bytes, the most that this "
                                       "server takes"));
  EXPECT_EQ(detection_.num_detect_calls(), 0);
}

TEST_F(DetectCommandTest, AWrongRequestIsToldOnceNotForEachPicture) {
  google::rpc::BadRequest bad;
  auto* violation = bad.add_field_violations();
  violation->set_field("options.score_threshold");
  violation->set_description("is nan, allowed are 0 to 1");
  detection_.OnDetect(
      [&bad](grpc::ServerContext*, const v1::DetectRequest& request, v1::DetectResponse*) {
        EXPECT_TRUE(std::isnan(request.options().score_threshold()));
        return WithDetails(grpc::StatusCode::INVALID_ARGUMENT, "the request is wrong", {&bad});
      });
  for (int i = 0; i < 50; ++i) Make(absl::StrCat("in/", i, ".jpg"), "x");

  const Result result = Run({At("in"), "--threshold", "nan"});

  EXPECT_EQ(result.exit_code, 3);
  EXPECT_EQ(result.output, "");
  const size_t first = result.errors.find("is nan, allowed");
  ASSERT_NE(first, std::string::npos) << result.errors;
  EXPECT_EQ(result.errors.find("is nan, allowed", first + 1), std::string::npos);
}

TEST_F(DetectCommandTest, WrongCommandLines) {
  const std::string photo = Make("photo.jpg", "x"), other = Make("other.jpg", "y");
  const auto expect = [this](const std::vector<std::string>& arguments, const std::string& words) {
    const Result result = Run(arguments);
    EXPECT_EQ(result.exit_code, 2) << words;
    EXPECT_THAT(result.errors, AllOf(StartsWith("ela: "), HasSubstr(words)));
  };
  expect({}, "pictures is required");
  expect({photo, "--threshold", "high"}, "high");
  expect({photo, "--max", "-1"}, "is not a whole number");
  for (const std::string size : {"", "x", "640x", "x480", "640x480x3", "-1", "1e3"}) {
    expect({photo, "--input-size", size}, "must be pixels: 640 or 640x480");
  }
  expect({photo, "--draw", At("out.gif")}, "must end in .png, .jpg or .jpeg");
  expect({photo, other, "--draw", At("out.png")}, "name a folder");
  expect({photo, "--draw", photo}, "would replace the picture");
  expect({photo, "--draw", root_.string()}, "would replace the picture");
  expect({photo, "--draw", ""}, "no file is named");
  expect({"-", "-"}, "only once");
  EXPECT_EQ(Bytes(photo), "x");
  EXPECT_EQ(detection_.num_detect_calls(), 0);
}

TEST_F(DetectCommandTest, ServersThatCannotHelpAreAnError) {
  const std::string photo = Make("photo.jpg", "x");
  const Result gone = Run({photo, "--server", "127.0.0.1:1"});
  EXPECT_EQ(gone.exit_code, 1);
  EXPECT_THAT(gone.errors, HasSubstr("no server answers at 127.0.0.1:1"));
  const Result other = Run({photo, "--model", "ears"});
  EXPECT_EQ(other.exit_code, 3);
  EXPECT_EQ(other.errors, "ela: no detector \"ears\"\n");
}

TEST_F(DetectCommandTest, AnOverloadedServerIsWaitedFor) {
  std::atomic<int> calls = 0;
  detection_.OnDetect(
      [&calls](grpc::ServerContext*, const v1::DetectRequest&, v1::DetectResponse* response) {
        if (calls++ < 3) {
          return Busy(grpc::StatusCode::RESOURCE_EXHAUSTED, "full", absl::Milliseconds(1));
        }
        response->add_results();
        return grpc::Status::OK;
      });
  EXPECT_EQ(Run({Make("photo.jpg", "x")}).exit_code, 0);
  EXPECT_EQ(calls, 4);
}

TEST_F(DetectCommandTest, SeveralAreInFlightAndTheirOrderStays) {
  constexpr int kPictures = 40, kConcurrency = 4;
  std::atomic<int> running = 0, most = 0;
  absl::Notification full;
  detection_.OnDetect(
      [&](grpc::ServerContext*, const v1::DetectRequest& request, v1::DetectResponse* response) {
        const int now = ++running;
        for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
        }
        if (now == kConcurrency && !full.HasBeenNotified()) full.Notify();
        full.WaitForNotification();  // the first ones are answered once that many are in flight
        *response->add_results() = detection_.Look(request.images(0));
        --running;
        return grpc::Status::OK;
      });
  for (int i = 0; i < kPictures; ++i) {
    Make(absl::StrCat("in/", 100 + i, ".jpg"), std::string(i + 1, 'x'));
  }

  const Result result = Run({At("in"), "--json", "-c", absl::StrCat(kConcurrency)});

  ASSERT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_EQ(most, kConcurrency);
  const std::vector<nlohmann::json> lines = Lines(result.output);
  ASSERT_EQ(lines.size(), kPictures);
  for (int i = 0; i < kPictures; ++i) EXPECT_EQ(lines[i]["objects"][0]["box"][2], i + 1);
}

TEST_F(DetectCommandTest, InterruptCancelsWhatRuns) {
  std::atomic<int> running = 0, cancelled = 0;
  detection_.OnDetect([&](grpc::ServerContext* context, const v1::DetectRequest& request,
                          v1::DetectResponse* response) {
    if (request.images(0).encoded() == "first") {
      response->add_results();
      return grpc::Status::OK;
    }
    ++running;
    while (!context->IsCancelled()) std::this_thread::yield();
    ++cancelled;
    return grpc::Status::CANCELLED;
  });
  const std::string first = Make("first.jpg", "first"), a = Make("a.jpg", "a"),
                    b = Make("b.jpg", "b");

  Process process({ELA_COMMAND, "detect", first, a, b, "--server", server_.address()});
  process.ReadOutputUntil("(none)");
  while (running < 2) std::this_thread::yield();
  process.Signal(SIGINT);

  EXPECT_EQ(process.Wait(), 130);
  EXPECT_THAT(process.errors(), AllOf(HasSubstr("ela: interrupted\n"), Not(HasSubstr("a.jpg"))));
  EXPECT_THAT(process.output(), HasSubstr("first.jpg"));
  while (cancelled < 2) std::this_thread::yield();
}

TEST_F(DetectCommandTest, ALimitThatCutsObjectsOffIsSaid) {
  detection_.OnPicture([](const v1::DetectImage&) {
    v1::ImageResult result;
    *result.add_objects() = FakeObject(0, 1, 0, 0, 1, 1);
    result.set_truncated(true);
    return result;
  });
  const Result result = Run({Make("a.jpg", "x"), "--max", "1"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.errors, HasSubstr("a.jpg: more than the 1 objects shown; a limit cut the rest off (--max"));
}

TEST_F(DetectCommandTest, BoxesAreDrawnIntoAFile) {
  FindACell();
  const std::string photo = Make("photo.jpg", GreyFile(100, 80, DrawingFormat::kJpeg));

  const Result result = Run({photo, "--draw", At("out.png"), "--json"});

  ASSERT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_EQ(Lines(result.output)[0]["drawn"], At("out.png"));
  EXPECT_EQ(Bytes(At("out.png")).substr(1, 3), "PNG");
  const Image drawn = Picture(At("out.png"));
  ASSERT_EQ(drawn.width, 100);
  ASSERT_EQ(drawn.height, 80);
  const client::Color blue = client::ClassColor(0);
  const uint8_t* const edge = &drawn.pixels[(50 * 100 + 10) * 3];  // (10, 50) is on the left edge
  EXPECT_GT(edge[2], edge[0] + 20);                                // blue
  EXPECT_EQ(blue.red, 0);
  const uint8_t* const inside = &drawn.pixels[(45 * 100 + 30) * 3];
  EXPECT_NEAR(inside[0], 128, 2);
}

TEST_F(DetectCommandTest, ATurnedPictureIsDrawnAsAPersonSeesIt) {
  FindACell();
  const std::string jpeg = GreyFile(80, 64, DrawingFormat::kJpeg);
  ASSERT_EQ(Run({Make("turned.jpg", Turned(jpeg, 6)), "--draw", At("out.jpg")}).exit_code, 0);
  EXPECT_EQ(Picture(At("out.jpg")).width, 64);
  EXPECT_EQ(Picture(At("out.jpg")).height, 80);
}

TEST_F(DetectCommandTest, AFolderIsDrawnIntoAFolder) {
  FindACell();
  Make("in/a.png", GreyFile(100, 80, DrawingFormat::kPng));
  Make("in/sub/b.jpg", GreyFile(100, 80, DrawingFormat::kJpeg));
  const std::string before = Bytes(At("in/a.png"));

  const Result result = Run({At("in"), "--draw", At("out/new")});

  EXPECT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_EQ(Bytes(At("out/new/a.png")).substr(1, 3), "PNG");
  EXPECT_EQ(Bytes(At("out/new/sub/b.jpg")).substr(0, 2), "\xFF\xD8");
  EXPECT_EQ(Bytes(At("in/a.png")), before);
}

TEST_F(DetectCommandTest, ADrawingThatCannotBeWrittenIsAnError) {
  FindACell();
  const std::string photo = Make("photo.jpg", GreyFile(100, 80, DrawingFormat::kJpeg));
  fs::create_symlink("/dev/full", At("full.png"));
  const Result full = Run({photo, "--draw", At("full.png")});
  EXPECT_EQ(full.exit_code, 1);
  EXPECT_EQ(full.errors, "ela: cannot write " + At("full.png") + ": No space left on device\n");
  const Result below = Run({photo, "--draw", photo + "/out.png"});
  EXPECT_EQ(below.exit_code, 1);
  EXPECT_THAT(below.errors, HasSubstr("cannot write " + photo + "/out.png: "));
}

TEST_F(DetectCommandTest, OutputThatCannotBeWrittenStopsTheJob) {
  for (int i = 0; i < 200; ++i) Make(absl::StrCat("in/", i, ".jpg"), "x");
  Process process(
      {"/bin/sh", "-c", absl::StrCat(ELA_COMMAND, " detect ", At("in"), " > /dev/full")},
      {"ELA_SERVER=" + server_.address()});
  EXPECT_EQ(process.Wait(), 1);
  EXPECT_THAT(process.errors(),
              HasSubstr("ela: cannot write to standard output: No space left on device\n"));
  EXPECT_LT(detection_.num_detect_calls(), 200);
}

TEST_F(DetectCommandTest, HelpTeachesWithExamples) {
  const Result result = Run({"--help"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.output, AllOf(HasSubstr("Examples:"), HasSubstr("ela detect photo.jpg")));
}

}  // namespace
}  // namespace ela
