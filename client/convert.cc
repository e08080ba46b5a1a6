#include "client/convert.h"

#include <algorithm>
#include <utility>

#include "client/detect_convert.h"

namespace ela::client {
namespace {

template <typename Repeated>
auto ToVector(const Repeated& values) {
  return std::vector<typename Repeated::value_type>(values.begin(), values.end());
}

template <typename Params>
absl::Status CheckInput(const Params& params) {
  if (params.text.empty() == params.token_ids.empty()) {
    return absl::InvalidArgumentError(params.text.empty()
                                          ? "nothing to read: text and token_ids are both empty"
                                          : "text and token_ids are both set: give one of them");
  }
  return absl::OkStatus();
}

// The fields that both requests name alike.
template <typename Params, typename Request>
void SetCommon(const Params& params, const std::string& model, Request* request) {
  request->set_model(model);
  if (params.token_ids.empty()) {
    request->set_text(params.text);
  } else {
    *request->mutable_token_ids()->mutable_ids() = {params.token_ids.begin(),
                                                    params.token_ids.end()};
  }
  for (const Segment& segment : params.segments) {
    ela::v1::Segment* message = request->add_segments();
    message->set_kind(segment.generated ? ela::v1::Segment::KIND_GENERATED
                                        : ela::v1::Segment::KIND_PROMPT);
    message->set_num_tokens(segment.num_tokens);
  }
  request->set_priority(params.priority);
  request->set_request_id(params.request_id);
}

void SetSampling(const GenerateParams& params, ela::v1::SamplingOptions* sampling) {
  if (params.temperature) sampling->set_temperature(*params.temperature);
  if (params.top_k) sampling->set_top_k(*params.top_k);
  if (params.top_p) sampling->set_top_p(*params.top_p);
  if (params.min_p) sampling->set_min_p(*params.min_p);
  if (params.seed) sampling->set_seed(*params.seed);
  if (params.repetition_penalty) sampling->set_repetition_penalty(*params.repetition_penalty);
  if (params.presence_penalty) sampling->set_presence_penalty(*params.presence_penalty);
  if (params.frequency_penalty) sampling->set_frequency_penalty(*params.frequency_penalty);
  if (params.penalty_window) sampling->set_penalty_window(*params.penalty_window);
}

void SetStopping(const GenerateParams& params, ela::v1::StoppingOptions* stopping) {
  if (params.max_new_tokens) stopping->set_max_new_tokens(*params.max_new_tokens);
  *stopping->mutable_stop() = {params.stop.begin(), params.stop.end()};
  *stopping->mutable_stop_token_ids() = {params.stop_token_ids.begin(),
                                         params.stop_token_ids.end()};
  stopping->set_ignore_eos(params.ignore_eos);
}

void SetOutput(const GenerateParams& params, ela::v1::OutputOptions* output) {
  output->set_logprobs(params.logprobs);
  output->set_top_logprobs(params.top_logprobs);
  output->set_routing(params.routing);
  output->set_prompt_logprobs(params.prompt_logprobs);
  output->set_omit_text(params.omit_text);
  output->set_keep_special(params.keep_special);
}

template <typename Repeated>
std::vector<std::vector<TopToken>> TopLogprobs(const Repeated& positions) {
  std::vector<std::vector<TopToken>> result;
  for (const ela::v1::TopLogprobs& position : positions) {
    std::vector<TopToken>& top = result.emplace_back();
    const int size = std::min(position.token_ids_size(), position.logprobs_size());
    for (int i = 0; i < size; ++i) top.push_back({position.token_ids(i), position.logprobs(i)});
  }
  return result;
}

template <typename Repeated>
std::vector<TokenRouting> Routing(const Repeated& tokens) {
  std::vector<TokenRouting> result;
  for (const ela::v1::TokenRouting& token : tokens) {
    result.push_back({ToVector(token.expert_ids()), ToVector(token.weights())});
  }
  return result;
}

Usage FromMessage(const ela::v1::Usage& message) {
  Usage usage;
  usage.prompt_tokens = message.prompt_tokens();
  usage.cached_tokens = message.cached_tokens();
  usage.generated_tokens = message.generated_tokens();
  usage.queue_time = absl::Seconds(message.queue_seconds());
  usage.prefill_time = absl::Seconds(message.prefill_seconds());
  usage.decode_time = absl::Seconds(message.decode_seconds());
  return usage;
}

ModelKind FromMessage(ela::v1::ModelSummary::Kind kind) {
  switch (kind) {
    case ela::v1::ModelSummary::KIND_LANGUAGE:
      return ModelKind::kLanguage;
    case ela::v1::ModelSummary::KIND_DETECTOR:
      return ModelKind::kDetector;
    default:
      return ModelKind::kUnknown;
  }
}

Architecture FromMessage(const ela::v1::Architecture& message) {
  Architecture result;
  result.vocab_size = message.vocab_size();
  result.hidden_size = message.hidden_size();
  result.num_layers = message.num_layers();
  result.num_heads = message.num_heads();
  result.attention_kernel = message.attention_kernel();
  result.residual = message.residual();
  result.num_experts = message.num_experts();
  result.num_experts_per_token = message.num_experts_per_token();
  result.moe_bias = message.moe_bias();
  result.lobe_mode = message.lobe_mode();
  result.lobe_heads = message.lobe_heads();
  result.short_conv = message.short_conv();
  result.decay = message.decay();
  result.output_gate = message.output_gate();
  result.position_encoding = message.position_encoding();
  result.config_json = message.config_json();
  return result;
}

Limits FromMessage(const ela::v1::Limits& message) {
  Limits result;
  result.max_prompt_tokens = message.max_prompt_tokens();
  result.max_new_tokens = message.max_new_tokens();
  result.max_stop_strings = message.max_stop_strings();
  result.max_stop_string_bytes = message.max_stop_string_bytes();
  result.max_top_logprobs = message.max_top_logprobs();
  result.max_logit_tokens = message.max_logit_tokens();
  result.max_message_bytes = message.max_message_bytes();
  result.max_segment_tokens = message.max_segment_tokens();
  return result;
}

}  // namespace

absl::StatusOr<ela::v1::GenerateRequest> ToMessage(const GenerateParams& params,
                                                   const std::string& model) {
  if (absl::Status status = CheckInput(params); !status.ok()) return status;
  ela::v1::GenerateRequest request;
  SetCommon(params, model, &request);
  SetSampling(params, request.mutable_sampling());
  SetStopping(params, request.mutable_stopping());
  SetOutput(params, request.mutable_output());
  return request;
}

absl::StatusOr<ela::v1::ScoreRequest> ToMessage(const ScoreParams& params,
                                                const std::string& model) {
  if (absl::Status status = CheckInput(params); !status.ok()) return status;
  ela::v1::ScoreRequest request;
  SetCommon(params, model, &request);
  request.set_start_with_eos(params.start_with_eos);
  request.set_logits(params.logits);
  request.set_top_logprobs(params.top_logprobs);
  request.set_routing(params.routing);
  return request;
}

GenerateChunk FromMessage(ela::v1::GenerateResponse&& response) {
  GenerateChunk chunk;
  chunk.text = std::move(*response.mutable_text());
  chunk.token_ids = ToVector(response.token_ids());
  chunk.logprobs = ToVector(response.logprobs());
  chunk.top_logprobs = TopLogprobs(response.top_logprobs());
  chunk.routing = Routing(response.routing());
  if (response.has_prompt()) chunk.prompt = FromMessage(response.prompt());
  return chunk;
}

Finish FromMessage(const ela::v1::Finish& message) {
  Finish finish;
  switch (message.reason()) {
    case ela::v1::Finish::REASON_END_OF_TEXT:
      finish.reason = Finish::Reason::kEndOfText;
      break;
    case ela::v1::Finish::REASON_STOP_TOKEN:
      finish.reason = Finish::Reason::kStopToken;
      break;
    case ela::v1::Finish::REASON_STOP_STRING:
      finish.reason = Finish::Reason::kStopString;
      break;
    default:
      finish.reason = Finish::Reason::kLength;
  }
  if (message.has_stop_token_id()) finish.stop_token_id = message.stop_token_id();
  finish.stop_string = message.stop_string();
  finish.usage = FromMessage(message.usage());
  finish.seed = message.seed();
  return finish;
}

ScoreChunk FromMessage(const ela::v1::Scores& scores) {
  ScoreChunk chunk;
  chunk.first_position = scores.first_position();
  chunk.token_ids = ToVector(scores.token_ids());
  chunk.logprobs = ToVector(scores.logprobs());
  chunk.top_logprobs = TopLogprobs(scores.top_logprobs());
  chunk.routing = Routing(scores.routing());
  chunk.logits = ToVector(scores.logits());
  return chunk;
}

ScoreSummary FromMessage(const ela::v1::ScoreSummary& message) {
  ScoreSummary summary;
  summary.num_tokens = message.num_tokens();
  summary.num_bytes = message.num_bytes();
  summary.total_logprob = message.total_logprob();
  summary.bits_per_byte = message.bits_per_byte();
  summary.usage = FromMessage(message.usage());
  return summary;
}

std::vector<ModelSummary> FromMessage(const ela::v1::ListModelsResponse& response) {
  std::vector<ModelSummary> models;
  for (const ela::v1::ModelSummary& model : response.models()) {
    models.push_back({model.name(), FromMessage(model.kind()), model.ready()});
  }
  return models;
}

ModelDescription FromMessage(ela::v1::DescribeModelResponse&& response) {
  ModelDescription result;
  result.name = response.name();
  result.kind = FromMessage(response.kind());
  if (response.has_detector()) {
    result.detector = FromMessage(std::move(*response.mutable_detector()));
  }
  if (!response.has_language()) return result;
  const ela::v1::LanguageModel& language = response.language();
  result.architecture = FromMessage(language.architecture());
  result.num_parameters = language.num_parameters();
  result.num_active_parameters = language.num_active_parameters();
  result.state_bytes = language.state_bytes();
  result.weight_bytes = language.weight_bytes();
  result.num_slots = language.num_slots();
  result.limits = FromMessage(language.limits());
  result.fingerprint = language.fingerprint();
  result.lobe_fingerprint = language.lobe_fingerprint();
  result.numerics_id = language.numerics_id();
  result.device = language.device();
  result.eos_token_ids = ToVector(language.eos_token_ids());
  if (language.has_bos_token_id()) result.bos_token_id = language.bos_token_id();
  result.chat_template = language.chat_template();
  return result;
}

}  // namespace ela::client
