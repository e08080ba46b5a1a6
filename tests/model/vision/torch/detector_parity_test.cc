// What is served against what is trained: two implementations of a network plan that share nothing
// but the plan.
#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <vector>

#include "model/vision/boxes.h"
#include "model/vision/cpu_detector.h"
#include "model/vision/cpu_network.h"
#include "model/vision/torch/torch_network.h"
#include "tests/model/temporary_directory.h"
#include "tests/model/vision/random_detector.h"

namespace ela::vision {
namespace {

constexpr int32_t kWidth = 96, kHeight = 64;

std::vector<DetectorConfig> Configs() {
  std::vector<DetectorConfig> configs = {MakeDetectorConfig(DetectorVariant::kLat, 3),
                                         MakeDetectorConfig(DetectorVariant::kLatDsc, 1),
                                         MakeDetectorConfig(DetectorVariant::kLatMs, 3)};
  configs.push_back(configs.back());
  MultiScaleShape& shape = configs.back().shape;
  shape.blocks = {1, 0, 2};
  shape.neck_kernel = 3;
  shape.head_blocks = 2;
  shape.activation = Activation::kRelu;
  configs.push_back(configs.back());
  configs.back().shape.context = ContextKind::kNone;
  return configs;
}

// [1, 3, height, width] in 0 to 1, as the serving network sees the bytes.
at::Tensor Image(const std::vector<uint8_t>& bytes) {
  return at::tensor(std::vector<float>(bytes.begin(), bytes.end()), at::kFloat)
             .view({1, kHeight, kWidth, 3})
             .permute({0, 3, 1, 2}) /
         255.0;
}

// The largest difference over one map, in parts of its largest value and at least of 1.
double Difference(const at::Tensor& exact, const MapView& got) {
  double largest = 0;
  const at::Tensor map = exact[0].contiguous();
  const auto value = map.accessor<double, 3>();
  for (int64_t c = 0; c < map.size(0); ++c) {
    for (int64_t y = 0; y < map.size(1); ++y) {
      for (int64_t x = 0; x < map.size(2); ++x) {
        const double error = std::abs(value[c][y][x] - got.At(c, y, x));
        if (!(error <= largest)) largest = error;
      }
    }
  }
  return largest / std::max(1.0, exact.abs().max().item<double>());
}

TEST(DetectorParityTest, ServedRawMapsAreThoseOfTheTrainedNetwork) {
  at::set_num_threads(1);
  at::NoGradGuard no_grad;
  const std::vector<uint8_t> picture = RandomPicture(kWidth, kHeight, 5);
  for (const DetectorConfig& config : Configs()) {
    const TemporaryDirectory directory;
    WriteRandomDetector(config, 11, directory.path());
    const auto exact = TorchNetwork::Load(directory.path(), at::kDouble);
    ASSERT_TRUE(exact.ok()) << exact.status();
    const auto weights = Weights::Load(directory.path(), ExpectedTensors(exact->plan()));
    ASSERT_TRUE(weights.ok()) << weights.status();
    const CpuNetwork network(exact->plan(), *weights, *FindConvolutionKernels(""));
    CpuNetwork::Scratch scratch;
    const absl::Span<const HeadMaps> got =
        network.Run({kWidth, kHeight, picture.data(), nullptr}, &scratch);
    const std::vector<RawMaps> want = exact->Forward(Image(picture).to(at::kDouble), {});
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < want.size(); ++i) {
      EXPECT_LE(Difference(want[i].scores, got[i].scores), 5e-6) << Name(config.variant) << i;
      if (!want[i].distances.defined()) continue;
      EXPECT_LE(Difference(want[i].distances, got[i].distances), 5e-6) << i;
    }
  }
}

TEST(DetectorParityTest, ServedBoxesAreThoseReadFromTheTrainedNetworksMaps) {
  at::set_num_threads(1);
  at::NoGradGuard no_grad;
  const std::vector<uint8_t> picture = RandomPicture(kWidth, kHeight, 6);
  for (const DetectorConfig& config : Configs()) {
    const TemporaryDirectory directory;
    WriteRandomDetector(config, 12, directory.path());
    const auto network = TorchNetwork::Load(directory.path());
    ASSERT_TRUE(network.ok()) << network.status();
    const auto detector = CreateCpuDetector(directory.path(), {});
    ASSERT_TRUE(detector.ok()) << detector.status();

    // No suppression: an overlap on the threshold would be decided by a last bit.
    DetectionOptions options;
    options.score_threshold = 0.05f;
    options.suppress = false;
    options.max_detections = 1000;
    std::vector<Detection> want;
    HeadReading reading;
    const std::vector<RawMaps> maps = network->Forward(Image(picture), {});
    ASSERT_TRUE(ReadHead(config.variant, config.num_classes(), MapsOfPicture(maps, 0),
                         options.score_threshold, &reading)
                    .ok());
    BoxSelector().Select(reading.AsPredictions(config.num_classes()), options, &want);

    const DetectItem item{picture, &options};
    DetectOutput got;
    (*detector)->Detect(0, kWidth, kHeight, {&item, 1}, {&got, 1});
    ASSERT_TRUE(got.status.ok()) << got.status;
    ASSERT_EQ(got.detections.size(), want.size()) << Name(config.variant);
    ASSERT_GT(want.size(), 5u);
    for (size_t i = 0; i < want.size(); ++i) {
      EXPECT_NEAR(got.detections[i].score, want[i].score, 1e-5);
      EXPECT_NEAR(got.detections[i].box.x0, want[i].box.x0, 0.01);
      EXPECT_NEAR(got.detections[i].box.y0, want[i].box.y0, 0.01);
      EXPECT_NEAR(got.detections[i].box.x1, want[i].box.x1, 0.01);
      EXPECT_NEAR(got.detections[i].box.y1, want[i].box.y1, 0.01);
      EXPECT_EQ(got.detections[i].class_id, want[i].class_id);
    }
  }
}

}  // namespace
}  // namespace ela::vision
