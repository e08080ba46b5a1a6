#include "model/train/checkpoint_directory.h"

#include <filesystem>
#include <fstream>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "model/checkpoint/atomic_file.h"
#include "model/status_macros.h"

namespace ela::train {
namespace {

namespace fs = std::filesystem;

// Read and written anew: a copy of the file would take over its permissions, and the next one could
// not replace it where the original is read-only.
absl::Status CopyTokenizer(const std::string& from, const std::string& to) {
  for (const std::string name : {"tokenizer.json", "tokenizer_config.json"}) {
    const fs::path source = fs::path(from) / name, target = fs::path(to) / name;
    std::error_code error;
    if (fs::equivalent(source, target, error)) continue;
    std::ifstream file(source, std::ios::binary);
    if (!file) {
      if (name == "tokenizer_config.json") continue;
      return absl::NotFoundError(absl::StrCat(source.string(), ": cannot be opened"));
    }
    const std::string bytes((std::istreambuf_iterator<char>(file)), {});
    ELA_RETURN_IF_ERROR(WriteFileAtomically(target.string(), {bytes}));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<DType> ParseExportType(absl::string_view word) {
  if (word == "f32") return DType::kF32;
  if (word == "bf16") return DType::kBF16;
  return absl::InvalidArgumentError(absl::StrCat("dtype is \"", word, "\", known are f32, bf16"));
}

absl::Status WriteCheckpointDirectory(const std::string& directory, const LanguageConfig& config,
                                      const std::vector<reference::NamedParameter>& parameters,
                                      DType dtype, const std::string& tokenizer_directory) {
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) return absl::UnavailableError(absl::StrCat(directory, ": ", error.message()));
  ELA_RETURN_IF_ERROR(CopyTokenizer(tokenizer_directory, directory));
  ELA_RETURN_IF_ERROR(WriteFileAtomically(directory + "/config.json", {ToJson(config)}));

  std::vector<at::Tensor> kept;  // owns what the views point to
  std::vector<NamedTensor> tensors;
  for (const reference::NamedParameter& parameter : parameters) {
    at::Tensor value = parameter.value.detach().to(at::kFloat).contiguous();
    if (dtype == DType::kBF16) {
      at::Tensor rounded = at::empty(value.sizes(), at::kShort);
      const float* source = value.const_data_ptr<float>();
      auto* target = reinterpret_cast<uint16_t*>(rounded.data_ptr<int16_t>());
      for (int64_t i = 0; i < value.numel(); ++i) target[i] = FloatToBFloat16(source[i]);
      value = rounded;
    }
    TensorView view;
    view.dtype = dtype;
    view.shape = value.sizes().vec();
    view.data = value.const_data_ptr();
    view.num_bytes = value.nbytes();
    kept.push_back(value);
    tensors.push_back({parameter.name, view});
  }
  return WriteSafetensors(directory + "/model.safetensors", tensors, {{"format", "pt"}});
}

}  // namespace ela::train
