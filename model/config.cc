#include "model/config.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/json_file.h"
#include "model/json_object.h"
#include "model/status_macros.h"

namespace ela {
namespace {

using nlohmann::json;

constexpr int64_t kMaxConfigBytes = 1 << 20;

// The words of config.json for each enumerated value; the first is the default.
constexpr Word<AttentionKernel> kKernels[] = {{"hadamard_exp", AttentionKernel::kHadamardExp},
                                              {"sum_sq", AttentionKernel::kSumSq},
                                              {"sub_sq", AttentionKernel::kSubSq},
                                              {"dir_mag", AttentionKernel::kDirMag}};
constexpr Word<Residual> kResiduals[] = {{"hyper_link", Residual::kHyperLink},
                                         {"standard", Residual::kStandard}};
constexpr Word<MoeBias> kMoeBiases[] = {
    {"none", MoeBias::kNone}, {"outer", MoeBias::kOuter}, {"inner", MoeBias::kInner}};
constexpr Word<LobeMode> kLobeModes[] = {{"causal", LobeMode::kCausal},
                                         {"prefix", LobeMode::kPrefix},
                                         {"bidirectional", LobeMode::kBidirectional}};
constexpr Word<PositionEncoding> kPositionEncodings[] = {{"rope", PositionEncoding::kRope},
                                                         {"none", PositionEncoding::kNone}};
constexpr Word<Decay> kDecays[] = {{"none", Decay::kNone}, {"gated", Decay::kGated}};

// hidden_size: 0 where it is not known.
std::optional<LobeConfig> ReadLobe(JsonObject& reader, std::vector<std::string>* problems,
                                   int64_t hidden_size) {
  const json* value = reader.Find("memory_lobe");
  if (value == nullptr || value->is_null()) return std::nullopt;
  if (!value->is_object()) {
    reader.Problem("memory_lobe",
                   absl::StrCat("must be null or an object, not ", TypeName(*value)));
    return std::nullopt;
  }
  LobeConfig lobe;
  JsonObject nested(*value, "memory_lobe.", problems);
  nested.OneOf("mode", kLobeModes, &lobe.mode);
  nested.OneOf("kernel", kKernels, &lobe.kernel);
  if (nested.Integer("heads", false, 1, 1 << 16, &lobe.heads) && hidden_size > 0 &&
      hidden_size % lobe.heads != 0) {
    nested.Problem("heads", absl::StrCat("is ", lobe.heads, ", which does not divide hidden_size ",
                                         hidden_size));
  }
  nested.ReportUnknownKeys();
  return lobe;
}

nlohmann::ordered_json LobeJson(const LobeConfig& lobe) {
  return {{"mode", std::string(Name(lobe.mode))},
          {"heads", lobe.heads},
          {"kernel", std::string(Name(lobe.kernel))}};
}

void CheckType(JsonObject& reader, absl::string_view what, absl::string_view wanted) {
  const json* type = reader.Find("model_type");
  if (type == nullptr) {
    reader.Problem("model_type", absl::StrCat("is missing; ", what, " says \"", wanted, "\""));
  } else if (*type != std::string(wanted)) {
    reader.Problem("model_type", absl::StrCat("is ", type->dump(), ", not \"", wanted, "\""));
  }
}

absl::Status ProblemsOf(std::vector<std::string> problems, absl::string_view origin) {
  if (problems.empty()) return absl::OkStatus();
  for (std::string& problem : problems) problem = absl::StrCat(origin, ": ", problem);
  return absl::InvalidArgumentError(absl::StrJoin(problems, "\n"));
}

void ReadTokenIds(JsonObject& reader, LanguageConfig* config) {
  const int64_t last =
      (config->vocab_size > 0 ? config->vocab_size : int64_t{std::numeric_limits<int32_t>::max()}) -
      1;
  auto read = [&](absl::string_view key, const json& value, auto assign) {
    int64_t id = 0;
    if (reader.ToInteger(key, value, 0, last, &id)) assign(static_cast<int32_t>(id));
  };
  if (const json* value = reader.Find("bos_token_id"); value != nullptr && !value->is_null()) {
    read("bos_token_id", *value, [&](int32_t id) { config->bos_token_id = id; });
  }
  if (const json* value = reader.Find("pad_token_id"); value != nullptr && !value->is_null()) {
    read("pad_token_id", *value, [&](int32_t id) { config->pad_token_id = id; });
  }
  if (const json* value = reader.Find("eos_token_id"); value != nullptr && !value->is_null()) {
    auto add = [&](int32_t id) { config->eos_token_ids.push_back(id); };
    if (!value->is_array()) {
      read("eos_token_id", *value, add);
    } else {
      for (const json& element : *value) read("eos_token_id", element, add);
    }
  }
}

// What no single key shows. REQUIRES: the keys involved were read without a problem, else their
// defaults or zeros stand here and nothing is reported twice.
void CheckTogether(JsonObject& reader, const LanguageConfig& config, bool residual_known) {
  if (config.hidden_size > 0 && config.num_attention_heads > 0) {
    const int64_t width = config.hidden_size / config.num_attention_heads;
    if (config.hidden_size % config.num_attention_heads != 0) {
      reader.Problem("num_attention_heads",
                     absl::StrCat("is ", config.num_attention_heads,
                                  ", which does not divide hidden_size ", config.hidden_size));
    } else if (width % 2 != 0) {
      reader.Problem("num_attention_heads",
                     absl::StrCat("is ", config.num_attention_heads, ", so that a head is ", width,
                                  " wide; the width must be even"));
    }
  }
  if (config.num_experts > 0 && config.num_experts_per_tok > config.num_experts) {
    reader.Problem("num_experts_per_tok",
                   absl::StrCat("is ", config.num_experts_per_tok, ", more than num_experts ",
                                config.num_experts));
  }
  if (config.decay == Decay::kGated && config.attention_kernel != AttentionKernel::kHadamardExp) {
    reader.Problem("decay", absl::StrCat("is gated, which only attention_kernel hadamard_exp "
                                         "allows, not ",
                                         Name(config.attention_kernel)));
  }
  if (!config.moe_residual && residual_known && config.residual == Residual::kHyperLink) {
    reader.Problem("moe_residual",
                   "is false with residual hyper_link, which would leave the attention output out "
                   "of the layer; only residual standard allows it");
  }
}

void AppendLobe(const LanguageConfig& config, int layer, std::vector<TensorSpec>* out) {
  for (absl::string_view matrix : {"Q", "K", "V"}) {
    out->push_back({absl::StrCat("decoder_layers.", layer, ".lob.", matrix, ".weight"),
                    {config.hidden_size, config.hidden_size}});
  }
}

void AppendLayer(const LanguageConfig& config, int layer, std::vector<TensorSpec>* out) {
  const int64_t d = config.hidden_size;
  const int64_t h = config.moe_intermediate_size;
  const std::string prefix = absl::StrCat("decoder_layers.", layer, ".");
  auto add = [&](absl::string_view name, std::vector<int64_t> shape) {
    out->push_back({absl::StrCat(prefix, name), std::move(shape)});
  };
  if (config.residual == Residual::kHyperLink) {
    add("norm.weight", {d});
  } else {
    add("norm1.weight", {d});
    add("norm2.weight", {d});
  }
  for (absl::string_view projection : {"q_proj", "k_proj", "v_proj", "out_proj"}) {
    add(absl::StrCat("self_attn.", projection, ".weight"), {d, d});
  }
  if (config.short_conv > 0) {
    for (absl::string_view convolution : {"q_conv", "k_conv", "v_conv"}) {
      add(absl::StrCat("self_attn.", convolution, ".weight"), {d, 1, config.short_conv});
    }
  }
  if (config.decay == Decay::kGated) {
    add("self_attn.decay_in.weight", {kDecayRank, d});
    add("self_attn.decay_out.weight", {d, kDecayRank});
    add("self_attn.decay_out.bias", {d});
  }
  if (config.output_gate) add("self_attn.gate_proj.weight", {d, d});
  add("MoE.gate.weight", {config.num_experts, d});
  add("MoE.gate.bias", {config.num_experts});
  for (int expert = 0; expert < config.num_experts; ++expert) {
    add(absl::StrCat("MoE.experts.", expert, ".linear.weight"), {2 * h, d});
    add(absl::StrCat("MoE.experts.", expert, ".out_proj.weight"), {d, h});
  }
  if (config.memory_lobe) AppendLobe(config, layer, out);
}

}  // namespace

absl::string_view Name(AttentionKernel kernel) { return NameOf(kKernels, kernel); }
absl::string_view Name(LobeMode mode) { return NameOf(kLobeModes, mode); }

absl::StatusOr<LanguageConfig> ParseLanguageConfig(absl::string_view text,
                                                   absl::string_view origin) {
  ELA_ASSIGN_OR_RETURN(const json document, ParseJson(text, origin));
  if (!document.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(origin, ": must be a JSON object, not ", TypeName(document)));
  }
  LanguageConfig config;
  std::vector<std::string> problems;
  JsonObject reader(document, "", &problems);

