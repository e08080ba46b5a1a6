#ifndef ELA_MODEL_TRAIN_DETECTOR_REPORT_PICTURES_H_
#define ELA_MODEL_TRAIN_DETECTOR_REPORT_PICTURES_H_

#include <string>

#include "absl/status/status.h"
#include "model/train/detector/detector_evaluation.h"
#include "model/vision/detector_config.h"

namespace ela::train {

// A curve for each class (the first twenty) at IoU 0.5, with its average precision.
// Errors: those of Canvas::WritePng.
absl::Status WritePrecisionRecall(const std::string& path, const DetectorConfig& model,
                                  const CocoResult& figures);

// Up to twelve pictures, evenly spaced through the set: dashed white what is true, coloured what
// was found with at least the model's score threshold.
// Errors: those of decoding and of Canvas::WritePng.
absl::Status WriteSampleSheet(const std::string& path, const DetectorConfig& model,
                              const EvaluationSet& set, const EvaluationResult& result);

}  // namespace ela::train

#endif  // ELA_MODEL_TRAIN_DETECTOR_REPORT_PICTURES_H_
