// What a person looks at after a run: the model card, precision-recall curves, and a sheet of
// validation pictures with the boxes that were found.
#ifndef ELA_MODEL_TRAIN_DETECTOR_DETECTOR_REPORT_H_
#define ELA_MODEL_TRAIN_DETECTOR_DETECTOR_REPORT_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "model/train/detector/detector_evaluation.h"
#include "model/vision/detector_config.h"

namespace ela::train {

struct RunSummary {
  int64_t num_training_pictures = 0;
  int64_t num_epochs = 0;
  int64_t num_steps = 0;
  int64_t best_step = 0;
  uint64_t seed = 0;
};

// Writes README.md, precision_recall.png and samples.png into `directory`.
// Errors: those of writing files and decoding pictures.
absl::Status WriteDetectorReport(const std::string& directory, const DetectorConfig& model,
                                 const RunSummary& run, const EvaluationSet& set,
                                 const EvaluationResult& result);

}  // namespace ela::train

#endif  // ELA_MODEL_TRAIN_DETECTOR_DETECTOR_REPORT_H_
