#include "server/model_service.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/detect_convert.h"
#include "server/rpc_status.h"
#include "server/unary_call.h"

namespace ela {
namespace {

const char* WordFor(Residual residual) {
  return residual == Residual::kStandard ? "standard" : "hyper_link";
}

const char* WordFor(MoeBias bias) {
  switch (bias) {
    case MoeBias::kOuter:
      return "outer";
    case MoeBias::kInner:
      return "inner";
    default:
      return "none";
  }
}

void SetArchitecture(const LanguageConfig& config, v1::Architecture* message) {
  message->set_vocab_size(config.vocab_size);
  message->set_hidden_size(config.hidden_size);
  message->set_num_layers(config.num_hidden_layers);
  message->set_num_heads(config.num_attention_heads);
  message->set_attention_kernel(std::string(Name(config.attention_kernel)));
  message->set_residual(WordFor(config.residual));
  message->set_num_experts(config.num_experts);
  message->set_num_experts_per_token(config.num_experts_per_tok);
  message->set_moe_bias(WordFor(config.moe_bias));
  if (config.memory_lobe) {
    message->set_lobe_mode(std::string(Name(config.memory_lobe->mode)));
    message->set_lobe_heads(config.memory_lobe->heads);
  }
  message->set_short_conv(config.short_conv);
  message->set_decay(config.decay == Decay::kGated ? "gated" : "none");
  message->set_output_gate(config.output_gate);
  message->set_position_encoding(config.position_encoding == PositionEncoding::kRope ? "rope"
                                                                                     : "none");
  message->set_config_json(ToJson(config));
}

void SetLimits(const ModelCard& card, v1::Limits* message) {
  message->set_max_prompt_tokens(card.max_prompt_tokens);
  message->set_max_new_tokens(card.max_new_tokens);
  message->set_max_stop_strings(kMaxStopStrings);
  message->set_max_stop_string_bytes(kMaxStopStringBytes);
  message->set_max_top_logprobs(kMaxTopLogprobs);
  message->set_max_logit_tokens(card.max_logit_tokens);
  message->set_max_message_bytes(card.max_message_bytes);
  message->set_max_segment_tokens(card.worker.max_segment_tokens);
}

void SetLanguageModel(const ModelCard& card, v1::LanguageModel* message) {
  SetArchitecture(card.config, message->mutable_architecture());
  SetLimits(card, message->mutable_limits());
  message->set_num_parameters(NumParameters(card.config));
  message->set_num_active_parameters(NumActiveParameters(card.config));
  message->set_state_bytes(card.worker.state_bytes);
  message->set_weight_bytes(card.worker.weight_bytes);
  message->set_num_slots(card.worker.num_slots);
  message->set_fingerprint(card.worker.model_fingerprint);
  message->set_lobe_fingerprint(card.worker.lobe_fingerprint);
  message->set_numerics_id(card.worker.numerics_id);
  message->set_device(card.worker.device);
  for (const int32_t id : card.config.eos_token_ids) message->add_eos_token_ids(id);
  if (card.config.bos_token_id) message->set_bos_token_id(*card.config.bos_token_id);
  message->set_chat_template(card.tokenizer->chat_template());
}

// What neither kind has.
absl::Status NoSuchModel(const std::string& name, const ModelMap& models,
                         const DetectorMap& detectors) {
  std::vector<std::string> known;
  for (const auto& model : models.all()) known.push_back(model->card().name);
  for (const auto& detector : detectors.all()) known.push_back(detector->card().name);
  return WithReason(
      absl::NotFoundError(absl::StrCat("no model is named \"", Shortened(name),
                                       "\"; this server has ", absl::StrJoin(known, ", "))),
      "MODEL_NOT_FOUND");
}

}  // namespace

grpc::ServerUnaryReactor* ModelService::List(grpc::CallbackServerContext*,
                                             const v1::ListModelsRequest*,
                                             v1::ListModelsResponse* response) {
  return UnaryCall::Begin(metrics_, Method::kList, nullptr, [=] {
    const auto add = [response](const std::string& name, v1::ModelSummary::Kind kind) {
      v1::ModelSummary* summary = response->add_models();
      summary->set_name(name);
      summary->set_kind(kind);
      summary->set_ready(true);  // a server serves once all its models are loaded
    };
    for (const auto& model : models_.all())
      add(model->card().name, v1::ModelSummary::KIND_LANGUAGE);
    for (const auto& one : detectors_.all()) add(one->card().name, v1::ModelSummary::KIND_DETECTOR);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* ModelService::Describe(grpc::CallbackServerContext*,
                                                 const v1::DescribeModelRequest* request,
                                                 v1::DescribeModelResponse* response) {
  return UnaryCall::Begin(metrics_, Method::kDescribe, nullptr, [=]() -> absl::Status {
    const absl::StatusOr<ServedDetector*> detector = detectors_.Find(request->model());
    if (detector.ok() && (!request->model().empty() || models_.all().empty())) {
      response->set_name((*detector)->card().name);
      response->set_kind(v1::ModelSummary::KIND_DETECTOR);
      DescribeDetector((*detector)->card(), response->mutable_detector());
      return absl::OkStatus();
    }
    const absl::StatusOr<ServedModel*> model = models_.Find(request->model());
    if (!model.ok()) return NoSuchModel(request->model(), models_, detectors_);
    response->set_name((*model)->card().name);
    response->set_kind(v1::ModelSummary::KIND_LANGUAGE);
    SetLanguageModel((*model)->card(), response->mutable_language());
    return absl::OkStatus();
  });
}

}  // namespace ela