  CheckType(reader, "a language model", "ela_gpt");
  // The upper limits keep every product of sizes within 63 bits.
  reader.Integer("vocab_size", true, 1, int64_t{1} << 24, &config.vocab_size);
  reader.Integer("hidden_size", true, 2, 1 << 16, &config.hidden_size);
  reader.Integer("num_hidden_layers", true, 1, 1024, &config.num_hidden_layers);
  reader.Integer("num_attention_heads", true, 1, 1 << 15, &config.num_attention_heads);
  reader.OneOf("attention_kernel", kKernels, &config.attention_kernel);
  reader.Positive("qk_scale", &config.qk_scale);
  reader.Positive("rope_theta", &config.rope_theta);
  reader.Integer("num_experts", true, 1, 1024, &config.num_experts);
  reader.Integer("num_experts_per_tok", true, 1, 1024, &config.num_experts_per_tok);
  reader.Integer("moe_intermediate_size", true, 1, 1 << 20, &config.moe_intermediate_size);
  reader.OneOf("moe_bias", kMoeBiases, &config.moe_bias);
  const bool residual_known = reader.OneOf("residual", kResiduals, &config.residual);
  reader.Integer("short_conv", false, 0, 64, &config.short_conv);
  reader.OneOf("decay", kDecays, &config.decay);
  reader.Boolean("output_gate", &config.output_gate);
  reader.OneOf("position_encoding", kPositionEncodings, &config.position_encoding);
  reader.Boolean("moe_residual", &config.moe_residual);
  reader.Boolean("final_norm", &config.final_norm);
  reader.Positive("rms_norm_eps", &config.rms_norm_eps);
  config.memory_lobe = ReadLobe(reader, &problems, config.hidden_size);
  bool tied = true;
  reader.Boolean("tie_word_embeddings", &tied);
  if (!tied) {
    reader.Problem("tie_word_embeddings",
                   "is false, which is not supported: the output matrix of an ELA-GPT is its token "
                   "embedding");
  }
  ReadTokenIds(reader, &config);
  CheckTogether(reader, config, residual_known);
  reader.ReportUnknownKeys();
  ELA_RETURN_IF_ERROR(ProblemsOf(std::move(problems), origin));
  return config;
}

