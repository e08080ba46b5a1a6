// A detector's network on LibTorch, built layer by layer from its NetworkPlan: what training
// differentiates, and the truth that the serving network is compared with.
#ifndef ELA_MODEL_VISION_TORCH_TORCH_NETWORK_H_
#define ELA_MODEL_VISION_TORCH_TORCH_NETWORK_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/checkpoint/safetensors.h"
#include "model/reference/language_model.h"
#include "model/reference/torch_headers.h"
#include "model/vision/detector_config.h"
#include "model/vision/head.h"
#include "model/vision/network_plan.h"

namespace ela::vision {

using reference::NamedParameter;

// Raw maps of one scale for a whole batch.
struct RawMaps {
  at::Tensor scores;     // [N, C, rows, columns]: C = classes (kLatMs) or 5 + classes
  at::Tensor distances;  // [N, 4, rows, columns], kLatMs only; else undefined
  int32_t stride = 0;    // input pixels per cell
};

struct ForwardOptions {
  bool training = false;   // normalise with the batch's own statistics and move the running ones
  double momentum = 0.03;  // of that move: running += momentum * (batch - running)
};

// BatchNorm's running mean and variance: no gradient, moved by the forward pass.
bool IsRunningStatistic(const std::string& tensor_name);

// What training starts from, in the order of ExpectedTensors; float32. Convolutions are normal with
// deviation sqrt(2 / fan in), norms the identity, and the heads' biases say that one place in a
// hundred holds an object, and that a box reaches two cells to each side. Depends on config and
// `seed` alone.
std::vector<NamedParameter> InitialTensors(const DetectorConfig& config, uint64_t seed);

// Thread-compatible. Holds references to its tensors: changing one in place changes the network.
class TorchNetwork {
 public:
  // `tensors` in the order, and with the names and shapes, of ExpectedTensors. Any device; any
  // floating dtype, that of the pictures.
  TorchNetwork(const DetectorConfig& config, std::vector<NamedParameter> tensors);

  // Reads a checkpoint directory; weights widen to `dtype` (kFloat or kDouble) exactly.
  // Errors: those of LoadDetectorConfig and Weights::Load.
  static absl::StatusOr<TorchNetwork> Load(const std::string& directory,
                                           at::ScalarType dtype = at::kFloat);

  // images: [N, 3, height, width], RGB, 0 to 1, width and height multiples of SizeMultiple. One
  // element per HeadOutput, in the plan's order. Works in channels-last memory: depthwise layers
  // are several times faster so.
  std::vector<RawMaps> Forward(const at::Tensor& images, const ForwardOptions& options) const;

  const DetectorConfig& config() const { return config_; }
  const NetworkPlan& plan() const { return plan_; }
  const std::vector<NamedParameter>& tensors() const { return tensors_; }

 private:
  struct Norm {
    at::Tensor weight, bias, running_mean, running_var;
  };
  struct LayerTensors {
    at::Tensor weight, bias;  // of the convolution; kAttention: qkv
    at::Tensor projection;    // kAttention
    Norm norm;
  };

  at::Tensor Run(const Layer& layer, const LayerTensors& tensors, const at::Tensor& first,
                 const at::Tensor& second, const ForwardOptions& options) const;

  DetectorConfig config_;
  NetworkPlan plan_;
  std::vector<NamedParameter> tensors_;
  std::vector<LayerTensors> of_layer_;  // as long as plan_.layers
};

// Views of one picture's maps, for ReadHead. `maps` must outlive them; float32 on the CPU.
std::vector<HeadMaps> MapsOfPicture(const std::vector<RawMaps>& maps, int64_t picture);

// Writes what TorchNetwork::Load and a server read: config.json and model.safetensors in `dtype`
// (kF32, or kBF16 rounded to nearest even). Makes `directory` where it is missing.
// Errors: kResourceExhausted, kUnavailable.
absl::Status WriteDetectorCheckpoint(const std::string& directory, const DetectorConfig& config,
                                     const std::vector<NamedParameter>& tensors, DType dtype);

}  // namespace ela::vision

#endif  // ELA_MODEL_VISION_TORCH_TORCH_NETWORK_H_
