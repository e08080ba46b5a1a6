#include "tests/model/random_checkpoint.h"

#include <cmath>
#include <fstream>
#include <random>
#include <vector>

#include "absl/strings/match.h"
#include "model/status_macros.h"

namespace ela {

LanguageConfig SmallPaperConfig() {
  LanguageConfig config;
  config.vocab_size = 67;
  config.hidden_size = 32;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 2;
  config.num_experts = 4;
  config.num_experts_per_tok = 2;
  config.moe_intermediate_size = 24;
  config.memory_lobe = LobeConfig{};
  return config;
}

LanguageConfig SmallExtendedConfig(AttentionKernel kernel) {
  LanguageConfig config = SmallPaperConfig();
  config.attention_kernel = kernel;
  config.residual = Residual::kStandard;
  config.moe_bias = MoeBias::kOuter;
  config.moe_residual = false;
  config.final_norm = true;
  config.short_conv = 4;
  config.output_gate = true;
  config.position_encoding = PositionEncoding::kNone;
  if (kernel == AttentionKernel::kHadamardExp) config.decay = Decay::kGated;
  config.memory_lobe->heads = 2;
  return config;
}

LanguageConfig PaperConfig() {
  LanguageConfig config;
  config.vocab_size = 6400;
  config.hidden_size = 256;
  config.num_hidden_layers = 4;
  config.num_attention_heads = 4;
  config.num_experts = 4;
  config.num_experts_per_tok = 2;
  config.moe_intermediate_size = 256;
  config.memory_lobe = LobeConfig{};
  return config;
}

namespace {

void WriteRandomTensors(const std::vector<TensorSpec>& specs, uint32_t seed,
                        const std::string& directory, DType dtype) {
  std::mt19937 bits(seed);  // its sequence is fixed by the standard; distributions are not
  const auto uniform = [&] { return static_cast<float>(bits() >> 8) * 0x1p-23f - 1.0f; };
  std::vector<std::string> values;  // bytes of each tensor
  std::vector<NamedTensor> tensors;
  for (const TensorSpec& spec : specs) {
    int64_t size = 1;
    for (int64_t n : spec.shape) size *= n;
    const bool norm = absl::StrContains(spec.name, "norm");
    const bool convolution = absl::StrContains(spec.name, "_conv");
    const float scale = std::sqrt(3.0f / static_cast<float>(spec.shape.back()));
    std::string data;
    for (int64_t i = 0; i < size; ++i) {
      const float value = norm ? 1.0f + 0.2f * uniform() : (convolution ? 0.5f : scale) * uniform();
      const uint16_t half = FloatToBFloat16(value);
      if (dtype == DType::kBF16) {
        data.append(reinterpret_cast<const char*>(&half), sizeof(half));
      } else {
        data.append(reinterpret_cast<const char*>(&value), sizeof(value));
      }
    }
    values.push_back(std::move(data));
    TensorView view;
    view.shape = spec.shape;
    view.dtype = dtype;
    view.num_bytes = values.back().size();
    tensors.push_back({spec.name, view});
  }
  for (size_t i = 0; i < tensors.size(); ++i) tensors[i].view.data = values[i].data();
  const absl::Status written = WriteSafetensors(directory + "/model.safetensors", tensors);
  ELA_CHECK(written.ok(), "a test checkpoint could not be written");
}

}  // namespace

void WriteRandomCheckpoint(const LanguageConfig& config, uint32_t seed,
                           const std::string& directory, DType dtype) {
  WriteRandomTensors(ExpectedTensors(config), seed, directory, dtype);
  std::ofstream(directory + "/config.json") << ToJson(config);
}

void WriteRandomLobe(const LanguageConfig& base, const std::string& base_fingerprint,
                     const LobeConfig& lobe, uint32_t seed, const std::string& directory) {
  WriteRandomTensors(LobeTensors(base), seed, directory, DType::kF32);
  std::ofstream(directory + "/config.json") << ToJson(PluggableLobeConfig{base_fingerprint, lobe});
}

void WriteModelWithLobe(const std::string& base, const std::string& lobe,
                        const std::string& directory) {
  LanguageConfig config = *LoadLanguageConfig(base);
  config.memory_lobe = LoadPluggableLobeConfig(lobe, config)->memory_lobe;
  const auto from = *SafetensorsFile::Open(base + "/model.safetensors");
  const auto plugged = *SafetensorsFile::Open(lobe + "/model.safetensors");
  std::vector<NamedTensor> tensors;
  for (const auto& [name, view] : from->tensors()) {
    if (!absl::StrContains(name, ".lob.")) tensors.push_back({name, view});
  }
  for (const auto& [name, view] : plugged->tensors()) tensors.push_back({name, view});
  const absl::Status written = WriteSafetensors(directory + "/model.safetensors", tensors);
  ELA_CHECK(written.ok(), "a test checkpoint could not be written");
  std::ofstream(directory + "/config.json") << ToJson(config);
}

}  // namespace ela
