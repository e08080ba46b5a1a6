// What a checkpoint's config.json says of a model: the typed form, the checks, the list of tensors
// that follows from it. Every other file asks this one; nothing else reads config.json.
#ifndef ELA_MODEL_CONFIG_H_
#define ELA_MODEL_CONFIG_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace ela {

// k(a, b) of the attention (docs/model.md 1; paper section 2, table of kernels).
enum class AttentionKernel { kHadamardExp, kSumSq, kSubSq, kDirMag };
enum class Residual { kHyperLink, kStandard };  // paper 5.2
enum class MoeBias { kNone, kOuter, kInner };   // paper 5.1
enum class LobeMode { kCausal, kPrefix, kBidirectional };
enum class PositionEncoding { kRope, kNone };
enum class Decay { kNone, kGated };

absl::string_view Name(AttentionKernel kernel);  // the words of config.json
absl::string_view Name(LobeMode mode);

struct LobeConfig {  // the Memory Lobe, paper 5.3
  LobeMode mode = LobeMode::kCausal;
  int heads = 1;  // width of a head: hidden_size / heads
  AttentionKernel kernel = AttentionKernel::kHadamardExp;
};

// A language model, "model_type": "ela_gpt". All values have passed the checks of
// ParseLanguageConfig.
struct LanguageConfig {
  int64_t vocab_size = 0;   // V
  int64_t hidden_size = 0;  // d
  int num_hidden_layers = 0;
  int num_attention_heads = 0;  // H
  AttentionKernel attention_kernel = AttentionKernel::kHadamardExp;
  float qk_scale = 1.0f;  // q and k are multiplied by it after RoPE
  double rope_theta = 10000.0;
  int num_experts = 0;                // E
  int num_experts_per_tok = 0;        // K
  int64_t moe_intermediate_size = 0;  // h
  MoeBias moe_bias = MoeBias::kNone;
  Residual residual = Residual::kHyperLink;
  int short_conv = 0;          // W of the causal depthwise convolution; 0: none
  Decay decay = Decay::kNone;  // kGated only with hadamard_exp
  bool output_gate = false;
  PositionEncoding position_encoding = PositionEncoding::kRope;
  bool moe_residual = true;  // false only with Residual::kStandard
  bool final_norm = false;
  float rms_norm_eps = 1.1920929e-07f;
  std::optional<LobeConfig> memory_lobe;
  std::optional<int32_t> bos_token_id, pad_token_id;
  std::vector<int32_t> eos_token_ids;  // one id or a list in the file; may be empty

  int64_t head_size() const { return hidden_size / num_attention_heads; }  // D = Dv, even
};

// A lobe in a directory of its own, "model_type": "ela_lobe", to be plugged in beside another over
// the same base (paper 5.3).
struct PluggableLobeConfig {
  std::string base_fingerprint;  // of the model it was trained for (Weights::Fingerprint), hex
  LobeConfig memory_lobe;
};

inline constexpr int kDecayRank = 16;  // rows of self_attn.decay_in.weight

struct TensorSpec {
  std::string name;  // as in the checkpoint: "decoder_layers.0.MoE.gate.weight"
  std::vector<int64_t> shape;
};

// Parses and checks the text of a config.json. `origin` (a path) opens every message. Reports every
// problem at once, one per line: unknown keys, wrong types, missing keys, values out of range,
// contradictions. Errors: kInvalidArgument.
absl::StatusOr<LanguageConfig> ParseLanguageConfig(absl::string_view json,
                                                   absl::string_view origin);
absl::StatusOr<LanguageConfig> LoadLanguageConfig(const std::string& directory);

// The same of a pluggable lobe's config.json. `base`: the model that it is to be plugged into.
absl::StatusOr<PluggableLobeConfig> ParsePluggableLobeConfig(absl::string_view json,
                                                             absl::string_view origin,
                                                             const LanguageConfig& base);
absl::StatusOr<PluggableLobeConfig> LoadPluggableLobeConfig(const std::string& directory,
                                                            const LanguageConfig& base);

// The text that ParseLanguageConfig reads back to an equal value; keys at their default are left
// out except the shape.
std::string ToJson(const LanguageConfig& config);
std::string ToJson(const PluggableLobeConfig& config);

// Exactly the tensors that a checkpoint of this model holds, in canonical order (embedding, layers,
// final norm).
std::vector<TensorSpec> ExpectedTensors(const LanguageConfig& config);
// Of those, the lobe's: all that a pluggable lobe's directory holds. memory_lobe need not be set.
std::vector<TensorSpec> LobeTensors(const LanguageConfig& config);
int64_t NumParameters(const LanguageConfig& config);
// Of those, what one token uses: K experts of E (the tied embedding counts once).
int64_t NumActiveParameters(const LanguageConfig& config);

}  // namespace ela

#endif  // ELA_MODEL_CONFIG_H_
