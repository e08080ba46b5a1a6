#include "server/score_stream.h"

#include <cmath>
#include <utility>

#include "server/convert.h"

namespace ela {

absl::StatusOr<Request> ScoreStream::Prepare(const ServedModel& model, const CallFacts& call) {
  ELA_ASSIGN_OR_RETURN(ScoreCall converted, ConvertScore(message_, model.card(), call));
  tokenizer_ = model.card().tokenizer;
  tokens_ = std::move(converted.tokens);
  pieces_.emplace(tokens_, converted.starts_with_eos ? 1 : 0);
  return std::move(converted.request);
}

ScoreStream::Fill ScoreStream::FillResponse(OutboxContents* contents, v1::ScoreResponse* response) {
  if (contents->scores.count > 0) {
    if (pieces_->Next(&contents->scores, response->mutable_scores())) {
      Count(response->scores());
      return Fill::kMessage;
    }
    response->clear_scores();
  }
  if (!contents->finished || !contents->status.ok()) return Fill::kNothing;
  v1::ScoreSummary* summary = response->mutable_summary();
  summary->set_num_tokens(num_tokens_);
  summary->set_num_bytes(num_bytes_);
  summary->set_total_logprob(total_logprob_);
  if (num_bytes_ > 0) {
    summary->set_bits_per_byte(-total_logprob_ / std::log(2.0) / static_cast<double>(num_bytes_));
  }
  SetUsage(contents->usage, summary->mutable_usage());
  return Fill::kLastMessage;
}

void ScoreStream::Count(const v1::Scores& scores) {
  num_tokens_ += scores.token_ids_size();
  for (const TokenId token : scores.token_ids()) {
    if (token < tokenizer_->vocab_size()) {
      num_bytes_ += static_cast<int64_t>(tokenizer_->Bytes(token).size());
    }
  }
  for (const float logprob : scores.logprobs()) total_logprob_ += logprob;
}

}  // namespace ela
