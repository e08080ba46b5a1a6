#include "model/vision/boxes.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <tuple>

#include "gtest/gtest.h"
#include "model/detection_options.h"

namespace ela {
namespace {

// The definition, slowly: all candidates sorted, then each kept unless a kept one overlaps it.
std::vector<Detection> Reference(const Predictions& in, const DetectionOptions& options) {
  std::vector<std::tuple<float, int, int>> all;  // -score, place, class
  for (int place = 0; place < static_cast<int>(in.boxes.size()); ++place) {
    int best = -1;
    for (int c = 0; c < in.num_classes; ++c) {
      const float score = in.scores[place * in.num_classes + c];
      if (std::isnan(score)) continue;
      if (best < 0 || score > in.scores[place * in.num_classes + best]) best = c;
    }
    const Box& box = in.boxes[place];
    if (!(box.x0 < box.x1 && box.y0 < box.y1) || std::isinf(box.x1 - box.x0)) continue;
    for (int c = 0; c < in.num_classes; ++c) {
      const float score = in.scores[place * in.num_classes + c];
      if (!in.every_class && c != best) continue;
      if (!(score >= options.score_threshold)) continue;
      const auto& wanted = options.classes;
      if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), c) == wanted.end()) continue;
      all.emplace_back(-score, place, c);
    }
  }
  std::sort(all.begin(), all.end());
  if (all.size() > static_cast<size_t>(options.max_candidates)) all.resize(options.max_candidates);
  std::vector<Detection> kept;
  for (const auto& [negative, place, c] : all) {
    bool free = true;
    for (const Detection& other : kept) {
      const bool rivals = options.class_agnostic || other.class_id == c;
      // Double, beside the float of the fast path: equal but for ties at the threshold itself.
      const Box &a = other.box, &b = in.boxes[place];
      const double w = std::min(a.x1, b.x1) - std::max(a.x0, b.x0);
      const double h = std::min(a.y1, b.y1) - std::max(a.y0, b.y0);
      if (!options.suppress || !rivals || w <= 0 || h <= 0) continue;
      const double both = double{a.x1 - a.x0} * (a.y1 - a.y0) + double{b.x1 - b.x0} * (b.y1 - b.y0);
      if (w * h / (both - w * h) > options.iou_threshold) free = false;
    }
    if (free) kept.push_back({in.boxes[place], -negative, c});
  }
  if (kept.size() > static_cast<size_t>(options.max_detections))
    kept.resize(options.max_detections);
  return kept;
}

void ExpectSame(const std::vector<Detection>& a, const std::vector<Detection>& b, int round) {
  ASSERT_EQ(a.size(), b.size()) << "round " << round;
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(a[i].score, b[i].score) << "round " << round << ", detection " << i;
    ASSERT_EQ(a[i].class_id, b[i].class_id) << "round " << round << ", detection " << i;
    ASSERT_EQ(a[i].box.x0, b[i].box.x0) << "round " << round << ", detection " << i;
    ASSERT_EQ(a[i].box.y1, b[i].box.y1) << "round " << round << ", detection " << i;
  }
}

