#include "model/vision/cpu_network.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>

#include "model/vision/detector_config.h"
#include "model/vision/folded_layer.h"
#include "tests/model/temporary_directory.h"
#include "tests/model/vision/exact_network.h"
#include "tests/model/vision/random_detector.h"

namespace ela {
namespace {

// A network with its checkpoint.
struct Rig {
  explicit Rig(DetectorConfig config, const char* kernels = "") : plan(MakeNetworkPlan(config)) {
    WriteRandomDetector(config, 7, directory.path());
    auto loaded = Weights::Load(directory.path(), ExpectedTensors(plan));
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    weights = std::make_unique<Weights>(*std::move(loaded));
    network = std::make_unique<CpuNetwork>(plan, *weights, *FindConvolutionKernels(kernels));
  }

  TemporaryDirectory directory;
  NetworkPlan plan;
  std::unique_ptr<Weights> weights;
  std::unique_ptr<CpuNetwork> network;
};

// All raw maps as one list: scale by scale, scores then distances, [rows, columns, channels].
std::vector<float> Flat(const NetworkPlan& plan, absl::Span<const HeadMaps> maps) {
  std::vector<float> values;
  for (size_t i = 0; i < maps.size(); ++i) {
    const auto append = [&](const MapView& view, int layer) {
      if (layer < 0) return;
      for (int y = 0; y < maps[i].rows; ++y) {
        for (int x = 0; x < maps[i].columns; ++x) {
          for (int c = 0; c < plan.layers[layer].out_channels; ++c) {
            values.push_back(view.At(c, y, x));
          }
        }
      }
    };
    append(maps[i].scores, plan.outputs[i].scores);
    append(maps[i].distances, plan.outputs[i].distances);
  }
  return values;
}

std::vector<double> Flat(const NetworkPlan& plan, const std::vector<ExactMap>& maps) {
  std::vector<double> values;
  for (const HeadOutput& output : plan.outputs) {
    for (const int layer : {output.scores, output.distances}) {
      if (layer < 0) continue;
      const ExactMap& map = maps[layer];
      for (int64_t y = 0; y < map.rows; ++y) {
        for (int64_t x = 0; x < map.columns; ++x) {
          for (int64_t c = 0; c < map.channels; ++c) values.push_back(map.At(c, y, x));
        }
      }
    }
  }
  return values;
}

ExactMap Planes(const std::vector<uint8_t>& bytes, int width, int height) {
  ExactMap map = {3, height, width, std::vector<double>(bytes.size())};
  for (size_t i = 0; i < bytes.size(); ++i)
    map.At(i % 3, i / 3 / width, i / 3 % width) = bytes[i] / 255.0;
  return map;
}

void ExpectNearExact(const DetectorConfig& config, int width, int height, double tolerance) {
  const Rig rig(config);
  const std::vector<uint8_t> picture = RandomPicture(width, height, 3);
  CpuNetwork::Scratch scratch;
  const std::vector<float> got =
      Flat(rig.plan, rig.network->Run({width, height, picture.data(), nullptr}, &scratch));
  const std::vector<double> want =
      Flat(rig.plan, RunExactly(rig.plan, *rig.weights, Planes(picture, width, height)));
  ASSERT_EQ(got.size(), want.size());
  double largest = 0, size = 1;
  for (size_t i = 0; i < want.size(); ++i) {
    const double error = std::abs(got[i] - want[i]);
    if (!(error <= largest)) largest = error;
    size = std::max(size, std::abs(want[i]));
  }
  EXPECT_LE(largest, tolerance * size) << Name(config.variant) << " " << width << " x " << height;
}

// Of the largest raw value. Measured: up to 1.7e-6, the rounding of chains of up to 1,152 products.
constexpr double kTolerance = 5e-6;

TEST(CpuNetworkTest, EveryVariantEqualsItsDefinition) {
  ExpectNearExact(MakeDetectorConfig(DetectorVariant::kLat, 3), 96, 64, kTolerance);
  ExpectNearExact(MakeDetectorConfig(DetectorVariant::kLatDsc, 1), 64, 96, kTolerance);
  ExpectNearExact(MakeDetectorConfig(DetectorVariant::kLatMs, 3), 96, 64, kTolerance);
}

TEST(CpuNetworkTest, SmallestAndLongInputsEqualTheDefinition) {
  ExpectNearExact(MakeDetectorConfig(DetectorVariant::kLat, 2), 16, 16, kTolerance);
  ExpectNearExact(MakeDetectorConfig(DetectorVariant::kLatMs, 2), 32, 32, kTolerance);
  ExpectNearExact(MakeDetectorConfig(DetectorVariant::kLatMs, 2), 1280, 32, kTolerance);
}

TEST(CpuNetworkTest, OddShapesEqualTheDefinition) {
  DetectorConfig config = MakeDetectorConfig(DetectorVariant::kLatMs, 17);
  config.shape.stem = {8, 24};
  config.shape.widths = {40, 56, 72};
  config.shape.blocks = {0, 1, 3};
  config.shape.neck = 40;
  config.shape.neck_kernel = 3;
  config.shape.head_blocks = 2;
  config.shape.context_heads = 5;  // heads of eight features
  config.shape.activation = Activation::kRelu;
  ExpectNearExact(config, 96, 160, kTolerance);
  config.shape.context = ContextKind::kNone;
  config.shape.activation = Activation::kSilu;
  ExpectNearExact(config, 64, 64, kTolerance);
}

TEST(CpuNetworkTest, EveryTableGivesTheSameBits) {
  for (const DetectorVariant variant :
       {DetectorVariant::kLat, DetectorVariant::kLatDsc, DetectorVariant::kLatMs}) {
    std::vector<float> want;
    for (const char* name : {"reference", "portable", "avx512"}) {
      if (FindConvolutionKernels(name) == nullptr) continue;
      const Rig rig(MakeDetectorConfig(variant, 3), name);
      const std::vector<uint8_t> picture = RandomPicture(160, 96, 5);
      CpuNetwork::Scratch scratch;
      const std::vector<float> got =
          Flat(rig.plan, rig.network->Run({160, 96, picture.data(), nullptr}, &scratch));
      if (want.empty()) want = got;
      ASSERT_EQ(got.size(), want.size());
      EXPECT_EQ(std::memcmp(got.data(), want.data(), got.size() * sizeof(float)), 0)
          << Name(variant) << " " << name;
    }
  }
}

TEST(CpuNetworkTest, WhatWasComputedBeforeLeavesNoTrace) {
  const Rig rig(MakeDetectorConfig(DetectorVariant::kLatMs, 3));
  const std::vector<uint8_t> picture = RandomPicture(160, 96, 5);
  CpuNetwork::Scratch fresh, used;
  const auto run = [&](CpuNetwork::Scratch* scratch) {
    return Flat(rig.plan, rig.network->Run({160, 96, picture.data(), nullptr}, scratch));
  };
  const std::vector<float> want = run(&fresh);
  for (int size = 32; size <= 320; size += 32) {  // more sizes than a scratch remembers
    const std::vector<uint8_t> other = RandomPicture(size, 64, size);
    rig.network->Run({size, 64, other.data(), nullptr}, &used);
  }
  const std::vector<float> got = run(&used);
  EXPECT_EQ(std::memcmp(got.data(), want.data(), want.size() * sizeof(float)), 0);
  const std::vector<float> again = run(&used);
  EXPECT_EQ(std::memcmp(again.data(), want.data(), want.size() * sizeof(float)), 0);
}

TEST(CpuNetworkTest, BytesAndTheirValuesGiveTheSameMaps) {
  const Rig rig(MakeDetectorConfig(DetectorVariant::kLat, 3));
  const std::vector<uint8_t> picture = RandomPicture(64, 64, 5);
  std::vector<float> values;
  for (const uint8_t byte : picture) values.push_back(byte * (1.0f / 255.0f));
  CpuNetwork::Scratch scratch;
  const auto want = Flat(rig.plan, rig.network->Run({64, 64, picture.data(), nullptr}, &scratch));
  const auto got = Flat(rig.plan, rig.network->Run({64, 64, nullptr, values.data()}, &scratch));
  EXPECT_EQ(got, want);
}

TEST(FoldedLayerTest, FoldingChangesAConvolutionByLessThanItsRounding) {
  const Rig rig(MakeDetectorConfig(DetectorVariant::kLatDsc, 2));
  const std::vector<uint8_t> picture = RandomPicture(32, 32, 9);
  const ExactMap input = Planes(picture, 32, 32);
  const std::vector<ExactMap> maps = RunExactly(rig.plan, *rig.weights, input);
  for (const Layer& layer : rig.plan.layers) {
    if (layer.kind != LayerKind::kConvolution || layer.inputs[1] >= 0) continue;
    const ExactMap& in = layer.inputs[0] == Layer::kPicture ? input : maps[layer.inputs[0]];
    const ExactMap& out = maps[&layer - rig.plan.layers.data()];
    const FoldedConvolution folded = FoldConvolution(layer, *rig.weights);
    double largest = 0;
    const int64_t inputs = layer.in_channels / layer.groups, kernel = layer.kernel;
    for (int64_t o = 0; o < out.channels; ++o) {
      double sum = folded.bias[o];  // of the pixel in the middle, which no edge reaches
      const int64_t y = out.rows / 2, x = out.columns / 2;
      if (out.rows < 3) continue;
      for (int64_t i = 0; i < inputs * kernel * kernel; ++i) {
        const int64_t c = i / kernel / kernel + (layer.groups == 1 ? 0 : o);
        const int64_t sy = y * layer.stride + i / kernel % kernel - kernel / 2;
        const int64_t sx = x * layer.stride + i % kernel - kernel / 2;
        if (sy < 0 || sx < 0 || sy >= in.rows || sx >= in.columns) continue;
        sum += folded.weight[o * inputs * kernel * kernel + i] * in.At(c, sy, sx);
      }
      if (layer.activation == Activation::kSilu) sum = sum / (1 + std::exp(-sum));
      if (layer.activation == Activation::kRelu) sum = std::max(sum, 0.0);
      largest = std::max(largest, std::abs(sum - out.At(o, y, x)));
    }
    EXPECT_LE(largest, 1e-5) << layer.name;
  }
}

TEST(MapLayoutTest, LivingMapsNeverOverlap) {
  const NetworkPlan plan = MakeNetworkPlan(MakeDetectorConfig(DetectorVariant::kLatMs, 3));
  const std::vector<Pass> passes = MakePasses(plan);
  const MapLayout layout =
      LayOutMaps(plan, passes, std::vector<int64_t>(passes.size(), 100), 320, 192);
  int64_t sum = 0;
  for (size_t i = 0; i < passes.size(); ++i) {
    const MapPlace& mine = layout.maps[passes[i].layer];
    sum += mine.size();
    EXPECT_EQ(mine.start % 16, 0);
    EXPECT_LE(mine.start + mine.size(), layout.size);
    for (size_t j = i + 1; j < passes.size(); ++j) {  // whoever writes while `mine` is still read
      bool read = false;
      for (size_t k = j; k < passes.size(); ++k) {
        read |= passes[k].inputs[0] == passes[i].layer || passes[k].inputs[1] == passes[i].layer;
      }
      for (const HeadOutput& output : plan.outputs) {
        read |= output.scores == passes[i].layer || output.distances == passes[i].layer;
      }
      if (!read) continue;
      const MapPlace& other = layout.maps[passes[j].layer];
      EXPECT_TRUE(mine.start + mine.size() <= other.start ||
                  other.start + other.size() <= mine.start)
          << plan.layers[passes[i].layer].name << " and " << plan.layers[passes[j].layer].name;
      EXPECT_TRUE(mine.start + mine.size() <= layout.extra[j] ||
                  layout.extra[j] + 100 <= mine.start);
    }
  }
  EXPECT_LT(layout.size, sum / 2);
}

}  // namespace
}  // namespace ela
