#include "server/messages.h"

#include <algorithm>

#include "absl/time/time.h"

namespace ela {
namespace {

constexpr size_t kMaxPieceRows = 16384;
constexpr size_t kMaxPieceBytes = 1 << 20;

size_t RowBytes(const OutboxRows& rows) {
  const size_t numbers = rows.logprobs.size() + rows.logits.size() + rows.experts.size() +
                         rows.expert_weights.size() + 2 * rows.top.size();
  return 8 + 4 * numbers / rows.count;
}

}  // namespace

void SetUsage(const Usage& usage, v1::Usage* message) {
  message->set_prompt_tokens(usage.prompt_tokens);
  message->set_cached_tokens(usage.cached_tokens);
  message->set_generated_tokens(usage.generated_tokens);
  message->set_queue_seconds(absl::ToDoubleSeconds(usage.queue_time));
  message->set_prefill_seconds(absl::ToDoubleSeconds(usage.prefill_time));
  message->set_decode_seconds(absl::ToDoubleSeconds(usage.decode_time));
}

void AddTop(const OutboxRows& rows, size_t row,
            google::protobuf::RepeatedPtrField<v1::TopLogprobs>* field) {
  if (rows.top.empty()) return;
  const size_t n = rows.top.size() / rows.count;
  v1::TopLogprobs* top = field->Add();
  for (size_t i = row * n; i < (row + 1) * n; ++i) {
    top->add_token_ids(rows.top[i].token);
    top->add_logprobs(rows.top[i].logprob);
  }
}

void AddRouting(const OutboxRows& rows, size_t row,
                google::protobuf::RepeatedPtrField<v1::TokenRouting>* field) {
  if (rows.experts.empty()) return;
  const size_t n = rows.experts.size() / rows.count;
  v1::TokenRouting* routing = field->Add();
  routing->mutable_expert_ids()->Add(rows.experts.begin() + row * n,
                                     rows.experts.begin() + (row + 1) * n);
  routing->mutable_weights()->Add(rows.expert_weights.begin() + row * n,
                                  rows.expert_weights.begin() + (row + 1) * n);
}

bool ScorePieces::Next(OutboxRows* rows, v1::Scores* message) {
  if (used_ == rows->count) {
    rows->Clear();
    used_ = 0;
    return false;
  }
  const size_t fitting = std::max<size_t>(1, kMaxPieceBytes / RowBytes(*rows));
  const size_t n = std::min({rows->count - used_, kMaxPieceRows, fitting});
  const size_t position = rows->first_position + used_;
  message->set_first_position(position - shift_);
  message->mutable_token_ids()->Add(tokens_.begin() + position, tokens_.begin() + position + n);
  message->mutable_logprobs()->Add(rows->logprobs.begin() + used_,
                                   rows->logprobs.begin() + used_ + n);
  for (size_t row = used_; row < used_ + n; ++row) {
    AddTop(*rows, row, message->mutable_top_logprobs());
    AddRouting(*rows, row, message->mutable_routing());
  }
  const size_t width = rows->logits.size() / rows->count;
  message->mutable_logits()->Add(rows->logits.begin() + used_ * width,
                                 rows->logits.begin() + (used_ + n) * width);
  used_ += n;
  return true;
}

}  // namespace ela
