#include "model/vision/torch/torch_network.h"

#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <set>

#include "model/reference/attention.h"
#include "model/vision/torch/bidirectional_attention.h"
#include "tests/model/temporary_directory.h"

namespace ela::vision {
namespace {

DetectorConfig Config(DetectorVariant variant, int num_classes) {
  DetectorConfig config;
  config.variant = variant;
  for (int i = 0; i < num_classes; ++i) config.class_names.push_back(std::to_string(i));
  return config;
}

std::vector<DetectorConfig> Configs() {
  std::vector<DetectorConfig> configs = {Config(DetectorVariant::kLat, 3),
                                         Config(DetectorVariant::kLatDsc, 1),
                                         Config(DetectorVariant::kLatMs, 2)};
  for (const ContextKind context : {ContextKind::kNone, ContextKind::kSoftmax}) {
    configs.push_back(configs[2]);
    configs.back().shape.context = context;
    configs.back().shape.activation = Activation::kRelu;
    configs.back().shape.neck_kernel = 3;
  }
  return configs;
}

// By definition, position by position: [N, H, D, P].
at::Tensor ByDefinition(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const auto turned = [](const at::Tensor& x) { return x.transpose(-1, -2).to(at::kDouble); };
  const reference::Visibility all(q.size(3), q.size(3));
  return reference::QuadraticAttention(AttentionKernel::kHadamardExp,
                                       {turned(q), turned(k), turned(v), {}}, all)
      .transpose(-1, -2);
}

TEST(BidirectionalAttentionTest, IsTheDefinitionAtAnyMagnitude) {
  at::manual_seed(5);
  for (const double magnitude : {0.1, 1.0, 30.0, 1000.0, 10000.0}) {
    const at::Tensor q = (at::rand({2, 3, 16, 50}) * 2 - 1) * magnitude;
    const at::Tensor k = (at::rand({2, 3, 16, 50}) * 2 - 1) * magnitude;
    const at::Tensor v = at::rand({2, 3, 16, 50}) * 2 - 1;
    const at::Tensor got = BidirectionalElaAttention(q, k, v).to(at::kDouble);
    EXPECT_LE((got - ByDefinition(q, k, v)).abs().max().item<double>(), 1e-5) << magnitude;
  }
}

// Weights of several positions and features in play, all of them at 10,000: what one product after
// the other gets wrong in the third digit.
TEST(BidirectionalAttentionTest, LargeInputsOfSimilarSizeAreStillTold) {
  at::manual_seed(6);
  const at::Tensor q = 10000 - at::rand({1, 2, 16, 40}) * 3;
  const at::Tensor k = 10000 - at::rand({1, 2, 16, 40}) * 3;
  const at::Tensor v = at::rand({1, 2, 16, 40}) * 2 - 1;
  const at::Tensor got = BidirectionalElaAttention(q, k, v).to(at::kDouble);
  EXPECT_LE((got - ByDefinition(q, k, v)).abs().max().item<double>(), 1e-5);
}

TEST(BidirectionalAttentionTest, GradientsAreThoseOfTheDefinition) {
  at::manual_seed(7);
  const auto leaf = [] { return at::randn({1, 2, 4, 7}, at::kDouble).set_requires_grad(true); };
  at::Tensor q = leaf(), k = leaf(), v = leaf();
  const at::Tensor weight = at::randn({1, 2, 4, 7}, at::kDouble);
  (BidirectionalElaAttention(q, k, v) * weight).sum().backward();
  const std::vector<at::Tensor> got = {q.grad().clone(), k.grad().clone(), v.grad().clone()};
  for (at::Tensor x : {q, k, v}) x.mutable_grad() = at::Tensor();
  (ByDefinition(q, k, v) * weight).sum().backward();
  EXPECT_TRUE(at::allclose(got[0], q.grad(), 1e-9, 1e-12));
  EXPECT_TRUE(at::allclose(got[1], k.grad(), 1e-9, 1e-12));
  EXPECT_TRUE(at::allclose(got[2], v.grad(), 1e-9, 1e-12));
}

TEST(BidirectionalAttentionTest, SoftmaxIsTheUsualOne) {
  at::manual_seed(8);
  const auto random = [] { return at::randn({2, 2, 4, 9}, at::kDouble); };
  const at::Tensor q = random(), k = random(), v = random();
  const auto turned = [](const at::Tensor& x) { return x.transpose(-1, -2); };
  const at::Tensor want = at::scaled_dot_product_attention(turned(q), turned(k), turned(v), {}, 0.0,
                                                           false, /*scale=*/1.0);
  EXPECT_TRUE(at::allclose(BidirectionalSoftmaxAttention(q, k, v), turned(want), 1e-9, 1e-12));
}

TEST(TorchNetworkTest, MapsHaveThePlansShapes) {
  at::set_num_threads(1);
  at::NoGradGuard no_grad;
  for (const DetectorConfig& config : Configs()) {
    const TorchNetwork network(config, InitialTensors(config, 1));
    const std::vector<RawMaps> maps = network.Forward(at::rand({2, 3, 64, 96}), {});
    const bool multi = config.variant == DetectorVariant::kLatMs;
    ASSERT_EQ(maps.size(), multi ? 3u : 1u);
    for (const RawMaps& raw : maps) {
      const int64_t channels = config.num_classes() + (multi ? 0 : 5);
      EXPECT_EQ(raw.scores.sizes(),
                at::IntArrayRef({2, channels, 64 / raw.stride, 96 / raw.stride}));
      EXPECT_EQ(raw.distances.defined(), multi);
    }
  }
}

TEST(TorchNetworkTest, ReadingTheMapsOfAPictureIsTheSameAloneAndInABatch) {
  at::set_num_threads(1);
  at::NoGradGuard no_grad;
  const at::Tensor images = at::rand({3, 3, 64, 64});
  for (const DetectorConfig& config : Configs()) {
    const TorchNetwork network(config, InitialTensors(config, 2));
    const std::vector<RawMaps> all = network.Forward(images, {});
    const std::vector<RawMaps> alone = network.Forward(images.narrow(0, 2, 1), {});
    HeadReading one, other;
    ASSERT_TRUE(
        ReadHead(config.variant, config.num_classes(), MapsOfPicture(all, 2), 0, &one).ok());
    ASSERT_TRUE(
        ReadHead(config.variant, config.num_classes(), MapsOfPicture(alone, 0), 0, &other).ok());
    ASSERT_EQ(one.boxes.size(), other.boxes.size());
    for (size_t i = 0; i < one.boxes.size(); ++i) {
      EXPECT_NEAR(one.boxes[i].x0, other.boxes[i].x0, 1e-3);
      EXPECT_NEAR(one.boxes[i].y1, other.boxes[i].y1, 1e-3);
    }
    for (size_t i = 0; i < one.scores.size(); ++i) {
      EXPECT_NEAR(one.scores[i], other.scores[i], 1e-5);
    }
  }
}

TEST(TorchNetworkTest, EveryTrainedTensorGetsAGradient) {
  at::set_num_threads(1);
  for (const DetectorConfig& config : Configs()) {
    const TorchNetwork network(config, InitialTensors(config, 3));
    for (const NamedParameter& tensor : network.tensors()) {
      at::Tensor value = tensor.value;
      value.set_requires_grad(!IsRunningStatistic(tensor.name));
    }
    ForwardOptions training;
    training.training = true;
    at::Tensor sum = at::zeros({});
    for (const RawMaps& raw : network.Forward(at::rand({2, 3, 64, 64}), training)) {
      sum = sum + raw.scores.square().sum();
      if (raw.distances.defined()) sum = sum + raw.distances.square().sum();
    }
    sum.backward();
    for (const NamedParameter& tensor : network.tensors()) {
      if (IsRunningStatistic(tensor.name)) continue;
      ASSERT_TRUE(tensor.value.grad().defined()) << tensor.name;
      EXPECT_GT(tensor.value.grad().abs().max().item<float>(), 0.0f) << tensor.name;
    }
  }
}

TEST(TorchNetworkTest, TrainingMovesRunningStatisticsByTheMomentum) {
  at::set_num_threads(1);
  at::NoGradGuard no_grad;
  const DetectorConfig config = Config(DetectorVariant::kLat, 1);
  const at::Tensor images = at::rand({2, 3, 32, 32});
  const auto statistics = [&](bool training, double momentum) {
    const TorchNetwork network(config, InitialTensors(config, 4));
    network.Forward(images, {training, momentum});
    for (const NamedParameter& tensor : network.tensors()) {
      if (tensor.name == "stem.bn.running_mean") return tensor.value;
    }
    return at::Tensor();
  };
  EXPECT_EQ(statistics(false, 0.5).abs().max().item<float>(), 0.0f);
  const at::Tensor whole = statistics(true, 1.0);
  EXPECT_GT(whole.abs().max().item<float>(), 0.0f);
  EXPECT_TRUE(at::allclose(statistics(true, 0.25), 0.25 * whole, 1e-6, 1e-8));
}

TEST(TorchNetworkTest, ANetworkStartsWithRareObjectsOfTwoCellsToEachSide) {
  at::set_num_threads(1);
  at::NoGradGuard no_grad;
  const DetectorConfig config = Config(DetectorVariant::kLatMs, 2);
  const TorchNetwork network(config, InitialTensors(config, 5));
  for (const RawMaps& raw : network.Forward(at::rand({1, 3, 64, 64}), {true, 0.0})) {
    EXPECT_NEAR(at::sigmoid(raw.scores).mean().item<float>(), 0.01, 0.005);
    EXPECT_NEAR(at::softplus(raw.distances).mean().item<float>(), 2.0, 0.2);
  }
}

TEST(TorchNetworkTest, SeedsDecideTheFirstValues) {
  const DetectorConfig config = Config(DetectorVariant::kLatMs, 1);
  const std::vector<NamedParameter> a = InitialTensors(config, 1), b = InitialTensors(config, 1);
  const std::vector<NamedParameter> c = InitialTensors(config, 2);
  EXPECT_TRUE(at::equal(a[0].value, b[0].value));
  EXPECT_FALSE(at::equal(a[0].value, c[0].value));
}

TEST(TorchNetworkTest, CheckpointsReadBackToTheBitAndInBfloat16Rounded) {
  at::set_num_threads(1);
  at::NoGradGuard no_grad;
  for (const DetectorConfig& config : Configs()) {
    const TemporaryDirectory directory;
    const std::vector<NamedParameter> tensors = InitialTensors(config, 6);
    const std::string exact = directory.path() + "/exact", rounded = directory.path() + "/rounded";
    ASSERT_TRUE(WriteDetectorCheckpoint(exact, config, tensors, DType::kF32).ok());
    ASSERT_TRUE(WriteDetectorCheckpoint(rounded, config, tensors, DType::kBF16).ok());
    const auto network = TorchNetwork::Load(exact), small = TorchNetwork::Load(rounded);
    ASSERT_TRUE(network.ok()) << network.status();
    ASSERT_TRUE(small.ok()) << small.status();
    EXPECT_EQ(ToJson(network->config()), ToJson(config));
    for (size_t i = 0; i < tensors.size(); ++i) {
      EXPECT_TRUE(at::equal(network->tensors()[i].value, tensors[i].value)) << tensors[i].name;
      EXPECT_TRUE(
          at::equal(small->tensors()[i].value, tensors[i].value.to(at::kBFloat16).to(at::kFloat)))
          << tensors[i].name;
    }
  }
}

}  // namespace
}  // namespace ela::vision
