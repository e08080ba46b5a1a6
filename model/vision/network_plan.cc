#include "model/vision/network_plan.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace ela {
namespace {

// Appends layers and follows their channels and reductions. Every method returns the new layer's
// index.
class Builder {
 public:
  explicit Builder(Activation activation) : activation_(activation) {}

  int Convolution(std::string name, int input, int out_channels, int kernel, int stride,
                  Activation activation, int add = -1) {
    return Append(std::move(name), input, out_channels, kernel, stride, 1, activation, add);
  }

  int Convolution(std::string name, int input, int out_channels, int kernel, int stride) {
    return Convolution(std::move(name), input, out_channels, kernel, stride, activation_);
  }

  int Depthwise(std::string name, int input, int kernel, int stride, Activation activation,
                int add = -1) {
    const int channels = Channels(input);
    return Append(std::move(name), input, channels, kernel, stride, channels, activation, add);
  }

  // Depthwise, then pointwise; `add` joins before the last activation.
  int Separable(const std::string& name, int input, int out_channels, int kernel, int stride,
                int add = -1) {
    const int spatial = Depthwise(absl::StrCat(name, ".dw"), input, kernel, stride, activation_);
    return Convolution(absl::StrCat(name, ".pw"), spatial, out_channels, 1, 1, activation_, add);
  }

  int Biased(std::string name, int input, int out_channels) {
    const int index = Convolution(std::move(name), input, out_channels, 1, 1, Activation::kNone);
    plan.layers.back().norm = false;
    return index;
  }

  int Attention(std::string name, int input, int heads, ContextKind context) {
    Layer layer;
    layer.kind = LayerKind::kAttention;
    layer.name = std::move(name);
    layer.inputs[0] = input;
    layer.in_channels = layer.out_channels = Channels(input);
    layer.heads = heads;
    layer.context = context;
    layer.reduction = Reduction(input);
    return Push(std::move(layer));
  }

  int Sum(LayerKind kind, int first, int second) {
    Layer layer;
    layer.kind = kind;
    layer.inputs = {first, second};
    layer.in_channels = layer.out_channels = Channels(second);
    layer.reduction = Reduction(second);
    return Push(std::move(layer));
  }

  NetworkPlan plan;

 private:
  int Channels(int index) const {
    return index == Layer::kPicture ? 3 : plan.layers[index].out_channels;
  }
  int Reduction(int index) const {
    return index == Layer::kPicture ? 1 : plan.layers[index].reduction;
  }

  int Append(std::string name, int input, int out_channels, int kernel, int stride, int groups,
             Activation activation, int add) {
    Layer layer;
    layer.name = std::move(name);
    layer.inputs = {input, add};
    layer.in_channels = Channels(input);
    layer.out_channels = out_channels;
    layer.kernel = kernel;
    layer.stride = stride;
    layer.groups = groups;
    layer.activation = activation;
    layer.reduction = Reduction(input) * stride;
    return Push(std::move(layer));
  }

  int Push(Layer layer) {
    plan.layers.push_back(std::move(layer));
    return static_cast<int>(plan.layers.size()) - 1;
  }