TEST(BoxSelectorTest, EqualsTheSlowReference) {
  std::mt19937 random(11);
  const auto pick = [&](int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(random);
  };
  BoxSelector selector;  // one for all: nothing may stay from the picture before
  for (int round = 0; round < 2000; ++round) {
    const int n = pick(0, 120);
    Predictions in;
    in.num_classes = pick(1, 4);
    in.every_class = pick(0, 1) == 1;
    std::vector<Box> boxes(n);
    std::vector<float> scores(n * in.num_classes);
    for (Box& box : boxes) {  // whole pixels: all products are exact
      box.x0 = static_cast<float>(pick(0, 60));
      box.y0 = static_cast<float>(pick(0, 60));
      box.x1 = box.x0 + static_cast<float>(pick(0, 40));
      box.y1 = box.y0 + static_cast<float>(pick(0, 40));
      if (pick(0, 40) == 0) box.x1 = std::numeric_limits<float>::infinity();
      if (pick(0, 40) == 0) box.y0 = std::numeric_limits<float>::quiet_NaN();
    }
    for (float& score : scores) {  // few values: ties
      score = static_cast<float>(pick(0, 20)) / 20;
      if (pick(0, 50) == 0) score = std::numeric_limits<float>::quiet_NaN();
    }
    in.boxes = boxes;
    in.scores = scores;
    DetectionOptions options;
    options.score_threshold = static_cast<float>(pick(0, 20)) / 20;
    options.iou_threshold = static_cast<float>(pick(0, 30)) / 30.5f;
    options.max_candidates = pick(0, 2) == 0 ? pick(1, 60) : 1000;
    options.max_detections = pick(0, 2) == 0 ? pick(1, 20) : 300;
    options.class_agnostic = pick(0, 1) == 1;
    options.suppress = pick(0, 4) != 0;
    if (pick(0, 2) == 0) options.classes = {pick(0, in.num_classes - 1)};
    std::vector<Detection> detections;
    selector.Select(in, options, &detections);
    ExpectSame(detections, Reference(in, options), round);
  }
}

TEST(BoxSelectorTest, CountsAndTruncationAreTold) {
  const std::vector<Box> boxes = {{0, 0, 10, 10}, {20, 0, 30, 10}, {40, 0, 50, 10}, {5, 5, 5, 9}};
  const std::vector<float> scores = {0.9f, 0.8f, 0.7f, 0.95f};
  const Predictions in{boxes, scores, 1, false};
  DetectionOptions options;
  std::vector<Detection> detections;
  BoxSelector selector;
  Selection all = selector.Select(in, options, &detections);
  EXPECT_EQ(all.num_candidates, 4);
  EXPECT_EQ(all.num_invalid, 1);
  EXPECT_FALSE(all.truncated);
  EXPECT_EQ(detections.size(), 3u);
  options.max_detections = 2;
  EXPECT_TRUE(selector.Select(in, options, &detections).truncated);
  EXPECT_EQ(detections.size(), 2u);
  options.max_detections = 300;
  options.max_candidates = 1;
  EXPECT_TRUE(selector.Select(in, options, &detections).truncated);
  ASSERT_EQ(detections.size(), 1u);
  EXPECT_EQ(detections[0].score, 0.9f);
}

TEST(BoxSelectorTest, OverlapOfBoxes) {
  EXPECT_FLOAT_EQ(IntersectionOverUnion({0, 0, 10, 10}, {0, 5, 10, 15}), 1 / 3.0f);
  EXPECT_EQ(IntersectionOverUnion({0, 0, 10, 10}, {10, 0, 20, 10}), 0);
  EXPECT_EQ(IntersectionOverUnion({3, 3, 3, 3}, {3, 3, 3, 3}), 0);
}

TEST(DetectionOptionsTest, EveryRangeIsChecked) {
  const auto refused = [](auto change) {
    DetectionOptions options;
    change(options);
    return CheckDetectionOptions(options, 3).code() == absl::StatusCode::kInvalidArgument;
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(CheckDetectionOptions(DetectionOptions(), 3).ok());
  EXPECT_TRUE(refused([&](DetectionOptions& o) { o.score_threshold = nan; }));
  EXPECT_TRUE(refused([&](DetectionOptions& o) { o.iou_threshold = nan; }));
  EXPECT_TRUE(refused([](DetectionOptions& o) { o.score_threshold = 1.01f; }));
  EXPECT_TRUE(refused([](DetectionOptions& o) { o.iou_threshold = -0.1f; }));
  EXPECT_TRUE(refused([](DetectionOptions& o) { o.max_candidates = 0; }));
  EXPECT_TRUE(refused([](DetectionOptions& o) { o.max_detections = 1001; }));
  EXPECT_TRUE(refused([](DetectionOptions& o) { o.classes = {0, 3}; }));
  EXPECT_TRUE(refused([](DetectionOptions& o) { o.classes = {-1}; }));
}

}  // namespace
}  // namespace ela
