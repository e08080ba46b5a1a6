// Pictures prepared for a detector, what it finds in them, and how good that is. A detector is seen
// through its interface alone: what is measured is what is served.
#ifndef ELA_MODEL_TRAIN_DETECTOR_DETECTOR_EVALUATION_H_
#define ELA_MODEL_TRAIN_DETECTOR_DETECTOR_EVALUATION_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/detector.h"
#include "model/image/fit.h"
#include "model/vision/coco_evaluation.h"
#include "model/vision/dataset.h"

namespace ela::train {

// Low enough that the curve's right end is there, COCO's number of boxes a picture, and a class
// for every candidate.
DetectionOptions EvaluationOptions(float iou_threshold);

struct EvaluationResult {
  CocoResult figures;
  std::vector<CocoImage> images;  // truths and detections in oriented source pixels
  double seconds = 0;             // of the detector alone
};

// Thread-compatible.
class EvaluationSet {
 public:
  struct Item {
    LabelledImage image;  // boxes and size in oriented source pixels
    Placement placement;
    std::vector<uint8_t> pixels;  // fitted; empty: made when needed
  };

  // Decodes every picture and keeps up to `max_bytes` of fitted ones. Pictures that cannot be
  // decoded are left out and told in the data set's problems. Errors: kInvalidArgument when none
  // remains.
  static absl::StatusOr<std::unique_ptr<EvaluationSet>> Create(Dataset dataset, int32_t input_width,
                                                               int32_t input_height, FitMode fit,
                                                               int64_t max_bytes = 512 << 20);

  // Errors: those of a picture's output, naming the picture; kInvalidArgument.
  absl::StatusOr<EvaluationResult> Run(Detector& detector, const DetectionOptions& options);

  const Dataset& dataset() const { return dataset_; }  // without pictures: they are in items()
  const std::vector<Item>& items() const { return items_; }
  // The fitted picture. Errors: as decoding.
  absl::StatusOr<std::vector<uint8_t>> Pixels(const Item& item) const;

 private:
  EvaluationSet() = default;

  Dataset dataset_;
  int32_t width_ = 0, height_ = 0;
  std::vector<Item> items_;
};

// Figures as one JSON object: COCO's twelve by their usual names, and each class's.
std::string FiguresAsJson(const CocoResult& figures, const std::vector<std::string>& class_names);

// COCO's results format: a list of {image_id, category_id, bbox, score}.
std::string DetectionsAsJson(const EvaluationSet& set, const EvaluationResult& result);

// The thresholds to serve with, chosen on validation pictures: the IoU threshold by the sum of
// mAP50 and mAP50-95 (the second alone does not mind two boxes on one object), and with it the
// score threshold at which the mean over classes of F1 at IoU 0.5 is highest.
struct ServingThresholds {
  float score = 0.25f;
  float iou = 0.6f;
};
absl::StatusOr<ServingThresholds> ChooseThresholds(Detector& detector, EvaluationSet& set);

}  // namespace ela::train

#endif  // ELA_MODEL_TRAIN_DETECTOR_DETECTOR_EVALUATION_H_
