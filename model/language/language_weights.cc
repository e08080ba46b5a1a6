#include "model/language/language_weights.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace ela {
namespace {

PackedMatrix PackOne(const Weights& weights, const std::string& name, int64_t k, int64_t n) {
  return PackedMatrix(k, {{n, weights.Float(name)}});
}

LayerWeights PackLayer(const LanguageConfig& config, const Weights& weights, int layer) {
  const int64_t d = config.hidden_size, h = config.moe_intermediate_size;
  const bool standard = config.residual == Residual::kStandard;
  const std::string prefix = absl::StrCat("decoder_layers.", layer, ".");
  const auto load = [&](const char* name) { return weights.Float(prefix + name); };
  LayerWeights result;
  result.attention_norm = load(standard ? "norm1.weight" : "norm.weight");
  if (standard) result.moe_norm = load("norm2.weight");

  std::vector<PackedMatrix::Outputs> inputs = {{d, load("self_attn.q_proj.weight")},
                                               {d, load("self_attn.k_proj.weight")},
                                               {d, load("self_attn.v_proj.weight")}};
  int64_t outputs = 3 * d;
  if (config.output_gate) {
    result.gate_column = std::exchange(outputs, outputs + d);
    inputs.push_back({d, load("self_attn.gate_proj.weight")});
  }
  if (config.decay == Decay::kGated) {
    result.decay_column = outputs;
    inputs.push_back({kDecayRank, load("self_attn.decay_in.weight")});
    result.decay_out = PackOne(weights, prefix + "self_attn.decay_out.weight", kDecayRank, d);
    result.decay_bias = load("self_attn.decay_out.bias");
  }
  result.input = PackedMatrix(d, inputs);
  if (config.short_conv > 0) {
    const int64_t window = config.short_conv;
    result.convolution.resize(window * 3 * d);
    const char* names[] = {"self_attn.q_conv.weight", "self_attn.k_conv.weight",
                           "self_attn.v_conv.weight"};
    for (int part = 0; part < 3; ++part) {
      const std::vector<float> taps = load(names[part]);  // [d, 1, W]
      for (int64_t i = 0; i < d; ++i) {
        for (int64_t j = 0; j < window; ++j) {
          result.convolution[j * 3 * d + part * d + i] = taps[i * window + j];
        }
      }
    }
  }
  result.output = PackOne(weights, prefix + "self_attn.out_proj.weight", d, d);

  result.router = PackOne(weights, prefix + "MoE.gate.weight", d, config.num_experts);
  result.router_bias = load("MoE.gate.bias");
  if (config.moe_bias != MoeBias::kNone) result.labels = load("MoE.gate.weight");
  for (int e = 0; e < config.num_experts; ++e) {
    const std::string expert = absl::StrCat(prefix, "MoE.experts.", e, ".");
    result.experts.push_back({PackOne(weights, expert + "linear.weight", d, 2 * h),
                              PackOne(weights, expert + "out_proj.weight", h, d)});
  }
  return result;
}

int64_t Bytes(const LayerWeights& layer) {
  int64_t bytes =
      layer.input.bytes() + layer.decay_out.bytes() + layer.output.bytes() + layer.router.bytes();
  for (const ExpertWeights& expert : layer.experts) bytes += expert.in.bytes() + expert.out.bytes();
  for (const std::vector<float>* small : {&layer.attention_norm, &layer.moe_norm, &layer.decay_bias,
                                          &layer.convolution, &layer.router_bias, &layer.labels}) {
    bytes += static_cast<int64_t>(small->size() * sizeof(float));
  }
  return bytes;
}

}  // namespace

LanguageWeights LanguageWeights::Pack(const LanguageConfig& config, const Weights& weights) {
  LanguageWeights result;
  result.embedding = PackOne(weights, "token_embed.weight", config.hidden_size, config.vocab_size);
  if (config.final_norm) result.final_norm = weights.Float("final_norm.weight");
  result.bytes =
      result.embedding.bytes() + static_cast<int64_t>(result.final_norm.size() * sizeof(float));
  for (int layer = 0; layer < config.num_hidden_layers; ++layer) {
    result.layers.push_back(PackLayer(config, weights, layer));
    result.bytes += Bytes(result.layers.back());
  }
  return result;
}

}  // namespace ela
