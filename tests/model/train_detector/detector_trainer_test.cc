#include "model/train/detector/detector_trainer.h"

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/image/decode.h"
#include "model/train/command_line.h"
#include "model/train/detector/drawing.h"
#include "model/train/train_state.h"
#include "tests/model/temporary_directory.h"
#include "tests/model/train_detector/picture_folder.h"

namespace ela::train {
namespace {

using testing::AllOf;
using testing::HasSubstr;

DetectorSettings SmallSettings() {
  DetectorSettings settings;
  settings.model.variant = DetectorVariant::kLatMs;
  settings.model.input_width = 96;
  settings.model.input_height = 64;
  settings.model.fit = FitMode::kStretch;
  MultiScaleShape& shape = settings.model.shape;
  shape.stem = {8, 8};
  shape.widths = {8, 16, 16};
  shape.blocks = {0, 1, 0};
  shape.neck = 16;
  shape.neck_kernel = 3;
  settings.batch = 4;
  settings.num_epochs = 5;
  settings.optimizer.warmup_steps = 3;
  settings.num_threads = 1;
  return settings;
}

class DetectorTrainerTest : public testing::Test {
 protected:
  // The process that EXPECT_EXIT starts runs the test from its beginning: it takes over the
  // directory.
  DetectorTrainerTest() {
    setenv("ELA_DETECTOR_TEST_DIRECTORY", mine_.path().c_str(), /*overwrite=*/0);
    shared_ = getenv("ELA_DETECTOR_TEST_DIRECTORY");
    WriteVoc(shared_ + "/voc", 8, 4, 2);
  }
  ~DetectorTrainerTest() override { unsetenv("ELA_DETECTOR_TEST_DIRECTORY"); }

  TrainingData Data() const {
    DataOptions options;
    options.data = shared_ + "/voc";
    return *ReadTrainingData(options);
  }
  DetectorRunOptions Quiet(const std::string& name) const {
    DetectorRunOptions run;
    run.out = shared_ + "/" + name;
    run.evaluate_every = 1;
    run.quiet = true;
    return run;
  }
  void ExpectSameRun(const std::string& a, const std::string& b) const {
    for (const char* file : {"/training.safetensors", "/model.safetensors", "/config.json",
                             "/README.md", "/samples.png", "/precision_recall.png"}) {
      const std::string bytes = ReadBytes(shared_ + "/" + a + file);
      EXPECT_FALSE(bytes.empty()) << file;
      EXPECT_TRUE(bytes == ReadBytes(shared_ + "/" + b + file)) << file;
    }
  }

  TemporaryDirectory mine_;
  std::string shared_;
};

TEST_F(DetectorTrainerTest, AKilledRunResumesToTheSameBits) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  const DetectorSettings settings = SmallSettings();
  DetectorRunOptions killed = Quiet("killed");
  killed.after_step = [](int64_t step) {
    if (step == 7) raise(SIGKILL);
  };
  EXPECT_EXIT(TrainDetector(settings, killed, Data()).IgnoreError(),
              testing::KilledBySignal(SIGKILL), "");
  ASSERT_EQ(LoadTrainPosition(killed.out)->step, 6);

  DetectorRunOptions resumed = Quiet("killed");
  resumed.resume = true;
  ASSERT_TRUE(TrainDetector(settings, resumed, Data()).ok());
  ASSERT_TRUE(TrainDetector(settings, Quiet("whole"), Data()).ok());
  ExpectSameRun("killed", "whole");
}

TEST_F(DetectorTrainerTest, AStoppedRunSavesAndResumesToTheSameBits) {
  const DetectorSettings settings = SmallSettings();
  std::atomic<bool> stop{false};
  DetectorRunOptions stopped = Quiet("stopped");
  stopped.stop = &stop;
  stopped.after_step = [&](int64_t step) { stop = step == 5; };
  const absl::Status status = TrainDetector(settings, stopped, Data()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  EXPECT_THAT(std::string(status.message()), HasSubstr("after step 5 of 10"));
  ASSERT_EQ(LoadTrainPosition(stopped.out)->step, 5);

  DetectorRunOptions resumed = Quiet("stopped");
  resumed.resume = true;
  ASSERT_TRUE(TrainDetector(settings, resumed, Data()).ok());
  ASSERT_TRUE(TrainDetector(settings, Quiet("whole"), Data()).ok());
  ExpectSameRun("stopped", "whole");
}

TEST_F(DetectorTrainerTest, ResumesOnlyUnderTheSameSettingsAndData) {
  DetectorSettings settings = SmallSettings();
  settings.num_epochs = 1;
  DetectorRunOptions run = Quiet("run");
  ASSERT_TRUE(TrainDetector(settings, run, Data()).ok());
  const absl::Status again = TrainDetector(settings, run, Data()).status();
  EXPECT_EQ(again.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(again.message()), HasSubstr("a run is there already"));

  run.resume = true;
  DetectorSettings other = settings;
  other.augmentation.mosaic = 0.9;
  const absl::Status refused = TrainDetector(other, run, Data()).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("mosaic is 0.9, the run began with 0.3"));

  TrainingData data = Data();
  data.training.images[0].boxes[0].box.x0 += 1;
  EXPECT_THAT(std::string(TrainDetector(settings, run, std::move(data)).status().message()),
              HasSubstr("other training data"));
}

TEST_F(DetectorTrainerTest, ALossThatIsNotFiniteStopsTheRunAndNamesTheStep) {
  DetectorSettings settings = SmallSettings();
  settings.optimizer.learning_rate = 1e30;
  const absl::Status status = TrainDetector(settings, Quiet("run"), Data()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("step "), HasSubstr("loss is")));
}

