#include <filesystem>

#include "absl/strings/str_cat.h"
#include "model/checkpoint/atomic_file.h"
#include "model/status_macros.h"
#include "model/vision/torch/torch_network.h"

namespace ela::vision {
namespace {

at::Tensor Rounded(const at::Tensor& value) {
  at::Tensor rounded = at::empty(value.sizes(), at::kShort);
  const float* source = value.const_data_ptr<float>();
  auto* target = reinterpret_cast<uint16_t*>(rounded.data_ptr<int16_t>());
  for (int64_t i = 0; i < value.numel(); ++i) target[i] = FloatToBFloat16(source[i]);
  return rounded;
}

}  // namespace

absl::Status WriteDetectorCheckpoint(const std::string& directory, const DetectorConfig& config,
                                     const std::vector<NamedParameter>& tensors, DType dtype) {
  ELA_CHECK(dtype == DType::kF32 || dtype == DType::kBF16, "checkpoints are float32 or bfloat16");
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) return absl::UnavailableError(absl::StrCat(directory, ": ", error.message()));
  ELA_RETURN_IF_ERROR(WriteFileAtomically(directory + "/config.json", {ToJson(config)}));

  std::vector<at::Tensor> kept;  // owns what the views point to
  std::vector<ela::NamedTensor> named;
  for (const NamedParameter& tensor : tensors) {
    at::Tensor value = tensor.value.detach().to(at::kCPU, at::kFloat).contiguous();
    if (dtype == DType::kBF16) value = Rounded(value);
    TensorView view;
    view.dtype = dtype;
    view.shape = value.sizes().vec();
    view.data = value.const_data_ptr();
    view.num_bytes = value.nbytes();
    kept.push_back(value);
    named.push_back({tensor.name, view});
  }
  return WriteSafetensors(directory + "/model.safetensors", named, {{"format", "pt"}});
}

}  // namespace ela::vision
