#include "model/vision/torch/torch_network.h"

#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "model/checkpoint/weights.h"
#include "model/status_macros.h"
#include "model/vision/torch/bidirectional_attention.h"

namespace ela::vision {
namespace {

constexpr double kNormEpsilon = 1e-5;

at::Tensor Activate(const at::Tensor& x, Activation activation) {
  switch (activation) {
    case Activation::kRelu:
      return at::relu(x);
    case Activation::kSilu:
      return at::silu(x);
    case Activation::kNone:
      break;
  }
  return x;
}

// Takes a finished layer's tensors by name; an absent one is undefined.
class Lookup {
 public:
  explicit Lookup(const std::vector<NamedParameter>& tensors) {
    for (const NamedParameter& tensor : tensors) by_name_[tensor.name] = tensor.value;
  }
  at::Tensor operator()(const std::string& name) const {
    const auto found = by_name_.find(name);
    return found == by_name_.end() ? at::Tensor() : found->second;
  }

 private:
  std::map<std::string, at::Tensor> by_name_;
};

}  // namespace

bool IsRunningStatistic(const std::string& tensor_name) {
  return absl::EndsWith(tensor_name, ".running_mean") ||
         absl::EndsWith(tensor_name, ".running_var");
}

TorchNetwork::TorchNetwork(const DetectorConfig& config, std::vector<NamedParameter> tensors)
    : config_(config), plan_(MakeNetworkPlan(config)), tensors_(std::move(tensors)) {
  const std::vector<TensorSpec> expected = ExpectedTensors(plan_);
  ELA_CHECK(expected.size() == tensors_.size(), "a network is built from all of its tensors");
  for (size_t i = 0; i < expected.size(); ++i) {
    ELA_CHECK(expected[i].name == tensors_[i].name &&
                  tensors_[i].value.sizes() == at::IntArrayRef(expected[i].shape),
              "a network's tensors have the plan's names, order and shapes");
  }
  const Lookup find(tensors_);
  for (const Layer& layer : plan_.layers) {
    const bool attends = layer.kind == LayerKind::kAttention;
    const std::string norm = layer.name + (attends ? ".norm." : ".bn.");
    LayerTensors own;
    own.weight = find(layer.name + (attends      ? ".qkv.weight"
                                    : layer.norm ? ".conv.weight"
                                                 : ".weight"));
    own.bias = find(layer.name + ".bias");
    own.projection = find(layer.name + ".proj.weight");
    own.norm = {find(norm + "weight"), find(norm + "bias"), find(norm + "running_mean"),
                find(norm + "running_var")};
    of_layer_.push_back(std::move(own));
  }
}

absl::StatusOr<TorchNetwork> TorchNetwork::Load(const std::string& directory,
                                                at::ScalarType dtype) {
  ELA_ASSIGN_OR_RETURN(const DetectorConfig config, LoadDetectorConfig(directory));
  const std::vector<TensorSpec> specs = ExpectedTensors(MakeNetworkPlan(config));
  ELA_ASSIGN_OR_RETURN(const Weights weights, Weights::Load(directory, specs));
  std::vector<NamedParameter> tensors;
  for (const TensorSpec& spec : specs) {
    const std::vector<float> values = weights.Float(spec.name);
    tensors.push_back({spec.name, at::tensor(values, at::kFloat).view(spec.shape).to(dtype)});
  }
  return TorchNetwork(config, std::move(tensors));
}

at::Tensor TorchNetwork::Run(const Layer& layer, const LayerTensors& own, const at::Tensor& first,
                             const at::Tensor& second, const ForwardOptions& options) const {
  const auto normalise = [&](const at::Tensor& x) {
    return at::batch_norm(x, own.norm.weight, own.norm.bias, own.norm.running_mean,
                          own.norm.running_var, options.training, options.momentum, kNormEpsilon,
                          /*cudnn_enabled=*/true);
  };
  switch (layer.kind) {
    case LayerKind::kAdd:
      return first + second;
    case LayerKind::kUpsampleAdd:
      return at::upsample_nearest2d(first, {second.size(2), second.size(3)}) + second;
    case LayerKind::kAttention: {
      const int64_t head = layer.in_channels / layer.heads;
      const at::Tensor qkv = at::conv2d(first, own.weight)
                                 .flatten(2)
                                 .unflatten(1, {3, layer.heads, head});  // [N, 3, H, D, P]
      const double scale = 1.0 / std::sqrt(static_cast<double>(head));
      const at::Tensor q = qkv.select(1, 0) * scale, k = qkv.select(1, 1) * scale;
      const at::Tensor v = qkv.select(1, 2);
      const at::Tensor gathered = layer.context == ContextKind::kSoftmax
                                      ? BidirectionalSoftmaxAttention(q, k, v)
                                      : BidirectionalElaAttention(q, k, v);
      const at::Tensor map = gathered.flatten(1, 2).view_as(first);
      return normalise(first + at::conv2d(map, own.projection));
    }
    case LayerKind::kConvolution:
      break;
  }
  at::Tensor y = at::conv2d(first, own.weight, own.bias, layer.stride, layer.kernel / 2,
                            /*dilation=*/1, layer.groups);
  if (layer.norm) y = normalise(y);
  if (second.defined()) y = y + second;
  return Activate(y, layer.activation);
}

std::vector<RawMaps> TorchNetwork::Forward(const at::Tensor& images,
                                           const ForwardOptions& options) const {
  const int64_t multiple = SizeMultiple(config_.variant);
  ELA_CHECK(images.dim() == 4 && images.size(1) == 3 && images.size(2) % multiple == 0 &&
                images.size(3) % multiple == 0,
            "pictures are [N, 3, height, width] with sides of the network's multiple");
  const at::Tensor picture = images.contiguous(at::MemoryFormat::ChannelsLast);
  std::vector<at::Tensor> outputs;
  outputs.reserve(plan_.layers.size());
  const auto output = [&](int32_t index) {
    return index == Layer::kPicture ? picture : index < 0 ? at::Tensor() : outputs[index];
  };
  for (size_t i = 0; i < plan_.layers.size(); ++i) {
    const Layer& layer = plan_.layers[i];
    outputs.push_back(
        Run(layer, of_layer_[i], output(layer.inputs[0]), output(layer.inputs[1]), options));
  }
  std::vector<RawMaps> maps;
  for (const HeadOutput& head : plan_.outputs) {
    maps.push_back({output(head.scores), output(head.distances), head.stride});
  }
  return maps;
}

std::vector<HeadMaps> MapsOfPicture(const std::vector<RawMaps>& maps, int64_t picture) {
  const auto view = [&](const at::Tensor& map) {
    MapView result;
    if (!map.defined()) return result;
    ELA_CHECK(map.scalar_type() == at::kFloat && map.device().is_cpu(),
              "maps are read as float32 on the CPU");
    result.data = map.const_data_ptr<float>() + picture * map.stride(0);
    result.channel_stride = map.stride(1);
    result.row_stride = map.stride(2);
    result.column_stride = map.stride(3);
    return result;
  };
  std::vector<HeadMaps> views;
  for (const RawMaps& raw : maps) {
    views.push_back({view(raw.scores), view(raw.distances),
                     static_cast<int32_t>(raw.scores.size(2)),
                     static_cast<int32_t>(raw.scores.size(3)), raw.stride});
  }
  return views;
}

}  // namespace ela::vision
