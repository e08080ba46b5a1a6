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

std::vector<NamedBuffer> Buffers(const Parameters& parameters, const Optimizer& optimizer) {
  return {{"values", parameters.values()},
          {"mean", optimizer.mean()},
          {"variance", optimizer.variance()}};
}

}  // namespace

std::string TrainStatePath(const std::string& run_directory) {
  return absl::StrCat(run_directory, "/training.safetensors");
}

absl::Status SaveBuffers(const std::string& path, const std::vector<NamedBuffer>& buffers,
                         const std::map<std::string, std::string>& metadata) {
  std::vector<NamedTensor> tensors;
  for (const NamedBuffer& buffer : buffers) {
    TensorView view;
    view.dtype = DType::kF32;
    view.shape = {buffer.values.numel()};
    view.data = buffer.values.const_data_ptr<float>();
    view.num_bytes = buffer.values.numel() * sizeof(float);
    tensors.push_back({buffer.name, view});
  }
  return WriteSafetensors(path, tensors, metadata);
}

absl::Status LoadBuffers(const std::string& path, const std::vector<NamedBuffer>& buffers) {
  ELA_ASSIGN_OR_RETURN(const auto file, SafetensorsFile::Open(path));
  for (const NamedBuffer& buffer : buffers) {
    const auto found = file->tensors().find(buffer.name);
    if (found == file->tensors().end() || found->second.dtype != DType::kF32 ||
        found->second.num_elements() != buffer.values.numel()) {
      return absl::InvalidArgumentError(absl::StrCat(
          path, ": \"", buffer.name, "\" is not F32 with ", buffer.values.numel(), " elements"));
    }
    std::memcpy(buffer.values.mutable_data_ptr(), found->second.data,
                buffer.values.numel() * sizeof(float));
  }
  return absl::OkStatus();
}

absl::Status SaveTrainState(const std::string& run_directory, const TrainPosition& position,
                            const Parameters& parameters, const Optimizer& optimizer) {
  return SaveBuffers(TrainStatePath(run_directory), Buffers(parameters, optimizer),
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
  return LoadBuffers(TrainStatePath(run_directory), Buffers(parameters, optimizer));
}

}  // namespace ela::train
