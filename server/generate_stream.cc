#include "server/generate_stream.h"

#include <algorithm>
#include <atomic>
#include <random>
#include <utility>

#include "server/convert.h"

namespace ela {
namespace {

// A seed for a request that names none: no two of this process are equal.
uint64_t FreshSeed() {
  static const uint64_t start = (uint64_t{std::random_device()()} << 32) | std::random_device()();
  static std::atomic<uint64_t> next{0};
  uint64_t seed = start + 0x9E3779B97F4A7C15u * next.fetch_add(1);  // splitmix64
  seed = (seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9u;
  seed = (seed ^ (seed >> 27)) * 0x94D049BB133111EBu;
  return seed ^ (seed >> 31);
}

v1::Finish::Reason ReasonFor(FinishReason reason) {
  switch (reason) {
    case FinishReason::kLength:
      return v1::Finish::REASON_LENGTH;
    case FinishReason::kEndOfText:
      return v1::Finish::REASON_END_OF_TEXT;
    case FinishReason::kStopToken:
      return v1::Finish::REASON_STOP_TOKEN;
    case FinishReason::kStopString:
      return v1::Finish::REASON_STOP_STRING;
    default:
      return v1::Finish::REASON_UNSPECIFIED;
  }
}

}  // namespace

absl::StatusOr<Request> GenerateStream::Prepare(const ServedModel& model, const CallFacts& call) {
  const ModelCard& card = model.card();
  ELA_ASSIGN_OR_RETURN(GenerateCall converted, ConvertGenerate(message_, card, call, FreshSeed()));
  Request& request = converted.request;
  output_ = converted.output;
  seed_ = request.sampling.seed;
  ending_ = request.stop_tokens;
  if (!request.ignore_eos) {
    ending_.insert(ending_.end(), card.config.eos_token_ids.begin(),
                   card.config.eos_token_ids.end());
  }
  if (!output_.omit_text() || !converted.stops.empty()) {
    text_.emplace(*card.tokenizer, std::move(converted.stops), output_.keep_special());
  }
  if (request.score_prompt) {
    prompt_ = request.tokens;
    pieces_.emplace(prompt_, 0);
  }
  return std::move(request);
}

GenerateStream::Fill GenerateStream::FillResponse(OutboxContents* contents,
                                                  v1::GenerateResponse* response) {
  if (contents->scores.count > 0) {
    if (pieces_->Next(&contents->scores, response->mutable_prompt())) return Fill::kMessage;
    response->clear_prompt();
  }
  AddTokens(contents->tokens, response);
  contents->tokens.Clear();
  if (contents->finished && contents->status.ok()) {
    SetFinish(*contents, response);
    return Fill::kLastMessage;
  }
  return response->token_ids().empty() && response->text().empty() ? Fill::kNothing
                                                                   : Fill::kMessage;
}

void GenerateStream::AddTokens(const OutboxRows& rows, v1::GenerateResponse* response) {
  for (size_t row = 0; row < rows.count; ++row) {
    const TokenId token = rows.tokens[row];
    if (std::find(ending_.begin(), ending_.end(), token) != ending_.end()) {
      ended_by_ = token;
      continue;
    }
    response->add_token_ids(token);
    if (output_.logprobs()) response->add_logprobs(rows.logprobs[row]);
    AddTop(rows, row, response->mutable_top_logprobs());
    AddRouting(rows, row, response->mutable_routing());
    if (text_) text_->Push(token, response->mutable_text());
  }
  if (output_.omit_text()) response->clear_text();
}

void GenerateStream::SetFinish(const OutboxContents& contents, v1::GenerateResponse* response) {
  v1::Finish* finish = response->mutable_finish();
  finish->set_reason(ReasonFor(contents.reason));
  finish->set_seed(seed_);
  SetUsage(contents.usage, finish->mutable_usage());
  if (ended_by_) finish->set_stop_token_id(*ended_by_);
  if (!text_) return;
  text_->Finish(response->mutable_text());
  if (output_.omit_text()) response->clear_text();
  if (contents.reason == FinishReason::kStopString && text_->stopped() != nullptr) {
    finish->set_stop_string(*text_->stopped());
  }
}

}  // namespace ela