absl::StatusOr<PluggableLobeConfig> ParsePluggableLobeConfig(absl::string_view text,
                                                             absl::string_view origin,
                                                             const LanguageConfig& base) {
  ELA_ASSIGN_OR_RETURN(const json document, ParseJson(text, origin));
  if (!document.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(origin, ": must be a JSON object, not ", TypeName(document)));
  }
  PluggableLobeConfig config;
  std::vector<std::string> problems;
  JsonObject reader(document, "", &problems);
  CheckType(reader, "a pluggable lobe", "ela_lobe");
  const json* fingerprint = reader.Find("base_fingerprint");
  if (fingerprint == nullptr) {
    reader.Problem("base_fingerprint", "is missing");
  } else if (!fingerprint->is_string()) {
    reader.Problem("base_fingerprint",
                   absl::StrCat("must be a string, not ", TypeName(*fingerprint)));
  } else {
    config.base_fingerprint = fingerprint->get<std::string>();
  }
  const size_t before = problems.size();
  const std::optional<LobeConfig> lobe = ReadLobe(reader, &problems, base.hidden_size);
  if (lobe.has_value()) {
    config.memory_lobe = *lobe;
  } else if (problems.size() == before) {
    reader.Problem("memory_lobe", "is missing");
  }
  reader.ReportUnknownKeys();
  ELA_RETURN_IF_ERROR(ProblemsOf(std::move(problems), origin));
  return config;
}

