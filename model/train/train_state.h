// What a run needs to go on exactly where it was: one file, replaced as a whole, so that kill -9 at
// any moment leaves the last complete state.
#ifndef ELA_MODEL_TRAIN_TRAIN_STATE_H_
#define ELA_MODEL_TRAIN_TRAIN_STATE_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/train/optimizer.h"
#include "model/train/parameters.h"

namespace ela::train {

struct TrainPosition {
  int64_t step = 0;           // steps done
  std::string settings;       // ToJson(TrainSettings)
  std::string corpus_digest;  // of the training stream
};

std::string TrainStatePath(const std::string& run_directory);  // DIR/training.safetensors

// Errors: those of WriteSafetensors.
absl::Status SaveTrainState(const std::string& run_directory, const TrainPosition& position,
                            const Parameters& parameters, const Optimizer& optimizer);

// Reads the position alone. Errors: kNotFound, kInvalidArgument, kDataLoss.
absl::StatusOr<TrainPosition> LoadTrainPosition(const std::string& run_directory);

// The same for a trainer with other buffers: flat float32 tensors by name, and the file's metadata.
struct NamedBuffer {
  std::string name;
  at::Tensor values;  // [n], contiguous
};
absl::Status SaveBuffers(const std::string& path, const std::vector<NamedBuffer>& buffers,
                         const std::map<std::string, std::string>& metadata);
// Fills the buffers. Errors: kNotFound, kInvalidArgument (absent, or another size), kDataLoss.
absl::Status LoadBuffers(const std::string& path, const std::vector<NamedBuffer>& buffers);

// Fills `parameters` and `optimizer`, which were made from the same settings. Errors as above.
absl::Status LoadTrainState(const std::string& run_directory, const Parameters& parameters,
                            const Optimizer& optimizer);

}  // namespace ela::train

#endif  // ELA_MODEL_TRAIN_TRAIN_STATE_H_
