#ifndef ELA_MODEL_TRAIN_LM_TRAINER_H_
#define ELA_MODEL_TRAIN_LM_TRAINER_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/checkpoint/safetensors.h"
#include "model/train/corpus.h"
#include "model/train/evaluation.h"
#include "model/train/train_settings.h"

namespace ela::train {

// Where a run reads, writes and reports: nothing here changes the weights it arrives at.
struct RunOptions {
  std::string out;                 // run directory: state, log, checkpoint
  std::string tokenizer;           // directory whose files are copied into the checkpoint
  bool resume = false;             // go on from the state in `out`; else `out` must hold none
  int64_t checkpoint_every = 100;  // steps
  int64_t evaluate_every = 100;    // steps
  int64_t evaluate_tokens =
      20000;  // of the held-out documents, between steps; all of them at the end
  DType export_type = DType::kF32;
  bool quiet = false;
  std::function<void(int64_t step)>
      after_step;  // called with the steps done, before their state is saved
};

struct TrainResult {
  int64_t steps = 0;
  double last_loss = 0;  // nats per token, of the last step's batch
  BitsPerByte held_out;  // all held-out documents, products in full precision
};

// Trains to the end and leaves in `out`: log.jsonl (one object per step and evaluation),
// training.safetensors (TrainState), and the checkpoint directory's files. The same settings,
// documents and machine give the same weights to the bit, however often the run was killed and
// resumed. Errors: kInvalidArgument (settings, data too short, ids beyond the vocabulary),
// kFailedPrecondition (resume with other settings or data; a state is there and resume is false),
// kNotFound (nothing to resume), kOutOfRange (the loss or gradient is not finite; names the step),
// and those of writing files.
absl::StatusOr<TrainResult> TrainLanguageModel(const TrainSettings& settings, const RunOptions& run,
                                               const std::vector<Document>& training,
                                               const std::vector<Document>& held_out);

}  // namespace ela::train

#endif  // ELA_MODEL_TRAIN_LM_TRAINER_H_