absl::StatusOr<PluggableLobeConfig> LoadPluggableLobeConfig(const std::string& directory,
                                                            const LanguageConfig& base) {
  const std::string path = absl::StrCat(directory, "/config.json");
  ELA_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path, kMaxConfigBytes));
  return ParsePluggableLobeConfig(text, path, base);
}

absl::StatusOr<LanguageConfig> LoadLanguageConfig(const std::string& directory) {
  const std::string path = absl::StrCat(directory, "/config.json");
  ELA_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path, kMaxConfigBytes));
  return ParseLanguageConfig(text, path);
}

std::string ToJson(const LanguageConfig& config) {
  const LanguageConfig defaults;
  nlohmann::ordered_json out;
  out["model_type"] = "ela_gpt";
  out["vocab_size"] = config.vocab_size;
  out["hidden_size"] = config.hidden_size;
  out["num_hidden_layers"] = config.num_hidden_layers;
  out["num_attention_heads"] = config.num_attention_heads;
  out["num_experts"] = config.num_experts;
  out["num_experts_per_tok"] = config.num_experts_per_tok;
  out["moe_intermediate_size"] = config.moe_intermediate_size;
  auto word = [&](const char* key, const auto& words, auto value) {
    if (value != words[0].value) out[key] = std::string(NameOf(words, value));
  };
  auto plain = [&](const char* key, auto value, auto standard) {
    if (value != standard) out[key] = value;
  };
  word("attention_kernel", kKernels, config.attention_kernel);
  plain("qk_scale", config.qk_scale, defaults.qk_scale);
  plain("rope_theta", config.rope_theta, defaults.rope_theta);
  word("moe_bias", kMoeBiases, config.moe_bias);
  word("residual", kResiduals, config.residual);
  plain("short_conv", config.short_conv, defaults.short_conv);
  word("decay", kDecays, config.decay);
  plain("output_gate", config.output_gate, defaults.output_gate);
  word("position_encoding", kPositionEncodings, config.position_encoding);
  plain("moe_residual", config.moe_residual, defaults.moe_residual);
  plain("final_norm", config.final_norm, defaults.final_norm);
  plain("rms_norm_eps", config.rms_norm_eps, defaults.rms_norm_eps);
  if (config.memory_lobe) out["memory_lobe"] = LobeJson(*config.memory_lobe);
  if (config.bos_token_id) out["bos_token_id"] = *config.bos_token_id;
  if (config.eos_token_ids.size() == 1) {
    out["eos_token_id"] = config.eos_token_ids[0];
  } else if (!config.eos_token_ids.empty()) {
    out["eos_token_id"] = config.eos_token_ids;
  }
  if (config.pad_token_id) out["pad_token_id"] = *config.pad_token_id;
  return out.dump(1) + "\n";
}

std::string ToJson(const PluggableLobeConfig& config) {
  nlohmann::ordered_json out;
  out["model_type"] = "ela_lobe";
  out["base_fingerprint"] = config.base_fingerprint;
  out["memory_lobe"] = LobeJson(config.memory_lobe);
  return out.dump(1) + "\n";
}

std::vector<TensorSpec> LobeTensors(const LanguageConfig& config) {
  std::vector<TensorSpec> out;
  for (int layer = 0; layer < config.num_hidden_layers; ++layer) AppendLobe(config, layer, &out);
  return out;
}

std::vector<TensorSpec> ExpectedTensors(const LanguageConfig& config) {
  std::vector<TensorSpec> out;
  out.push_back({"token_embed.weight", {config.vocab_size, config.hidden_size}});
  for (int layer = 0; layer < config.num_hidden_layers; ++layer) AppendLayer(config, layer, &out);
  if (config.final_norm) out.push_back({"final_norm.weight", {config.hidden_size}});
  return out;
}

int64_t NumParameters(const LanguageConfig& config) {
  int64_t count = 0;
  for (const TensorSpec& tensor : ExpectedTensors(config)) {
    int64_t elements = 1;
    for (int64_t size : tensor.shape) elements *= size;
    count += elements;
  }
  return count;
}

int64_t NumActiveParameters(const LanguageConfig& config) {
  const int64_t expert = 3 * config.hidden_size * config.moe_intermediate_size;
  const int64_t idle = config.num_experts - config.num_experts_per_tok;
  return NumParameters(config) - config.num_hidden_layers * idle * expert;
}

}  // namespace ela
