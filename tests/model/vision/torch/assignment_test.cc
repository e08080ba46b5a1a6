#include "model/vision/torch/assignment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>
#include <set>
#include <utility>
#include <vector>

namespace ela::vision {
namespace {

const std::vector<MapSize> kMaps = {{12, 16, 8}, {6, 8, 16}, {3, 4, 32}};  // 128 x 96 pixels

// What an untrained network says: boxes of four cells, the same small score everywhere.
struct Prediction {
  std::vector<Place> places = PlacesOf(kMaps);
  std::vector<float> logits;
  std::vector<Box> boxes;
  explicit Prediction(int num_classes) : logits(places.size() * num_classes, -4.6f) {
    for (const Place& p : places) {
      const float reach = 2 * p.stride;
      boxes.push_back({p.x - reach, p.y - reach, p.x + reach, p.y + reach});
    }
  }
};

Assignment Assign(const DetectionTargets& targets, const Prediction& prediction,
                  int num_classes = 1) {
  return AssignByCost(targets, kMaps, prediction.places, prediction.logits, prediction.boxes,
                      num_classes, AssignmentOptions());
}

DetectionTargets Boxes(std::vector<Box> boxes) {
  DetectionTargets targets;
  targets.class_ids.assign(boxes.size(), 0);
  targets.boxes = std::move(boxes);
  return targets;
}

std::vector<int> PlacesPerBox(const Assignment& assignment, size_t num_boxes) {
  std::vector<int> count(num_boxes);
  for (const int32_t box : assignment) {
    if (box >= 0) ++count[box];
  }
  return count;
}

std::vector<Box> RandomBoxes(int count, float largest, std::mt19937* random) {
  std::uniform_real_distribution<float> x(0, 128), y(0, 96), side(0.5f, largest);
  std::vector<Box> boxes;
  for (int i = 0; i < count; ++i) {
    const float left = x(*random), top = y(*random);
    boxes.push_back({left, top, left + side(*random), top + side(*random)});
  }
  return boxes;
}

TEST(AssignmentTest, PlacesLieScaleByScaleInTheMiddleOfTheirCells) {
  const std::vector<Place> places = PlacesOf(kMaps);
  ASSERT_EQ(places.size(), 12u * 16 + 6 * 8 + 3 * 4);
  EXPECT_EQ(places[1].x, 12.0f);
  EXPECT_EQ(places[1].y, 4.0f);
  EXPECT_EQ(places[12 * 16 + 8].y, 24.0f);
  EXPECT_EQ(places.back().x, 112.0f);
  EXPECT_EQ(places.back().stride, 32.0f);
}

TEST(AssignmentTest, EveryBoxHasAPlaceHoweverSmallOrCrowded) {
  std::mt19937 random(1);
  for (const float largest : {2.0f, 10.0f, 60.0f}) {
    for (const int count : {1, 20, 120}) {
      const DetectionTargets targets = Boxes(RandomBoxes(count, largest, &random));
      const Assignment assignment = Assign(targets, Prediction(1));
      EXPECT_THAT(PlacesPerBox(assignment, count), testing::Each(testing::Ge(1)))
          << largest << " " << count;
      const MapSize map = {6 * 4, 8 * 4, 4};
      EXPECT_THAT(PlacesPerBox(AssignByReach(targets, map), count), testing::Each(testing::Ge(1)));
    }
  }
}

TEST(AssignmentTest, TwinsShareTheirPlaces) {
  const DetectionTargets targets = Boxes({{40, 40, 52, 50}, {40, 40, 52, 50}});
  EXPECT_THAT(PlacesPerBox(Assign(targets, Prediction(1)), 2), testing::Each(testing::Ge(1)));
}

TEST(AssignmentTest, MoreBoxesThanPlacesFillEveryPlace) {
  std::mt19937 random(2);
  const DetectionTargets targets = Boxes(RandomBoxes(300, 20, &random));
  const Assignment assignment = Assign(targets, Prediction(1));
  EXPECT_THAT(assignment, testing::Each(testing::Ge(0)));
}

TEST(AssignmentTest, TheOrderOfBoxesMakesNoDifference) {
  std::mt19937 random(3);
  for (int round = 0; round < 50; ++round) {
    const std::vector<Box> boxes = RandomBoxes(25, 50, &random);
    Prediction prediction(1);
    for (float& logit : prediction.logits) {
      logit = std::uniform_real_distribution<float>(-6, 2)(random);
    }
    std::vector<int32_t> order(boxes.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int32_t>(i);
    std::shuffle(order.begin(), order.end(), random);
    std::vector<Box> shuffled;
    for (const int32_t i : order) shuffled.push_back(boxes[i]);
    const Assignment one = Assign(Boxes(boxes), prediction);
    Assignment other = Assign(Boxes(shuffled), prediction);
    for (int32_t& box : other) box = box < 0 ? box : order[box];
    ASSERT_EQ(one, other) << round;
  }
}

TEST(AssignmentTest, EqualCostsGoToTheFirstPlaceAndTheFirstBox) {
  // Two boxes mirrored about a place: equal costs everywhere, to the bit.
  Prediction prediction(1);
  const DetectionTargets one = Boxes({{32, 32, 48, 48}});  // centre on the corner of four cells
  const Assignment assignment = Assign(one, prediction);
  const auto first = std::find(assignment.begin(), assignment.end(), 0) - assignment.begin();
  EXPECT_EQ(first, 4 * 16 + 4);
  EXPECT_EQ(assignment, Assign(one, prediction));
}

TEST(AssignmentTest, AWellPredictedBoxGetsMorePlacesAndTheBestOnes) {
  const DetectionTargets targets = Boxes({{20, 20, 80, 70}});
  Prediction prediction(1);
  const int before = PlacesPerBox(Assign(targets, prediction), 1)[0];
  std::set<int> fitting;
  for (size_t p = 0; p < prediction.places.size() && fitting.size() < 9; ++p) {
    const Place& place = prediction.places[p];
    if (place.stride != 16 || place.x < 30 || place.x > 70 || place.y < 30 || place.y > 60)
      continue;
    prediction.boxes[p] = {21, 20, 80, 69};
    fitting.insert(static_cast<int>(p));
  }
  const Assignment after = Assign(targets, prediction);
  EXPECT_GT(PlacesPerBox(after, 1)[0], before);
  for (const int place : fitting) EXPECT_EQ(after[place], 0) << place;
}

TEST(AssignmentTest, OnlyCentresInIgnoredRegionsAreNoNegatives) {
  DetectionTargets targets = Boxes({{40, 40, 60, 60}});
  const Assignment plain = Assign(targets, Prediction(1));
  targets.ignored = {{0, 0, 50, 50}};
  const Assignment ignoring = Assign(targets, Prediction(1));
  const std::vector<Place> places = PlacesOf(kMaps);
  for (size_t p = 0; p < places.size(); ++p) {
    const bool inside = places[p].x <= 50 && places[p].y <= 50;
    EXPECT_EQ(ignoring[p], plain[p] == kNegative && inside ? kIgnored : plain[p]) << p;
  }
}

TEST(AssignmentTest, UnusableBoxesAndPredictionsHurtNobody) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const DetectionTargets targets =
      Boxes({{40, 40, 40, 60}, {30, 30, 60, 60}, {nan, 0, 1, 1}, {9, 9, 3, 3}});
  Prediction prediction(1);
  for (size_t p = 0; p < prediction.places.size(); p += 2) {
    prediction.logits[p] = nan;
    prediction.boxes[p] = {nan, nan, nan, nan};
  }
  const std::vector<int> count = PlacesPerBox(Assign(targets, prediction), 4);
  EXPECT_THAT(count, testing::ElementsAre(0, testing::Ge(1), 0, 0));
  EXPECT_THAT(PlacesPerBox(AssignByReach(targets, {6, 8, 16}), 4),
              testing::ElementsAre(0, testing::Ge(1), 0, 0));
}

TEST(AssignmentTest, ReachGivesTheCellOfTheCentreAndCellsThatCanExpressTheBox) {
  const MapSize map = {6, 8, 16};
  const auto cells = [&](Box box) {
    std::set<std::pair<int, int>> found;
    const Assignment assignment = AssignByReach(Boxes({box}), map);
    for (size_t p = 0; p < assignment.size(); ++p) {
      if (assignment[p] == 0) found.insert({static_cast<int>(p) / 8, static_cast<int>(p) % 8});
    }
    return found;
  };
  using Cells = std::set<std::pair<int, int>>;
  // In the middle of a cell, small: no other cell comes near.
  EXPECT_EQ(cells({50, 34, 60, 46}), (Cells{{2, 3}}));
  // Centre close to the right edge of its cell: the right neighbour does as well.
  EXPECT_EQ(cells({49, 30, 77, 50}), (Cells{{2, 3}, {2, 4}}));
  // Far larger than two cells: no cell can express it; the centre's answers alone.
  EXPECT_EQ(cells({0, 0, 120, 90}), (Cells{{2, 3}}));
}

}  // namespace
}  // namespace ela::vision