TEST_F(DetectorTrainerTest, LearnsToFindRectanglesOfTwoColours) {
  DetectorSettings settings = SmallSettings();
  settings.num_epochs = 60;
  settings.optimizer.learning_rate = 1e-2;
  settings.average_decay = 0.9;
  DetectorRunOptions run = Quiet("run");
  run.evaluate_every = 15;
  const auto result = TrainDetector(settings, run, Data());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_GT(result->validation.figures.map50, 0.7);
}

TEST_F(DetectorTrainerTest, SettingsOutOfRangeAreAllNamed) {
  DetectorSettings settings = SmallSettings();
  settings.model.input_width = 100;
  settings.augmentation.flip_horizontal = 2;
  settings.optimizer.learning_rate = -1;
  const absl::Status status = TrainDetector(settings, Quiet("run"), Data()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("size is 100, allowed is a multiple of 32 up to 1280"),
                    HasSubstr("flip is 2"), HasSubstr("lr is -1")));
}

TEST(DetectorSettingsTest, EpochsFollowFromTheNumberOfPictures) {
  EXPECT_EQ(AutomaticEpochs(20), 600);
  EXPECT_EQ(AutomaticEpochs(200), 300);
  EXPECT_EQ(AutomaticEpochs(118000), 24);
}

TEST_F(DetectorTrainerTest, AsManyEpochsAsFitInTheGivenMinutesAndResumingKeepsTheirNumber) {
  DetectorSettings settings = SmallSettings();
  settings.num_epochs = 0;
  DetectorRunOptions run = Quiet("run");
  run.minutes = 0.03;
  run.evaluate_every = 1000;
  const auto first = TrainDetector(settings, run, Data());
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_GT(first->steps, 2);
  run.resume = true;
  const auto again = TrainDetector(settings, run, Data());
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->steps, first->steps);
}

TEST(DetectorSettingsTest, SmallObjectsGetALargerInput) {
  Dataset dataset;
  dataset.images.push_back({"", "", 1, 640, 480, {}});
  const auto side_of = [&](float side) {
    dataset.images[0].boxes.assign(10, {{0, 0, side, side}, 0, 0, false});
    return AutomaticSide(dataset);
  };
  EXPECT_EQ(side_of(40), 320);
  EXPECT_EQ(side_of(20), 416);
  EXPECT_EQ(side_of(10), 512);
}

TEST(DetectorSettingsTest, PicturesOfOneShapeAreStretched) {
  Dataset dataset;
  for (int i = 0; i < 20; ++i) dataset.images.push_back({"", "", i, 640, 480, {}});
  EXPECT_EQ(AutomaticFit(dataset, 320, 320), FitMode::kStretch);
  for (int i = 0; i < 5; ++i) dataset.images[i].height = 640;
  EXPECT_EQ(AutomaticFit(dataset, 320, 320), FitMode::kLetterbox);
  for (LabelledImage& image : dataset.images) image = {"", "", 0, 1500, 500, {}};
  EXPECT_EQ(AutomaticFit(dataset, 320, 320), FitMode::kLetterbox);
}

