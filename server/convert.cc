#include "server/convert.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/status_macros.h"
#include "server/rpc_status.h"
#include "server/text_stream.h"

namespace ela {
namespace {

constexpr int64_t kDefaultMaxNewTokens = 128;

// [low, high], or (low, high] and so on as the brackets say. NaN is in no range.
void CheckNumber(absl::string_view field, float value, float low, float high,
                 absl::string_view brackets, Violations* violations) {
  const bool above = brackets[0] == '[' ? value >= low : value > low;
  const bool below = brackets[1] == ']' ? value <= high : value < high;
  if (above && below) return;
  violations->Add(field, absl::StrCat("is ", value, ", allowed is ", brackets.substr(0, 1), low,
                                      ", ", high, brackets.substr(1, 1)));
}

void CheckInteger(absl::string_view field, int64_t value, int64_t low, int64_t high,
                  Violations* violations) {
  if (value >= low && value <= high) return;
  violations->Add(field, absl::StrCat("is ", value, ", allowed are ", low, " to ", high));
}

template <typename Ids>
void CheckIds(absl::string_view field, const Ids& ids, const ModelCard& model,
              Violations* violations) {
  const int64_t vocab_size = model.config.vocab_size;
  for (int i = 0; i < ids.size(); ++i) {
    if (ids[i] < vocab_size) continue;
    violations->Add(absl::StrCat(field, "[", i, "]"),
                    absl::StrCat("is ", ids[i], ", the ids of model ", model.name, " are 0 to ",
                                 vocab_size - 1));
    return;  // one is enough: there may be a million
  }
}

void CheckTokenCount(absl::string_view field, int64_t count, const ModelCard& model,
                     Violations* violations) {
  if (count <= model.max_prompt_tokens) return;
  violations->Add(
      field, absl::StrCat("has ", count, " tokens, this server allows ", model.max_prompt_tokens));
}

// What can be said of the input before it is tokenized. Both messages name their oneof alike.
template <typename Message>
void CheckInput(const Message& message, absl::string_view oneof, const ModelCard& model,
                Violations* violations) {
  if (message.has_text()) {
    const int64_t bytes = static_cast<int64_t>(message.text().size());
    if (bytes == 0) {
      violations->Add("text", "is empty, at least one token is needed");
    } else if (bytes / model.longest_token_bytes > model.max_prompt_tokens) {
      violations->Add("text", absl::StrCat("has ", bytes, " bytes, certainly more than the ",
                                           model.max_prompt_tokens,
                                           " tokens that this server "
                                           "allows"));
    }
  } else if (message.has_token_ids()) {
    const auto& ids = message.token_ids().ids();
    if (ids.empty()) violations->Add("token_ids", "is empty, at least one token is needed");
    CheckTokenCount("token_ids", ids.size(), model, violations);
    CheckIds("token_ids.ids", ids, model, violations);
  } else {
    violations->Add(oneof, "is absent: give text or token_ids");
  }
}

template <typename Message>
std::vector<TokenId> Tokens(const Message& message, const ModelCard& model) {
  if (message.has_text()) return model.tokenizer->Encode(message.text());
  return {message.token_ids().ids().begin(), message.token_ids().ids().end()};
}

template <typename Segments>
void CheckSegments(const Segments& segments, const ModelCard& model, Violations* violations) {
  // The first bad one is enough: there may be a million.
  for (int i = 0; i < segments.size() && violations->empty(); ++i) {
    const std::string field = absl::StrCat("segments[", i, "].");
    const v1::Segment& segment = segments[i];
    const int64_t longest = model.worker.max_segment_tokens;
    if (segment.kind() != v1::Segment::KIND_PROMPT &&
        segment.kind() != v1::Segment::KIND_GENERATED) {
      violations->Add(field + "kind", absl::StrCat("is ", static_cast<int>(segment.kind()),
                                                   ", known are KIND_PROMPT and KIND_GENERATED"));
    }
    if (segment.num_tokens() == 0 || segment.num_tokens() > uint64_t(model.max_prompt_tokens)) {
      violations->Add(field + "num_tokens",
                      absl::StrCat("is ", segment.num_tokens(), ", allowed are 1 to ",
                                   model.max_prompt_tokens));
    } else if (longest > 0 && segment.kind() == v1::Segment::KIND_PROMPT &&
               segment.num_tokens() > uint64_t(longest)) {
      violations->Add(field + "num_tokens",
                      absl::StrCat("is ", segment.num_tokens(),
                                   ", a prompt segment of this model may have ", longest));
    }
  }
}

// Cuts the request's tokens; `extra` tokens were put in front of what the caller counted.
template <typename Segments>
void ConvertSegments(const Segments& segments, const ModelCard& model, int64_t extra,
                     Request* request, Violations* violations) {
  const int64_t num_tokens = static_cast<int64_t>(request->tokens.size()) - extra;
  const int64_t longest = model.worker.max_segment_tokens;
  if (segments.empty()) {
    if (longest > 0 && num_tokens + extra > longest) {
      violations->Add("segments",
                      absl::StrCat("is absent and the input has ", num_tokens + extra,
                                   " tokens, a prompt segment of this model may have ", longest));
    }
    return;
  }
  int64_t sum = 0;
  for (const v1::Segment& segment : segments) {
    sum += static_cast<int64_t>(segment.num_tokens());
    request->segment_lengths.push_back(static_cast<int64_t>(segment.num_tokens()));
    request->segment_kinds.push_back(segment.kind() == v1::Segment::KIND_PROMPT
                                         ? SegmentKind::kPrompt
                                         : SegmentKind::kGenerated);
  }
  if (sum != num_tokens) {
    violations->Add("segments",
                    absl::StrCat("has a sum of ", sum, " tokens, the input has ", num_tokens));
  }
  request->segment_lengths.front() += extra;
}

SamplingParams ConvertSampling(const v1::SamplingOptions& options, uint64_t fresh_seed) {
  SamplingParams params;
  if (options.has_temperature()) params.temperature = options.temperature();
  if (options.has_top_k()) params.top_k = static_cast<int32_t>(options.top_k());
  if (options.has_top_p()) params.top_p = options.top_p();
  if (options.has_min_p()) params.min_p = options.min_p();
  if (options.has_repetition_penalty()) params.repetition_penalty = options.repetition_penalty();
  if (options.has_presence_penalty()) params.presence_penalty = options.presence_penalty();
  if (options.has_frequency_penalty()) params.frequency_penalty = options.frequency_penalty();
  params.seed = options.has_seed() ? options.seed() : fresh_seed;
  return params;
}

void CheckSampling(const v1::SamplingOptions& options, const ModelCard& model,
                   Violations* violations) {
  const SamplingParams params = ConvertSampling(options, 0);
  CheckNumber("sampling.temperature", params.temperature, 0, 10, "[]", violations);
  CheckInteger("sampling.top_k", options.top_k(), 0, model.config.vocab_size, violations);
  CheckNumber("sampling.top_p", params.top_p, 0, 1, "(]", violations);
  CheckNumber("sampling.min_p", params.min_p, 0, 1, "[)", violations);
  CheckNumber("sampling.repetition_penalty", params.repetition_penalty, 0, 10, "(]", violations);
  CheckNumber("sampling.presence_penalty", params.presence_penalty, -10, 10, "[]", violations);
  CheckNumber("sampling.frequency_penalty", params.frequency_penalty, -10, 10, "[]", violations);
  CheckInteger("sampling.penalty_window", options.penalty_window(), 0, kMaxPenaltyWindow,
               violations);
}

void CheckStopping(const v1::StoppingOptions& options, const ModelCard& model,
                   Violations* violations) {
  if (options.max_new_tokens() > static_cast<uint64_t>(model.max_new_tokens)) {
    violations->Add("stopping.max_new_tokens",
                    absl::StrCat("is ", options.max_new_tokens(), ", this server allows ",
                                 model.max_new_tokens));
  }
  if (options.stop_size() > kMaxStopStrings) {
    violations->Add("stopping.stop", absl::StrCat("has ", options.stop_size(),
                                                  " strings, allowed are ", kMaxStopStrings));
  }
  for (int i = 0; i < std::min(options.stop_size(), kMaxStopStrings); ++i) {
    const size_t bytes = options.stop(i).size();
    if (bytes >= 1 && bytes <= kMaxStopStringBytes) continue;
    violations->Add(absl::StrCat("stopping.stop[", i, "]"),
                    absl::StrCat("has ", bytes, " bytes, allowed are 1 to ", kMaxStopStringBytes));
  }
  if (options.stop_token_ids_size() > kMaxStopTokenIds) {
    violations->Add("stopping.stop_token_ids",
                    absl::StrCat("has ", options.stop_token_ids_size(), " ids, allowed are ",
                                 kMaxStopTokenIds));
  }
  CheckIds("stopping.stop_token_ids", options.stop_token_ids(), model, violations);
}

Request BaseRequest(const CallFacts& call, int32_t priority) {
  Request request;
  request.id = call.request_id;
  request.tenant = call.tenant;
  request.deadline = call.deadline;
  request.priority = priority;
  return request;
}

}  // namespace

absl::Status CheckRequestId(const std::string& request_id) {
  Violations violations;
  const bool printable = std::all_of(request_id.begin(), request_id.end(),
                                     [](char c) { return c >= ' ' && c <= '~'; });
  if (!printable) violations.Add("request_id", "has bytes that are not printable ASCII");
  if (request_id.size() > kMaxRequestIdBytes) {
    violations.Add("request_id", absl::StrCat("has ", request_id.size(), " bytes, allowed are ",
                                              kMaxRequestIdBytes));
  }
  return violations.ToStatus();
}

absl::StatusOr<GenerateCall> ConvertGenerate(const v1::GenerateRequest& message,
                                             const ModelCard& model, const CallFacts& call,
                                             uint64_t fresh_seed) {
  Violations violations;
  CheckInput(message, "prompt", model, &violations);
  CheckSampling(message.sampling(), model, &violations);
  CheckStopping(message.stopping(), model, &violations);
  CheckInteger("output.top_logprobs", message.output().top_logprobs(), 0, kMaxTopLogprobs,
               &violations);
  CheckInteger("priority", message.priority(), -kMaxPriority, kMaxPriority, &violations);
  CheckSegments(message.segments(), model, &violations);
  if (!violations.empty()) return violations.ToStatus();

  GenerateCall result;
  Request& request = result.request = BaseRequest(call, message.priority());
  request.tokens = Tokens(message, model);
  if (request.tokens.empty()) violations.Add("text", "has no tokens, at least one is needed");
  CheckTokenCount("text", request.tokens.size(), model, &violations);
  ConvertSegments(message.segments(), model, 0, &request, &violations);
  if (!violations.empty()) return violations.ToStatus();

  const v1::StoppingOptions& stopping = message.stopping();
  request.max_new_tokens = stopping.has_max_new_tokens()
                               ? static_cast<int64_t>(stopping.max_new_tokens())
                               : std::min(kDefaultMaxNewTokens, model.max_new_tokens);
  request.ignore_eos = stopping.ignore_eos();
  request.stop_tokens.assign(stopping.stop_token_ids().begin(), stopping.stop_token_ids().end());
  request.sampling = ConvertSampling(message.sampling(), fresh_seed);
  if (message.sampling().has_penalty_window()) {
    request.penalty_window = static_cast<int32_t>(message.sampling().penalty_window());
  }
  request.top_logprobs = static_cast<int32_t>(message.output().top_logprobs());
  request.routing = message.output().routing();
  request.score_prompt = message.output().prompt_logprobs();
  result.output = message.output();
  result.stops.assign(stopping.stop().begin(), stopping.stop().end());
  if (!result.stops.empty()) {
    request.stop_condition = std::make_unique<StopStrings>(*model.tokenizer, result.stops,
                                                           message.output().keep_special());
  }
  return result;
}

absl::StatusOr<ScoreCall> ConvertScore(const v1::ScoreRequest& message, const ModelCard& model,
                                       const CallFacts& call) {
  Violations violations;
  CheckInput(message, "input", model, &violations);
  CheckInteger("top_logprobs", message.top_logprobs(), 0, kMaxTopLogprobs, &violations);
  CheckInteger("priority", message.priority(), -kMaxPriority, kMaxPriority, &violations);
  CheckSegments(message.segments(), model, &violations);
  if (message.start_with_eos() && model.config.eos_token_ids.empty()) {
    violations.Add("start_with_eos",
                   absl::StrCat("is true, model ", model.name, " has no end-of-text token"));
  }
  if (!violations.empty()) return violations.ToStatus();

  ScoreCall result;
  Request& request = result.request = BaseRequest(call, message.priority());
  request.tokens = Tokens(message, model);
  const int64_t count = static_cast<int64_t>(request.tokens.size());
  if (count == 0) violations.Add("text", "has no tokens, at least one is needed");
  CheckTokenCount("text", count, model, &violations);
  if (message.logits() && count > model.max_logit_tokens) {
    violations.Add("logits", absl::StrCat("is true for ", count, " tokens, this server allows ",
                                          model.max_logit_tokens));
  }
  result.starts_with_eos = message.start_with_eos();
  if (result.starts_with_eos) {
    request.tokens.insert(request.tokens.begin(), model.config.eos_token_ids.front());
  }
  ConvertSegments(message.segments(), model, result.starts_with_eos ? 1 : 0, &request, &violations);
  if (!violations.empty()) return violations.ToStatus();

  request.score_prompt = true;
  request.logits = message.logits();
  request.top_logprobs = static_cast<int32_t>(message.top_logprobs());
  request.routing = message.routing();
  result.tokens = request.tokens;
  return result;
}

absl::Status ConvertTokenize(const v1::TokenizeRequest& message, const ModelCard& model,
                             v1::TokenizeResponse* response) {
  const std::vector<TokenId> ids =
      model.tokenizer->Encode(message.text(), /*parse_special=*/!message.plain());
  response->mutable_ids()->Add(ids.begin(), ids.end());
  for (const TokenId id : ids) {
    const absl::string_view bytes = model.tokenizer->Bytes(id);
    response->add_pieces(bytes.data(), bytes.size());
  }
  return absl::OkStatus();
}

absl::Status ConvertDetokenize(const v1::DetokenizeRequest& message, const ModelCard& model,
                               v1::DetokenizeResponse* response) {
  Violations violations;
  CheckTokenCount("ids", message.ids_size(), model, &violations);
  CheckIds("ids", message.ids(), model, &violations);
  if (!violations.empty()) return violations.ToStatus();
  std::vector<TokenId> ids(message.ids().begin(), message.ids().end());
  // A vocabulary may be padded beyond the tokenizer's: such ids have no text.
  const auto padding = [&model](TokenId id) { return id >= model.tokenizer->vocab_size(); };
  ids.erase(std::remove_if(ids.begin(), ids.end(), padding), ids.end());
  response->set_text(model.tokenizer->Decode(ids, /*skip_special=*/!message.keep_special()));
  return absl::OkStatus();
}

}  // namespace ela
