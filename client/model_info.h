// What a server says of its models.
#ifndef ELA_CLIENT_MODEL_INFO_H_
#define ELA_CLIENT_MODEL_INFO_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "client/detect.h"

namespace ela::client {

enum class ModelKind { kUnknown, kLanguage, kDetector };

const char* Name(ModelKind kind);  // "unknown", "language", "detector"

struct ModelSummary {
  std::string name;
  ModelKind kind = ModelKind::kUnknown;
  bool ready = false;
};

// Keys and words of config.json.
struct Architecture {
  uint64_t vocab_size = 0;
  uint64_t hidden_size = 0;
  uint32_t num_layers = 0;
  uint32_t num_heads = 0;
  std::string attention_kernel;
  std::string residual;
  uint32_t num_experts = 0;
  uint32_t num_experts_per_token = 0;
  std::string moe_bias;
  std::string lobe_mode;  // empty: no lobe
  uint32_t lobe_heads = 0;
  uint32_t short_conv = 0;  // 0: none
  std::string decay;
  bool output_gate = false;
  std::string position_encoding;
  std::string config_json;  // the whole, for what has no field here
};

struct Limits {
  uint64_t max_prompt_tokens = 0;
  uint64_t max_new_tokens = 0;
  uint32_t max_stop_strings = 0;
  uint32_t max_stop_string_bytes = 0;
  uint32_t max_top_logprobs = 0;
  uint64_t max_logit_tokens = 0;
  uint64_t max_message_bytes = 0;
  uint64_t max_segment_tokens = 0;  // 0: no limit
};

struct ModelDescription {
  std::string name;
  ModelKind kind = ModelKind::kUnknown;
  std::optional<DetectorDescription> detector;  // with kDetector
  // What follows is filled for a language model.
  Architecture architecture;
  uint64_t num_parameters = 0;
  uint64_t num_active_parameters = 0;  // that one token uses
  uint64_t state_bytes = 0;            // of one sequence, whatever its length
  uint64_t weight_bytes = 0;           // resident
  uint32_t num_slots = 0;              // sequences that can run at once
  Limits limits;
  std::string fingerprint;       // states move only between models of equal fingerprint
  std::string lobe_fingerprint;  // empty without a lobe
  std::string numerics_id;       // servers with equal ids give equal bits
  std::string device;
  std::vector<uint32_t> eos_token_ids;
  std::optional<uint32_t> bos_token_id;
  std::string chat_template;  // empty: a base model
};

}  // namespace ela::client

#endif  // ELA_CLIENT_MODEL_INFO_H_
