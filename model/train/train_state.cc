#include "model/train/train_state.h"

#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "model/checkpoint/safetensors.h"
#include "model/status_macros.h"

namespace ela::train {
namespace {

std::vector<std::pair<std::string, at::Tensor>> Buffers(const Parameters& parameters,
                                                        const Optimizer& optimizer) {
  return {{"values", parameters.values()},
          {"mean", optimizer.mean()},
          {"variance", optimizer.variance()}};
}

}  // namespace

std::string TrainStatePath(const std::string& run_directory) {
  return absl::StrCat(run_directory, "/training.safetensors");
}

absl::Status SaveTrainState(const std::string& run_directory, const TrainPosition& position,
                            const Parameters& parameters, const Optimizer& optimizer) {
  std::vector<NamedTensor> tensors;
  for (const auto& [name, tensor] : Buffers(parameters, optimizer)) {
    TensorView view;
    view.dtype = DType::kF32;
    view.shape = {tensor.numel()};
    view.data = tensor.const_data_ptr<float>();
    view.num_bytes = tensor.numel() * sizeof(float);
    tensors.push_back({name, view});
  }
  return WriteSafetensors(TrainStatePath(run_directory), tensors,
                          {{"step", absl::StrCat(position.step)},
                           {"settings", position.settings},
                           {"corpus_digest", position.corpus_digest}});
}

absl::StatusOr<TrainPosition> LoadTrainPosition(const std::string& run_directory) {
  const std::string path = TrainStatePath(run_directory);
  ELA_ASSIGN_OR_RETURN(const auto file, SafetensorsFile::Open(path));
  TrainPosition position;
  const auto& metadata = file->metadata();
  const auto step = metadata.find("step"), settings = metadata.find("settings"),
             digest = metadata.find("corpus_digest");
  if (step == metadata.end() || settings == metadata.end() || digest == metadata.end() ||
      !absl::SimpleAtoi(step->second, &position.step)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": is not the state of a training run"));
  }
  position.settings = settings->second;
  position.corpus_digest = digest->second;
  return position;
}

absl::Status LoadTrainState(const std::string& run_directory, const Parameters& parameters,
                            const Optimizer& optimizer) {
  const std::string path = TrainStatePath(run_directory);
  ELA_ASSIGN_OR_RETURN(const auto file, SafetensorsFile::Open(path));
  for (const auto& [name, tensor] : Buffers(parameters, optimizer)) {
    const auto found = file->tensors().find(name);
    if (found == file->tensors().end() || found->second.dtype != DType::kF32 ||
        found->second.num_elements() != tensor.numel()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": \"", name, "\" is not F32 with ", tensor.numel(), " elements"));
    }
    std::memcpy(tensor.mutable_data_ptr(), found->second.data, tensor.numel() * sizeof(float));
  }
  return absl::OkStatus();
}

}  // namespace ela::train
