#ifndef ELA_MODEL_TRAIN_DETECTOR_DETECTOR_TRAINER_H_
#define ELA_MODEL_TRAIN_DETECTOR_DETECTOR_TRAINER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "model/checkpoint/safetensors.h"
#include "model/train/detector/data_folder.h"
#include "model/train/detector/detector_evaluation.h"
#include "model/train/detector/detector_settings.h"

namespace ela::train {

// Where a run reads, writes and reports: nothing here changes the course of its weights.
struct DetectorRunOptions {
  std::string out;
  bool resume = false;  // go on from the state in `out`; else `out` must hold none
  double minutes = 0;   // > 0: as many epochs as this machine does in that time
  // Epochs; 0: some forty times in all. The best of the weights that were measured are kept.
  int64_t evaluate_every = 0;
  int64_t memory_bytes = int64_t{2} << 30;  // of decoded training pictures
  DType export_type = DType::kF32;
  bool quiet = false;
  const std::atomic<bool>* stop = nullptr;       // true: save and return kCancelled
  std::function<void(int64_t step)> after_step;  // called with the steps done
};

struct DetectorResult {
  int64_t steps = 0;
  double last_loss = 0;
  double best_map = 0;  // mAP50-95 on the validation pictures, of the weights that were kept
  int64_t best_step = 0;
  DetectorConfig model;         // with the thresholds that were chosen
  EvaluationResult validation;  // of the exported checkpoint
};

// Trains to the end. Leaves in `out`: log.jsonl (one object per step and evaluation),
// training.safetensors (everything that resuming needs), the best checkpoint so far (config.json,
// model.safetensors), and at the end its report (detector_report.h). The same settings, data and
// machine give the same weights to the bit, however often the run was killed and resumed.
// Problems of the data are printed to stderr, at most twenty of them, and all stand in
// problems.txt.
// Errors: kInvalidArgument (settings, data), kFailedPrecondition (resume with other settings or
// data; a state is there and resume is false), kNotFound (data; nothing to resume), kOutOfRange
// (loss or gradient not finite; names the step), kCancelled (`stop`), and those of writing files.
absl::StatusOr<DetectorResult> TrainDetector(DetectorSettings settings,
                                             const DetectorRunOptions& run, TrainingData data);

}  // namespace ela::train

#endif  // ELA_MODEL_TRAIN_DETECTOR_DETECTOR_TRAINER_H_