  const Activation activation_;
};

constexpr int kPaperHeads = 4;
constexpr int kPaperChannels = 64;  // of the attention

NetworkPlan MakeLat(int num_classes) {
  Builder net(Activation::kRelu);
  int x = net.Convolution("stem", Layer::kPicture, 16, 3, 2);
  x = net.Convolution("stage1", x, 32, 3, 2);
  x = net.Convolution("stage2.0", x, 64, 3, 2);
  x = net.Convolution("stage2.1", x, 64, 3, 1);
  x = net.Convolution("stage3.0", x, 128, 3, 2);
  const int backbone = net.Convolution("stage3.1", x, 128, 3, 1);
  x = net.Convolution("neck_proj", backbone, kPaperChannels, 1, 1, Activation::kNone);
  x = net.Attention("attention", x, kPaperHeads, ContextKind::kEla);
  x = net.Convolution("neck_fuse", x, 128, 1, 1, Activation::kNone, backbone);
  net.plan.outputs = {{net.Biased("head", x, 5 + num_classes), -1, 16}};
  return std::move(net.plan);
}

NetworkPlan MakeLatDsc(int num_classes) {
  Builder net(Activation::kSilu);
  int x = net.Convolution("stem", Layer::kPicture, 16, 3, 2);
  x = net.Separable("stage1", x, 32, 3, 2);
  x = net.Separable("stage2", x, 64, 3, 2);
  x = net.Separable("stage3.0", x, 128, 3, 2);
  const int backbone = net.Separable("stage3.1", x, 128, 3, 1);
  x = net.Convolution("neck_proj", backbone, kPaperChannels, 1, 1);
  x = net.Attention("attention", x, kPaperHeads, ContextKind::kEla);
  x = net.Convolution("neck_fuse", x, 128, 1, 1);
  x = net.Sum(LayerKind::kAdd, x, backbone);
  x = net.Convolution("head.conv.0", x, 128, 3, 1);
  net.plan.outputs = {{net.Biased("head.conv.1", x, 5 + num_classes), -1, 16}};
  return std::move(net.plan);
}

// Three scales: a depthwise-separable residual backbone, context at the coarsest map after a
// positional signal, a path of sums down and up again, and one head for each scale.
NetworkPlan MakeLatMs(const MultiScaleShape& shape, int num_classes) {
  Builder net(shape.activation);
  int x = net.Convolution("stem.0", Layer::kPicture, shape.stem[0], 3, 2);
  x = net.Convolution("stem.1", x, shape.stem[1], 3, 2);
  std::array<int, 3> maps;
  for (size_t i = 0; i < maps.size(); ++i) {
    x = net.Separable(absl::StrCat("stage", i, ".down"), x, shape.widths[i], 3, 2);
    for (int block = 0; block < shape.blocks[i]; ++block) {
      x = net.Separable(absl::StrCat("stage", i, ".", block), x, shape.widths[i], 3, 1, x);
    }
    maps[i] = net.Convolution(absl::StrCat("lateral.", i), x, shape.neck, 1, 1);
  }
  if (shape.context != ContextKind::kNone) {
    const int placed = net.Depthwise("position", maps[2], 3, 1, Activation::kNone, /*add=*/maps[2]);
    maps[2] = net.Attention("context", placed, shape.context_heads, shape.context);
  }
  auto fuse = [&](absl::string_view name, int input, int stride, int add) {
    return net.Separable(std::string(name), input, shape.neck, shape.neck_kernel, stride, add);
  };
  maps[1] = fuse("top.1", net.Sum(LayerKind::kUpsampleAdd, maps[2], maps[1]), 1, -1);
  maps[0] = fuse("top.0", net.Sum(LayerKind::kUpsampleAdd, maps[1], maps[0]), 1, -1);
  maps[1] = fuse("bottom.1", maps[0], 2, maps[1]);
  maps[2] = fuse("bottom.2", maps[1], 2, maps[2]);
  for (size_t i = 0; i < maps.size(); ++i) {
    int scores = maps[i];
    int distances = maps[i];
    for (int block = 0; block < shape.head_blocks; ++block) {
      scores = fuse(absl::StrCat("head.", i, ".score.", block), scores, 1, -1);
      distances = fuse(absl::StrCat("head.", i, ".distance.", block), distances, 1, -1);
    }
    scores = net.Biased(absl::StrCat("head.", i, ".scores"), scores, num_classes);
    distances = net.Biased(absl::StrCat("head.", i, ".distances"), distances, 4);
    net.plan.outputs.push_back({scores, distances, net.plan.layers[scores].reduction});
  }
  return std::move(net.plan);
}

int64_t Elements(const TensorSpec& tensor) {
  int64_t count = 1;
  for (int64_t size : tensor.shape) count *= size;
  return count;
}

void AddNorm(const std::string& name, int64_t channels, std::vector<TensorSpec>* tensors) {
  for (const char* part : {"weight", "bias", "running_mean", "running_var"}) {
    tensors->push_back({absl::StrCat(name, ".", part), {channels}});
  }
}

void AddTensors(const Layer& layer, std::vector<TensorSpec>* tensors) {
  const int64_t channels = layer.in_channels;
  switch (layer.kind) {
    case LayerKind::kUpsampleAdd:
    case LayerKind::kAdd:
      return;
    case LayerKind::kAttention:
      tensors->push_back({layer.name + ".qkv.weight", {3 * channels, channels, 1, 1}});
      tensors->push_back({layer.name + ".proj.weight", {channels, channels, 1, 1}});
      AddNorm(layer.name + ".norm", channels, tensors);
      return;
    case LayerKind::kConvolution:
      const std::vector<int64_t> shape = {layer.out_channels, channels / layer.groups, layer.kernel,
                                          layer.kernel};
      tensors->push_back({layer.name + (layer.norm ? ".conv.weight" : ".weight"), shape});
      if (layer.norm) {
        AddNorm(layer.name + ".bn", layer.out_channels, tensors);
      } else {
        tensors->push_back({layer.name + ".bias", {layer.out_channels}});
      }
      return;
  }
}

}  // namespace

NetworkPlan MakeNetworkPlan(const DetectorConfig& config) {
  switch (config.variant) {
    case DetectorVariant::kLat:
      return MakeLat(config.num_classes());
    case DetectorVariant::kLatDsc:
      return MakeLatDsc(config.num_classes());
    case DetectorVariant::kLatMs:
      break;
  }
  return MakeLatMs(config.shape, config.num_classes());
}

std::vector<TensorSpec> ExpectedTensors(const NetworkPlan& plan) {
  std::vector<TensorSpec> tensors;
  for (const Layer& layer : plan.layers) AddTensors(layer, &tensors);
  return tensors;
}

int64_t NumTrainedParameters(const NetworkPlan& plan) {
  int64_t count = 0;
  for (const Layer& layer : plan.layers) {
    std::vector<TensorSpec> tensors;
    AddTensors(layer, &tensors);
    for (const TensorSpec& tensor : tensors) count += Elements(tensor);
    if (layer.norm && !tensors.empty()) count -= 2 * layer.out_channels;  // running statistics
  }
  return count;
}

int64_t NumInferenceParameters(const NetworkPlan& plan) {
  int64_t count = NumTrainedParameters(plan);
  for (const Layer& layer : plan.layers) {
    // A folded norm leaves a bias of its two vectors; the attention's own norm keeps both.
    if (layer.kind == LayerKind::kConvolution && layer.norm) count -= layer.out_channels;
  }
  return count;
}

int64_t NumMultiplyAdds(const NetworkPlan& plan, int32_t width, int32_t height) {
  int64_t count = 0;
  for (const Layer& layer : plan.layers) {
    const int64_t places = int64_t{width / layer.reduction} * (height / layer.reduction);
    const int64_t channels = layer.in_channels;
    if (layer.kind == LayerKind::kConvolution) {
      count +=
          places * layer.out_channels * (channels / layer.groups) * layer.kernel * layer.kernel;
    } else if (layer.kind == LayerKind::kAttention) {
      // Projections, then per head either two products of [places, d] with [d, d]'s worth of
      // state, or of [places, places].
      const int64_t inner =
          layer.context == ContextKind::kSoftmax ? places : channels / layer.heads;
      count += places * 4 * channels * channels + 2 * places * inner * channels;
    }
  }
  return count;
}

}  // namespace ela
