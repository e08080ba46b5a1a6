#include "model/vision/torch/detection_loss.h"

#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "model/vision/boxes.h"
#include "model/vision/coco_evaluation.h"
#include "model/vision/torch/torch_network.h"

namespace ela::vision {
namespace {

DetectorConfig Config(DetectorVariant variant, int num_classes) {
  DetectorConfig config;
  config.variant = variant;
  for (int i = 0; i < num_classes; ++i) config.class_names.push_back(std::to_string(i));
  return config;
}

// A small network of our own variant: an overfitting test takes seconds.
DetectorConfig SmallConfig(int num_classes) {
  DetectorConfig config = Config(DetectorVariant::kLatMs, num_classes);
  config.shape.stem = {8, 16};
  config.shape.widths = {32, 32, 48};
  config.shape.blocks = {1, 1, 1};
  config.shape.neck = 32;
  config.shape.neck_kernel = 3;
  return config;
}

std::vector<RawMaps> RandomMaps(const DetectorConfig& config, int64_t pictures, int64_t rows,
                                int64_t columns, at::ScalarType dtype) {
  std::vector<RawMaps> maps;
  const auto map = [&](int64_t channels, int64_t reduction) {
    return at::randn({pictures, channels, rows / reduction, columns / reduction},
                     at::TensorOptions(dtype))
        .set_requires_grad(true);
  };
  if (config.variant != DetectorVariant::kLatMs) {
    maps.push_back({map(5 + config.num_classes(), 1), {}, 16});
    return maps;
  }
  for (int64_t scale = 0; scale < 3; ++scale) {
    maps.push_back({map(config.num_classes(), 1 << scale), map(4, 1 << scale), 8 << scale});
  }
  return maps;
}

std::vector<at::Tensor> Leaves(const std::vector<RawMaps>& maps) {
  std::vector<at::Tensor> leaves;
  for (const RawMaps& raw : maps) {
    leaves.push_back(raw.scores);
    if (raw.distances.defined()) leaves.push_back(raw.distances);
  }
  return leaves;
}

// Central differences of f at every element of x against its gradient.
void ExpectGradient(const std::function<at::Tensor()>& f, const std::vector<at::Tensor>& leaves) {
  for (at::Tensor leaf : leaves) leaf.mutable_grad() = at::zeros_like(leaf);
  f().backward();
  at::NoGradGuard no_grad;
  constexpr double kStep = 1e-5;
  for (at::Tensor leaf : leaves) {
    const at::Tensor values = leaf.view({-1}), gradient = leaf.grad().contiguous().view({-1});
    for (int64_t i = 0; i < values.size(0); ++i) {
      const double kept = values[i].item<double>();
      values[i].fill_(kept + kStep);
      const double above = f().item<double>();
      values[i].fill_(kept - kStep);
      const double below = f().item<double>();
      values[i].fill_(kept);
      ASSERT_NEAR(gradient[i].item<double>(), (above - below) / (2 * kStep), 1e-6) << i;
    }
  }
}

TEST(DetectionLossTest, GradientsAreThoseOfTheLossInFloat64) {
  at::manual_seed(7);
  for (const DetectorVariant variant : {DetectorVariant::kLatMs, DetectorVariant::kLat}) {
    const DetectorConfig config = Config(variant, 3);
    const std::vector<RawMaps> maps = RandomMaps(config, 2, 4, 4, at::kDouble);
    std::vector<DetectionTargets> targets(2);
    targets[0] = {{{2, 3, 21, 17}, {14, 12, 30, 31}}, {0, 2}, {{20, 0, 32, 9}}};
    LossOptions options;
    const LossTargets fixed = MakeLossTargets(config, maps, targets, options);
    ASSERT_GE(fixed.positives.size(0), 2);
    ExpectGradient([&] { return ComputeLoss(config, maps, fixed, options).total; }, Leaves(maps));
  }
}

TEST(DetectionLossTest, OverlapsAreThoseOfTheirPapers) {
  const at::Tensor a =
      at::tensor({0.0, 0.0, 4.0, 2.0, 0.0, 0.0, 2.0, 2.0}, at::kDouble).view({2, 4});
  const at::Tensor b =
      at::tensor({1.0, 0.0, 3.0, 4.0, 6.0, 0.0, 8.0, 2.0}, at::kDouble).view({2, 4});
  const at::Tensor overlap = OverlapOfPairs(a, b);
  EXPECT_DOUBLE_EQ(overlap[0].item<double>(), 4.0 / 12);
  EXPECT_DOUBLE_EQ(overlap[1].item<double>(), 0.0);
  const at::Tensor generalized = GeneralizedOverlap(a, b);
  EXPECT_DOUBLE_EQ(generalized[0].item<double>(), 4.0 / 12 - (16.0 - 12) / 16);
  EXPECT_DOUBLE_EQ(generalized[1].item<double>(), -(16.0 - 8) / 16);
  const at::Tensor complete = CompleteOverlap(a, b);
  const double aspect = 4 / (M_PI * M_PI) * std::pow(std::atan(2.0) - std::atan(0.5), 2);
  const double iou = 1.0 / 3;
  EXPECT_NEAR(complete[0].item<double>(), iou - 1.0 / 32 - aspect * aspect / (1 - iou + aspect),
              1e-9);
  EXPECT_NEAR(complete[1].item<double>(), -36.0 / 68, 1e-9);
}

TEST(DetectionLossTest, TheTradeOffOfCompleteOverlapIsAConstantToGradients) {
  const at::Tensor truth = at::tensor({1.0, 0.0, 3.0, 4.0}, at::kDouble).view({1, 4});
  at::Tensor box = at::tensor({0.0, 0.5, 4.0, 2.0}, at::kDouble).view({1, 4});
  box.set_requires_grad(true);
  const auto aspect = [&] {
    const at::Tensor sides = box.narrow(1, 2, 2) - box.narrow(1, 0, 2);
    return 4 / (M_PI * M_PI) *
           (at::atan2(sides.select(1, 0), sides.select(1, 1)) - std::atan(0.5)).square();
  };
  const at::Tensor frozen = (aspect() / (1 - OverlapOfPairs(box, truth) + aspect())).detach();
  const auto by_hand = [&] {
    const at::Tensor low = at::minimum(box, truth).narrow(1, 0, 2);
    const at::Tensor high = at::maximum(box, truth).narrow(1, 2, 2);
    const at::Tensor apart =
        ((box - truth).narrow(1, 0, 2) + (box - truth).narrow(1, 2, 2)).square().sum() / 4;
    return (OverlapOfPairs(box, truth) - apart / (high - low).square().sum() - frozen * aspect())
        .sum();
  };
  by_hand().backward();
  const at::Tensor want = box.grad().clone();
  box.mutable_grad() = at::zeros_like(box);
  CompleteOverlap(box, truth).sum().backward();
  EXPECT_TRUE(at::allclose(box.grad(), want, 1e-9, 1e-12));
}

TEST(DetectionLossTest, ABatchWithoutBoxesTrainsItsNegativesAlone) {
  const DetectorConfig config = Config(DetectorVariant::kLatMs, 2);
  const std::vector<RawMaps> maps = RandomMaps(config, 2, 4, 4, at::kFloat);
  const DetectionLoss loss =
      ComputeLoss(config, maps, std::vector<DetectionTargets>(2), LossOptions());
  EXPECT_EQ(loss.num_positives, 0);
  EXPECT_EQ(loss.box.item<float>(), 0.0f);
  EXPECT_GT(loss.score.item<float>(), 0.0f);
  loss.total.backward();
  EXPECT_GT(maps[0].scores.grad().min().item<float>(), 0.0f);  // every score is pushed down
}

TEST(DetectionLossTest, PicturesOfABatchDoNotTouchEachOther) {
  const DetectorConfig config = Config(DetectorVariant::kLatMs, 2);
  const std::vector<RawMaps> maps = RandomMaps(config, 2, 8, 8, at::kFloat);
  std::vector<DetectionTargets> targets(2);
  targets[1] = {{{10, 10, 40, 50}}, {1}, {}};
  const LossTargets both = MakeLossTargets(config, maps, targets, LossOptions());
  std::vector<RawMaps> alone = maps;
  for (RawMaps& raw : alone) {
    raw.scores = raw.scores.narrow(0, 1, 1);
    raw.distances = raw.distances.narrow(0, 1, 1);
  }
  const LossTargets one = MakeLossTargets(config, alone, {&targets[1], 1}, LossOptions());
  const int64_t num_places = 64 + 16 + 4;
  EXPECT_TRUE(at::equal(both.positives, one.positives + num_places));
  EXPECT_TRUE(at::equal(both.overlaps, one.overlaps));
}

TEST(DetectionLossTest, IgnoredRegionsAreNoNegatives) {
  for (const DetectorVariant variant : {DetectorVariant::kLatMs, DetectorVariant::kLat}) {
    const DetectorConfig config = Config(variant, 1);
    const std::vector<RawMaps> maps = RandomMaps(config, 1, 4, 4, at::kFloat);
    DetectionTargets targets;
    targets.ignored = {{0, 0, 1000, 1000}};
    const DetectionLoss loss = ComputeLoss(config, maps, {&targets, 1}, LossOptions());
    EXPECT_EQ(loss.total.item<float>(), 0.0f);
    targets.ignored = {{0, 0, 8, 8}};
    EXPECT_GT(ComputeLoss(config, maps, {&targets, 1}, LossOptions()).total.item<float>(), 0.0f);
  }
}

TEST(DetectionLossTest, DegenerateBoxesAndExtremeMapsStayFinite) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  DetectionTargets targets;
  targets.boxes = {{5, 5, 5, 5},   {5, 9, 20, 9},  {9, 9, 3, 3},       {nan, 0, 4, 4},
                   {0, 0, inf, 4}, {0, 0, 32, 32}, {0, 0, 1e-3, 1e-3}, {-90, 0, -80, 9}};
  targets.class_ids.assign(targets.boxes.size(), 0);
  for (const BoxLoss box_loss : {BoxLoss::kLogGiou, BoxLoss::kGiou, BoxLoss::kCiou}) {
    for (const DetectorVariant variant : {DetectorVariant::kLatMs, DetectorVariant::kLat}) {
      for (const double scale : {1.0, 300.0, -300.0}) {
        const DetectorConfig config = Config(variant, 2);
        std::vector<RawMaps> maps = RandomMaps(config, 1, 4, 4, at::kFloat);
        for (RawMaps& raw : maps) {
          raw.scores = at::full_like(raw.scores, scale).set_requires_grad(true);
          if (raw.distances.defined()) {
            raw.distances = at::full_like(raw.distances, scale).set_requires_grad(true);
          }
        }
        LossOptions options;
        options.box_loss = box_loss;
        const DetectionLoss loss = ComputeLoss(config, maps, {&targets, 1}, options);
        EXPECT_EQ(loss.num_boxes, 3);
        EXPECT_TRUE(std::isfinite(loss.total.item<float>())) << scale;
        loss.total.backward();
        for (const at::Tensor& leaf : Leaves(maps)) {
          EXPECT_TRUE(at::isfinite(leaf.grad()).all().item<bool>()) << scale;
        }
      }
    }
  }
}

// Pictures of bright rectangles on dark ground, the class by colour: wide ones and tall ones.
struct Pictures {
  at::Tensor images;  // [N, 3, 96, 96]
  std::vector<DetectionTargets> targets;
};

Pictures Rectangles(const std::vector<std::vector<Box>>& boxes) {
  Pictures pictures;
  pictures.images = at::rand({static_cast<int64_t>(boxes.size()), 3, 96, 96}) * 0.2;
  pictures.targets.resize(boxes.size());
  for (size_t n = 0; n < boxes.size(); ++n) {
    for (const Box& box : boxes[n]) {
      const int channel = box.x1 - box.x0 > box.y1 - box.y0 ? 0 : 1;
      pictures.images[n][channel]
          .slice(0, static_cast<int64_t>(box.y0), static_cast<int64_t>(box.y1))
          .slice(1, static_cast<int64_t>(box.x0), static_cast<int64_t>(box.x1))
          .fill_(0.9);
      pictures.targets[n].boxes.push_back(box);
      pictures.targets[n].class_ids.push_back(channel);
    }
  }
  return pictures;
}

CocoResult Evaluate(const TorchNetwork& network, const Pictures& pictures) {
  at::NoGradGuard no_grad;
  const std::vector<RawMaps> maps = network.Forward(pictures.images, {});
  const int32_t num_classes = network.config().num_classes();
  std::vector<CocoImage> images(pictures.targets.size());
  DetectionOptions options;
  options.score_threshold = 0.01f;
  BoxSelector selector;
  HeadReading reading;
  std::vector<Detection> detections;
  for (size_t n = 0; n < images.size(); ++n) {
    EXPECT_TRUE(ReadHead(network.config().variant, num_classes, MapsOfPicture(maps, n),
                         options.score_threshold, &reading)
                    .ok());
    selector.Select(reading.AsPredictions(num_classes), options, &detections);
    const auto coco = [](const Box& box) {
      return CocoBox{box.x0, box.y0, box.x1 - box.x0, box.y1 - box.y0};
    };
    for (const Detection& detection : detections) {
      images[n].detections.push_back({detection.class_id, coco(detection.box), detection.score});
    }
    for (size_t b = 0; b < pictures.targets[n].boxes.size(); ++b) {
      const CocoBox box = coco(pictures.targets[n].boxes[b]);
      images[n].truths.push_back(
          {pictures.targets[n].class_ids[b], box, box.width * box.height, false});
    }
  }
  return EvaluateCoco(images, num_classes).value();
}

// AdamW at one rate, the whole set as batch. Returns the result with running statistics.
CocoResult Overfit(const DetectorConfig& config, const Pictures& pictures, int steps) {
  at::set_num_threads(1);  // two that wait for each other crawl on a busy machine
  TorchNetwork network(config, InitialTensors(config, 1));
  std::vector<at::Tensor> values, means, variances, counters;
  for (const NamedParameter& tensor : network.tensors()) {
    if (IsRunningStatistic(tensor.name)) continue;
    at::Tensor value = tensor.value;
    value.set_requires_grad(true);
    values.push_back(value);
    means.push_back(at::zeros_like(value));
    variances.push_back(at::zeros_like(value));
    counters.push_back(at::zeros({}));
  }
  ForwardOptions training;
  training.training = true;
  training.momentum = 0.1;
  for (int step = 0; step < steps; ++step) {
    const DetectionLoss loss = ComputeLoss(config, network.Forward(pictures.images, training),
                                           pictures.targets, LossOptions());
    loss.total.backward();
    at::NoGradGuard no_grad;
    std::vector<at::Tensor> gradients;
    for (const at::Tensor& value : values) gradients.push_back(value.grad());
    for (at::Tensor& counter : counters) counter.add_(1);
    const double rate = 0.01 * 0.5 * (1 + std::cos(M_PI * step / steps));
    at::_fused_adamw_(values, gradients, means, variances, {}, counters, rate, 0.9, 0.99, 0.0, 1e-8,
                      false, false);
    for (at::Tensor& gradient : gradients) gradient.zero_();
  }
  return Evaluate(network, pictures);
}

TEST(DetectionLossTest, OwnVariantLearnsFourPicturesByHeart) {
  at::manual_seed(3);
  const Pictures pictures = Rectangles({{{6, 8, 50, 30}, {60, 40, 84, 90}},
                                        {{10, 20, 80, 76}},
                                        {{4, 4, 14, 12}, {40, 50, 52, 60}, {70, 10, 90, 40}},
                                        {}});
  const CocoResult result = Overfit(SmallConfig(2), pictures, 150);
  EXPECT_GT(result.map50, 0.99);
  EXPECT_GT(result.map, 0.9);
  EXPECT_GT(result.map_small, 0.9);
}

TEST(DetectionLossTest, PapersHeadLearnsBoxesThatItCanExpress) {
  at::manual_seed(3);
  const Pictures pictures = Rectangles({{{6, 8, 34, 20}, {60, 40, 76, 70}},
                                        {{10, 20, 36, 44}},
                                        {{4, 4, 16, 14}, {40, 50, 56, 60}, {70, 10, 84, 40}},
                                        {}});
  const CocoResult result = Overfit(Config(DetectorVariant::kLatDsc, 2), pictures, 150);
  EXPECT_GT(result.map50, 0.99);
  EXPECT_GT(result.map, 0.7);
}

}  // namespace
}  // namespace ela::vision
