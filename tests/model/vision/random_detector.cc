#include "tests/model/vision/random_detector.h"

#include <cmath>
#include <fstream>
#include <random>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "model/checkpoint/safetensors.h"
#include "model/status_macros.h"
#include "model/vision/network_plan.h"

namespace ela {
namespace {

class Uniform {
 public:
  explicit Uniform(uint32_t seed) : bits_(seed) {}
  // [-1, 1). The generator's sequence is fixed by the standard; distributions are not.
  float operator()() { return static_cast<float>(bits_() >> 8) * 0x1p-23f - 1.0f; }

 private:
  std::mt19937 bits_;
};

}  // namespace

DetectorConfig MakeDetectorConfig(DetectorVariant variant, int num_classes) {
  DetectorConfig config;
  config.variant = variant;
  for (int i = 0; i < num_classes; ++i) config.class_names.push_back(absl::StrCat(i));
  return config;
}

void WriteRandomDetector(const DetectorConfig& config, uint32_t seed, const std::string& directory,
                         float gain) {
  Uniform uniform(seed);
  const std::vector<TensorSpec> specs = ExpectedTensors(MakeNetworkPlan(config));
  std::vector<std::vector<float>> values;
  std::vector<NamedTensor> tensors;
  for (const TensorSpec& spec : specs) {
    int64_t size = 1;
    for (int64_t n : spec.shape) size *= n;
    const float fan_in = static_cast<float>(size / spec.shape[0]);
    std::vector<float>& data = values.emplace_back(size);
    for (float& value : data) {
      if (absl::EndsWith(spec.name, "running_var")) {
        value = 0.6f + 0.5f * uniform();
      } else if (spec.shape.size() == 1) {  // a norm's vectors, biases
        value = (absl::EndsWith(spec.name, "weight") ? 1.0f : 0.0f) + 0.3f * uniform();
      } else {
        value = std::sqrt(3.0f / fan_in) * uniform();
      }
      if (absl::StrContains(spec.name, "head") && !absl::StrContains(spec.name, "running")) {
        value *= gain;
      }
    }
    TensorView view;
    view.shape = spec.shape;
    view.dtype = DType::kF32;
    view.data = data.data();
    view.num_bytes = data.size() * sizeof(float);
    tensors.push_back({spec.name, view});
  }
  const absl::Status written = WriteSafetensors(directory + "/model.safetensors", tensors);
  ELA_CHECK(written.ok(), "a test checkpoint could not be written");
  std::ofstream(directory + "/config.json") << ToJson(config);
}

std::vector<uint8_t> RandomPicture(int32_t width, int32_t height, uint32_t seed) {
  std::mt19937 bits(seed);
  std::vector<uint8_t> picture(size_t{3} * width * height);
  for (uint8_t& value : picture) value = static_cast<uint8_t>(bits() >> 24);
  return picture;
}

}  // namespace ela
