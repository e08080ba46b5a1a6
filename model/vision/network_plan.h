// A detector's network as a list of layers: the one place that knows the architecture. The LibTorch
// network (trained, reference), the serving network, the expected tensors and the counts of
// parameters and multiply-adds all follow from it.
#ifndef ELA_MODEL_VISION_NETWORK_PLAN_H_
#define ELA_MODEL_VISION_NETWORK_PLAN_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "model/config.h"
#include "model/vision/detector_config.h"

namespace ela {

// kConvolution   y = activation(norm(conv(x))); square kernel, padding kernel / 2, zeros outside.
//                Depthwise when groups == in channels. With `inputs` of two, the second is added
//                before the activation: y = activation(norm(conv(x0)) + x1).
// kUpsampleAdd   y = upsample2(x0) + x1: nearest neighbour.
// kAdd           y = x0 + x1.
// kAttention     over all positions (docs/detection.md 1.2): qkv = W x without bias, q and k
//                divided by sqrt(head size),
//                bidirectional hadamard_exp (or softmax) per head,
//                y = norm(x + P o).
enum class LayerKind : uint8_t { kConvolution, kUpsampleAdd, kAdd, kAttention };

struct Layer {
  LayerKind kind = LayerKind::kConvolution;
  // Prefix of its tensors: "stage2.0" for stage2.0.conv.weight and stage2.0.bn.*; a plain
  // convolution (no norm) has NAME.weight and NAME.bias. Empty: no tensors.
  std::string name;
  std::array<int32_t, 2> inputs = {-1, -1};  // layer indices; kPicture: the picture; -1: none
  int32_t in_channels = 0;
  int32_t out_channels = 0;
  int32_t kernel = 1;
  int32_t stride = 1;
  int32_t groups = 1;  // 1 or in_channels
  bool norm = true;    // BatchNorm (eps 1e-5) and no bias; false: a bias and no norm
  Activation activation = Activation::kNone;
  int32_t heads = 0;                         // kAttention
  ContextKind context = ContextKind::kNone;  // kAttention: kEla or kSoftmax
  int32_t reduction = 1;                     // of the output map: input pixels per cell and axis

  static constexpr int32_t kPicture = -2;
};

// Where boxes are read: the raw map of one scale.
struct HeadOutput {
  // kLat, kLatDsc: one map of 5 + classes channels: objectness, x, y, w, h, classes.
  // kLatMs: `scores` has `classes` channels, `distances` four (left, top, right, bottom).
  int32_t scores = -1;     // layer index
  int32_t distances = -1;  // layer index; -1: in `scores`
  int32_t stride = 0;      // input pixels per cell
};

struct NetworkPlan {
  std::vector<Layer> layers;  // in order of execution
  std::vector<HeadOutput> outputs;
};

NetworkPlan MakeNetworkPlan(const DetectorConfig& config);

// Exactly the tensors of a checkpoint, in the order of the layers.
std::vector<TensorSpec> ExpectedTensors(const NetworkPlan& plan);

// At inference: BatchNorm folded into weights and biases (the attention's own norm keeps a scale
// and a shift). `trained` counts what the trainer moves instead (running statistics left out).
int64_t NumInferenceParameters(const NetworkPlan& plan);
int64_t NumTrainedParameters(const NetworkPlan& plan);

// For one picture of that size; convolutions and the attention's products.
int64_t NumMultiplyAdds(const NetworkPlan& plan, int32_t width, int32_t height);

}  // namespace ela

#endif  // ELA_MODEL_VISION_NETWORK_PLAN_H_
