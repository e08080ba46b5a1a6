#include "model/vision/cpu_detector.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <thread>

#include "tests/model/temporary_directory.h"
#include "tests/model/vision/counted_allocations.h"
#include "tests/model/vision/random_detector.h"

namespace ela {
namespace {

using ::testing::HasSubstr;

// A detector of random weights that sees an object in many places.
struct Rig {
  explicit Rig(DetectorVariant variant, int num_lanes = 1, float gain = 1.0f) {
    WriteRandomDetector(MakeDetectorConfig(variant, 3), 11, directory.path(), gain);
    CpuDetectorOptions lanes;
    lanes.num_lanes = num_lanes;
    auto created = CreateCpuDetector(directory.path(), lanes);
    EXPECT_TRUE(created.ok()) << created.status();
    options.score_threshold = 0.1f;
    detector = *std::move(created);
  }

  std::vector<DetectOutput> Detect(int lane, int width, int height,
                                   const std::vector<std::vector<uint8_t>>& pictures) {
    std::vector<DetectItem> items;
    for (const auto& picture : pictures) items.push_back({picture, &options});
    std::vector<DetectOutput> outputs(items.size());
    detector->Detect(lane, width, height, items, absl::MakeSpan(outputs));
    return outputs;
  }

  TemporaryDirectory directory;
  DetectionOptions options;
  std::unique_ptr<Detector> detector;
};

void ExpectSameBits(const DetectOutput& a, const DetectOutput& b) {
  ASSERT_TRUE(a.status.ok()) << a.status;
  ASSERT_TRUE(b.status.ok()) << b.status;
  ASSERT_EQ(a.detections.size(), b.detections.size());
  ASSERT_FALSE(a.detections.empty());
  EXPECT_EQ(a.num_candidates, b.num_candidates);
  for (size_t i = 0; i < a.detections.size(); ++i) {
    EXPECT_EQ(std::memcmp(&a.detections[i].box, &b.detections[i].box, sizeof(Box)), 0);
    EXPECT_EQ(std::memcmp(&a.detections[i].score, &b.detections[i].score, sizeof(float)), 0);
    EXPECT_EQ(a.detections[i].class_id, b.detections[i].class_id);
  }
}

TEST(CpuDetectorTest, APictureGetsTheSameBitsInEveryBatchAndLane) {
  for (const DetectorVariant variant : {DetectorVariant::kLat, DetectorVariant::kLatMs}) {
    Rig rig(variant, 3);
    std::vector<std::vector<uint8_t>> pictures;
    for (int i = 0; i < 5; ++i) pictures.push_back(RandomPicture(128, 64, i));
    const std::vector<DetectOutput> together = rig.Detect(2, 128, 64, pictures);
    for (size_t i = 0; i < pictures.size(); ++i) {
      ExpectSameBits(together[i], rig.Detect(i % 2, 128, 64, {pictures[i]})[0]);
    }
  }
}

TEST(CpuDetectorTest, LanesRunAtTheSameTime) {
  Rig rig(DetectorVariant::kLatMs, 2);
  const std::vector<uint8_t> picture = RandomPicture(96, 96, 1);
  const DetectOutput want = rig.Detect(0, 96, 96, {picture})[0];
  std::vector<DetectOutput> got(2);
  std::vector<std::thread> threads;
  for (int lane = 0; lane < 2; ++lane) {
    threads.emplace_back([&, lane] {
      for (int i = 0; i < 5; ++i) got[lane] = rig.Detect(lane, 96, 96, {picture})[0];
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const DetectOutput& output : got) ExpectSameBits(output, want);
}

TEST(CpuDetectorTest, NothingIsAllocatedForASizeThatWasSeen) {
  Rig rig(DetectorVariant::kLatMs);
  const std::vector<uint8_t> wide = RandomPicture(128, 64, 1), high = RandomPicture(64, 128, 1);
  DetectOutput output;
  const auto detect = [&](int width, int height, const std::vector<uint8_t>& picture) {
    const DetectItem item = {picture, &rig.options};
    rig.detector->Detect(0, width, height, {&item, 1}, {&output, 1});
    EXPECT_FALSE(output.detections.empty());
  };
  detect(128, 64, wide);
  detect(64, 128, high);
  const int64_t before = NumAllocations();
  for (int i = 0; i < 3; ++i) {
    detect(128, 64, wide);
    detect(64, 128, high);
  }
  EXPECT_EQ(NumAllocations() - before, 0);
  detect(96, 96, RandomPicture(96, 96, 1));
  EXPECT_GT(NumAllocations() - before, 0);
}

TEST(CpuDetectorTest, InfoTellsWhatTheCheckpointSays) {
  Rig rig(DetectorVariant::kLatMs, 4);
  const DetectorInfo& info = rig.detector->Info();
  EXPECT_EQ(info.variant, "lat-ms");
  EXPECT_EQ(info.model_fingerprint.size(), 64u);
  EXPECT_EQ(info.size_multiple, 32);
  EXPECT_EQ(info.max_input_side, 1280);
  EXPECT_EQ(info.num_lanes, 4);
  EXPECT_EQ(info.class_names.size(), 3u);
  EXPECT_EQ(info.preferred_batch, 1);
  EXPECT_LE(info.num_parameters, 320000);
  EXPECT_GE(info.weight_bytes, 4 * info.num_parameters);
  EXPECT_EQ(info.device, "cpu");
}

TEST(CpuDetectorTest, TheFingerprintNamesConfigAndWeights) {
  const auto fingerprint = [](uint32_t seed, float threshold) {
    TemporaryDirectory directory;
    DetectorConfig config = MakeDetectorConfig(DetectorVariant::kLatDsc, 2);
    config.score_threshold = threshold;
    WriteRandomDetector(config, seed, directory.path());
    return (*CreateCpuDetector(directory.path(), {}))->Info().model_fingerprint;
  };
  EXPECT_EQ(fingerprint(1, 0.25f), fingerprint(1, 0.25f));
  EXPECT_NE(fingerprint(1, 0.25f), fingerprint(2, 0.25f));
  EXPECT_NE(fingerprint(1, 0.25f), fingerprint(1, 0.5f));
}

TEST(CpuDetectorTest, ANetworkThatOverflowsFailsTheItemAlone) {
  // Weights so large that a bright picture overflows float32 and a black one does not.
  Rig rig(DetectorVariant::kLatMs, 1, 1e37f);
  rig.options.score_threshold = 0;
  const auto outputs = rig.Detect(0, 64, 64, {RandomPicture(64, 64, 1)});
  EXPECT_EQ(outputs[0].status.code(), absl::StatusCode::kDataLoss) << outputs[0].status;
  EXPECT_TRUE(outputs[0].detections.empty());
}

TEST(CpuDetectorTest, AnItemThatBreaksTheContractFailsAlone) {
  Rig rig(DetectorVariant::kLat);
  const std::vector<uint8_t> good = RandomPicture(64, 48, 1), bad = RandomPicture(64, 64, 1);
  const auto outputs = rig.Detect(0, 64, 48, {good, bad, good});
  EXPECT_EQ(outputs[1].status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(outputs[1].status.message(), HasSubstr("12288 bytes, 64 x 48 pixels need 9216"));
  ExpectSameBits(outputs[0], outputs[2]);
  const auto odd = rig.Detect(0, 60, 48, {good});
  EXPECT_EQ(odd[0].status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(odd[0].status.message(), HasSubstr("60 x 48, sides are multiples of 16 up to 1280"));
}

TEST(CpuDetectorTest, WhatItCannotServeIsRefusedAtLoad) {
  TemporaryDirectory directory;
  DetectorConfig config = MakeDetectorConfig(DetectorVariant::kLatMs, 2);
  config.shape.context = ContextKind::kSoftmax;
  WriteRandomDetector(config, 1, directory.path());
  const auto softmax = CreateCpuDetector(directory.path(), {});
  EXPECT_EQ(softmax.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(softmax.status().message(), HasSubstr("shape.context is \"softmax\""));

  CpuDetectorOptions options;
  options.num_lanes = 65;
  EXPECT_THAT(CreateCpuDetector(directory.path(), options).status().message(),
              HasSubstr("num_lanes is 65, allowed are 1 to 64"));
  EXPECT_EQ(CreateCpuDetector(directory / "absent", {}).status().code(),
            absl::StatusCode::kNotFound);

  config.shape.context = ContextKind::kEla;
  WriteRandomDetector(config, 1, directory.path());
  config.shape.neck = 48;
  directory.Write("config.json", ToJson(config));
  const auto misfit = CreateCpuDetector(directory.path(), {});
  EXPECT_EQ(misfit.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(misfit.status().message(), HasSubstr("config.json demands"));
}

}  // namespace
}  // namespace ela
