// COCO's measure of a detector, the only accuracy this project reports: average precision over ten
// IoU thresholds, 101 recall points, crowd regions and area ranges, as the reference program
// pycocotools (cocoeval, bounding boxes, default parameters) computes it. Equal to it within 1e-6.
#ifndef ELA_MODEL_VISION_COCO_EVALUATION_H_
#define ELA_MODEL_VISION_COCO_EVALUATION_H_

#include <array>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"

namespace ela {

// Corner, width, height in pixels, double: COCO files write decimals.
struct CocoBox {
  double x = 0;
  double y = 0;
  double width = 0;
  double height = 0;
};

struct CocoTruth {
  int32_t class_id = 0;
  CocoBox box;
  double area = 0;     // of the object: COCO gives that of the mask, which decides small or large
  bool crowd = false;  // may be hit any number of times, counts for nothing
};

struct CocoDetection {
  int32_t class_id = 0;
  CocoBox box;
  double score = 0;
};

// One picture; the order of detections decides between equal scores.
struct CocoImage {
  std::vector<CocoTruth> truths;
  std::vector<CocoDetection> detections;
};

constexpr int kCocoRecallPoints = 101;

struct CocoClassResult {
  int64_t num_truths = 0;  // without crowds
  double map = -1;         // -1: the class has no truth
  double map50 = -1;
  double map75 = -1;
  double recall50 = -1;                                 // of all truths, at 100 detections
  std::array<double, kCocoRecallPoints> precision50{};  // at recall 0, 0.01, …, 1
};

// -1 where no class has a truth of that size.
struct CocoResult {
  double map = -1;  // mAP50-95
  double map50 = -1;
  double map75 = -1;
  double map_small = -1;   // area up to 32 x 32
  double map_medium = -1;  // to 96 x 96
  double map_large = -1;
  double recall_1 = -1;  // average recall with 1, 10, 100 detections a picture
  double recall_10 = -1;
  double recall_100 = -1;
  double recall_small = -1;
  double recall_medium = -1;
  double recall_large = -1;
  std::vector<CocoClassResult> classes;  // [num_classes]
};

// Pictures in the order of their ids. O(pictures * classes + overlaps). Thread-safe.
// Errors: kInvalidArgument: a class out of [0, num_classes), a box or score that is not finite.
absl::StatusOr<CocoResult> EvaluateCoco(const std::vector<CocoImage>& images, int32_t num_classes);

}  // namespace ela

#endif  // ELA_MODEL_VISION_COCO_EVALUATION_H_
