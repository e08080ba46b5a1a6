#include "model/vision/coco_evaluation.h"

#include <fstream>
#include <limits>

#include "gtest/gtest.h"
#include "tests/model/vision/coco_case.h"

namespace ela {
namespace {

CocoResult Evaluated(const std::vector<CocoImage>& images, int32_t num_classes = 1) {
  absl::StatusOr<CocoResult> result = EvaluateCoco(images, num_classes);
  EXPECT_TRUE(result.ok()) << result.status();
  return result.ok() ? *std::move(result) : CocoResult();
}

CocoTruth Truth(double x, double y, double side, int32_t class_id = 0, bool crowd = false) {
  return {class_id, {x, y, side, side}, side * side, crowd};
}
CocoDetection Found(double x, double y, double side, double score, int32_t class_id = 0) {
  return {class_id, {x, y, side, side}, score};
}

// Random cases with ties, crowds, areas and empty pictures; figures by pycocotools 2.0.8.
TEST(CocoEvaluationTest, EqualsPycocotools) {
  std::ifstream file(ELA_SOURCE_DIR "/tests/golden/detection/coco_cases.json");
  const nlohmann::json cases = nlohmann::json::parse(file);
  ASSERT_GE(cases.size(), 20u);
  for (size_t i = 0; i < cases.size(); ++i) {
    const std::vector<double> ours =
        CocoStats(Evaluated(CocoCase(cases[i]), cases[i].at("num_classes")));
    const std::vector<double> theirs = cases[i].at("stats");
    for (size_t k = 0; k < theirs.size(); ++k) {
      EXPECT_NEAR(ours[k], theirs[k], 1e-9) << "case " << i << ", figure " << k;
    }
  }
}

TEST(CocoEvaluationTest, PerfectIsOneAndSwappedClassesAreZero) {
  const CocoImage perfect{{Truth(0, 0, 10, 0), Truth(50, 50, 100, 1)},
                          {Found(0, 0, 10, 0.9, 0), Found(50, 50, 100, 0.8, 1)}};
  const CocoResult result = Evaluated({perfect}, 2);
  EXPECT_NEAR(result.map, 1, 1e-12);
  EXPECT_NEAR(result.map_small, 1, 1e-12);
  EXPECT_EQ(result.map_medium, -1);
  EXPECT_NEAR(result.map_large, 1, 1e-12);
  EXPECT_EQ(result.classes[1].num_truths, 1);
  CocoImage swapped = perfect;
  for (CocoDetection& d : swapped.detections) d.class_id = 1 - d.class_id;
  EXPECT_EQ(Evaluated({swapped}, 2).map50, 0);
}

TEST(CocoEvaluationTest, AFalseBoxOnAnEmptyPictureCosts) {
  const CocoImage good{{Truth(0, 0, 10)}, {Found(0, 0, 10, 0.5)}};
  const CocoImage background{{}, {Found(5, 5, 10, 0.9)}};
  EXPECT_NEAR(Evaluated({good, background}).map50, 0.5, 1e-12);
}

TEST(CocoEvaluationTest, ASecondBoxOnOneTruthIsFalseButNotOnACrowd) {
  const std::vector<CocoDetection> twice = {Found(0, 0, 10, 0.9), Found(0, 0, 10, 0.8),
                                            Found(30, 0, 10, 0.7)};
  const CocoImage image{{Truth(0, 0, 10), Truth(30, 0, 10)}, twice};
  EXPECT_LT(Evaluated({image}).map50, 0.9);
  const CocoImage crowd{{Truth(0, 0, 10, 0, true), Truth(30, 0, 10)}, twice};
  EXPECT_NEAR(Evaluated({crowd}).map50, 1, 1e-12);
}

TEST(CocoEvaluationTest, WithoutTruthThereIsNoFigure) {
  const CocoResult result = Evaluated({CocoImage()}, 3);
  EXPECT_EQ(result.map, -1);
  EXPECT_EQ(result.recall_100, -1);
  EXPECT_EQ(Evaluated({{{Truth(0, 0, 5)}, {}}}).map50, 0);
}

TEST(CocoEvaluationTest, BadInputIsRefused) {
  EXPECT_FALSE(EvaluateCoco({{{Truth(0, 0, 5, 1)}, {}}}, 1).ok());
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_FALSE(EvaluateCoco({{{}, {Found(0, 0, 5, nan)}}}, 1).ok());
}

}  // namespace
}  // namespace ela