TEST(DrawingTest, WritesAPngWithTheDrawnColours) {
  TemporaryDirectory directory;
  Canvas canvas(60, 40);
  canvas.Fill({10, 10, 30, 30}, {1, 0, 0}, 1);
  canvas.Text(35, 20, "Abc", 12, {0, 0, 0});
  ASSERT_TRUE(canvas.WritePng(directory / "a.png").ok());
  const std::string bytes = ReadBytes(directory / "a.png");
  const auto picture =
      DecodeImage({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, ImageLimits());
  ASSERT_TRUE(picture.ok()) << picture.status();
  EXPECT_EQ(picture->image.width, 60);
  EXPECT_TRUE(IsColour(picture->image, 20, 20, {255, 0, 0}));
  EXPECT_TRUE(IsColour(picture->image, 5, 5, {255, 255, 255}));
  int dark = 0;
  for (int x = 35; x < 60; ++x) {
    for (int y = 5; y < 25; ++y) dark += picture->image.pixels[3 * (y * 60 + x)] < 100;
  }
  EXPECT_GT(dark, 10) << "no font was found";
}

struct Outcome {
  int code;
  std::string output, errors;
};

Outcome RunTrainer(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "ela-train");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  const int code = RunCommandLine(static_cast<int>(argv.size()), argv.data());
  std::fflush(stdout);
  std::string output = testing::internal::GetCapturedStdout();
  return {code, output, testing::internal::GetCapturedStderr()};
}

TEST(DetectorCommandTest, TrainsWithASettingsFileAndEvaluatesOnBothPaths) {
  TemporaryDirectory directory;
  WriteVoc(directory / "voc", 6, 4, 2);
  directory.Write("recipe.json",
                  R"({"epochs": 40, "size": "96x64", "batch": 2, "lr": 0.01, "threads": 1,
                      "ema": 0.9, "evaluate_every": 20, "shape": {"stem": [8, 8],
                      "widths": [8, 16, 16], "blocks": [0, 1, 0], "neck": 16}})");
  const std::string run = directory / "run", voc = directory / "voc";
  const Outcome trained = RunTrainer({"detector", "--data", voc, "--out", run, "--config",
                                      directory / "recipe.json", "--epochs", "20"});
  ASSERT_EQ(trained.code, 0) << trained.errors;
  EXPECT_THAT(trained.errors, HasSubstr("20 epochs"));  // the command line wins
  EXPECT_TRUE(nlohmann::json::parse(trained.output).contains("mAP50-95"));
  for (const char* file : {"/config.json", "/model.safetensors", "/README.md", "/samples.png",
                           "/precision_recall.png", "/log.jsonl"}) {
    EXPECT_TRUE(std::filesystem::exists(run + file)) << file;
  }

  double map[2];
  for (const char* path : {"serving", "torch"}) {
    const Outcome evaluated =
        RunTrainer({"eval-detector", "--model", run, "--data", voc, "--split", "val", "--path",
                    path, "--detections", directory / "found.json"});
    ASSERT_EQ(evaluated.code, 0) << evaluated.errors;
    const auto figures = nlohmann::json::parse(evaluated.output);
    map[path == std::string("torch")] = figures["mAP50-95"].get<double>();
    EXPECT_EQ(figures["classes"]["class1"]["objects"], 2);
    const auto found = nlohmann::json::parse(ReadBytes(directory / "found.json"));
    ASSERT_GT(found.size(), 0u);
    EXPECT_EQ(found[0]["bbox"].size(), 4u);
    EXPECT_GE(found[0]["image_id"].get<int>(), 1);
  }
  EXPECT_NEAR(map[0], map[1], 0.02);
}

TEST(DetectorCommandTest, WrongArgumentsSayWhatIsExpected) {
  TemporaryDirectory directory;
  WriteVoc(directory / "voc", 2, 1, 1);
  const auto errors = [&](std::vector<std::string> more) {
    std::vector<std::string> arguments = {"detector", "--data", directory / "voc", "--out",
                                          directory / "run"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome outcome = RunTrainer(arguments);
    EXPECT_NE(outcome.code, 0);
    return outcome.errors;
  };
  EXPECT_THAT(errors({"--size", "wide"}), HasSubstr("--size is 'wide'"));
  EXPECT_THAT(errors({"--variant", "yolo"}), HasSubstr("lat-ms"));
  EXPECT_THAT(errors({"--shape", "{\"neck\": 7}"}), HasSubstr("shape.neck"));
  EXPECT_THAT(errors({"--export-dtype", "f8"}), HasSubstr("known are f32, bf16"));
  EXPECT_THAT(errors({"--config", directory / "none.json"}), HasSubstr("none.json"));
  EXPECT_THAT(RunTrainer({"eval-detector", "--model", directory / "none", "--data",
                          directory / "voc", "--split", "val"})
                  .errors,
              HasSubstr("none"));
}

}  // namespace
}  // namespace ela::train
