#include "model/reference/language_model.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "model/checkpoint/weights.h"
#include "model/reference/rms_norm.h"
#include "model/status_macros.h"

namespace ela::reference {
namespace {

// Finds parameters by name; an absent one gives an undefined tensor, which says "not configured".
class Lookup {
 public:
  explicit Lookup(const std::vector<NamedParameter>& parameters) : parameters_(parameters) {}

  at::Tensor operator()(const std::string& name) const {
    for (const NamedParameter& parameter : parameters_) {
      if (parameter.name == name) return parameter.value;
    }
    return {};
  }

 private:
  const std::vector<NamedParameter>& parameters_;
};

DecoderLayerWeights Layer(const Lookup& find, const std::string& prefix, int num_experts) {
  DecoderLayerWeights layer;
  layer.norm = find(prefix + "norm.weight");
  if (!layer.norm.defined()) layer.norm = find(prefix + "norm1.weight");
  layer.norm2 = find(prefix + "norm2.weight");

  const std::string attention = prefix + "self_attn.";
  layer.attention = {find(attention + "q_proj.weight"),    find(attention + "k_proj.weight"),
                     find(attention + "v_proj.weight"),    find(attention + "out_proj.weight"),
                     find(attention + "q_conv.weight"),    find(attention + "k_conv.weight"),
                     find(attention + "v_conv.weight"),    find(attention + "decay_in.weight"),
                     find(attention + "decay_out.weight"), find(attention + "decay_out.bias"),
                     find(attention + "gate_proj.weight")};
  layer.moe.gate = find(prefix + "MoE.gate.weight");
  layer.moe.gate_bias = find(prefix + "MoE.gate.bias");
  for (int e = 0; e < num_experts; ++e) {
    const std::string expert = absl::StrCat(prefix, "MoE.experts.", e, ".");
    layer.moe.experts.push_back({find(expert + "linear.weight"), find(expert + "out_proj.weight")});
  }
  layer.lobe = {find(prefix + "lob.Q.weight"), find(prefix + "lob.K.weight"),
                find(prefix + "lob.V.weight")};
  return layer;
}

}  // namespace

LanguageModel::LanguageModel(const LanguageConfig& config, std::vector<NamedParameter> parameters)
    : config_(config), parameters_(std::move(parameters)) {
  const std::vector<TensorSpec> expected = ExpectedTensors(config_);
  ELA_CHECK(expected.size() == parameters_.size(), "a model is built from all of its parameters");
  for (size_t i = 0; i < expected.size(); ++i) {
    ELA_CHECK(expected[i].name == parameters_[i].name &&
                  parameters_[i].value.sizes() == expected[i].shape,
              "parameters come in the order and with the shapes of ExpectedTensors");
  }
  const Lookup find(parameters_);
  for (int n = 0; n < config_.num_hidden_layers; ++n) {
    layers_.push_back(Layer(find, absl::StrCat("decoder_layers.", n, "."), config_.num_experts));
  }
  final_norm_ = find("final_norm.weight");
}

absl::StatusOr<LanguageModel> LanguageModel::Load(const std::string& directory,
                                                  at::ScalarType dtype) {
  ELA_ASSIGN_OR_RETURN(const LanguageConfig config, LoadLanguageConfig(directory));
  const std::vector<TensorSpec> expected = ExpectedTensors(config);
  ELA_ASSIGN_OR_RETURN(const Weights weights, Weights::Load(directory, expected));
  std::vector<NamedParameter> parameters;
  for (const TensorSpec& spec : expected) {
    at::Tensor value = at::empty(spec.shape, at::kFloat);
    ConvertToFloat(weights.at(spec.name), value.data_ptr<float>());
    parameters.push_back({spec.name, value.to(dtype)});
  }
  return LanguageModel(config, std::move(parameters));
}

HiddenOutput LanguageModel::Hidden(const at::Tensor& ids, absl::Span<const Segment> segments,
                                   const ComputeOptions& options) const {
  Visibility visibility;
  if (config_.memory_lobe) {
    visibility = LobeVisibility(config_.memory_lobe->mode, ids.size(1), segments);
  }
  at::Tensor x = at::embedding(embedding(), ids);
  at::Tensor balance_loss = at::zeros({}, x.options());
  for (const DecoderLayerWeights& layer : layers_) {
    const LayerOutput out = DecoderLayer(config_, layer, x, visibility, options);
    x = out.x;
    balance_loss = balance_loss + out.balance_loss;
  }
  if (config_.final_norm) x = RmsNorm(x, final_norm_, config_.rms_norm_eps);
  return {x, balance_loss};
}

at::Tensor LanguageModel::Logits(const at::Tensor& ids, absl::Span<const Segment> segments,
                                 const ComputeOptions& options) const {
  const at::Tensor hidden = Hidden(ids, segments, options).hidden;
  return LinearKeepingType(hidden, embedding(), options.precision);
}

}  // namespace ela::reference
