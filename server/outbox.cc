#include "server/outbox.h"

#include <utility>

namespace ela {
namespace {

template <typename T, typename Range>
void AppendTo(std::vector<T>* to, const Range& from) {
  to->insert(to->end(), from.begin(), from.end());
}

void AppendRouting(const Routing& routing, OutboxRows* rows) {
  AppendTo(&rows->experts, routing.experts);
  AppendTo(&rows->expert_weights, routing.weights);
}

}  // namespace

void OutboxRows::Clear() {
  count = 0;
  tokens.clear();
  logprobs.clear();
  top.clear();
  experts.clear();
  expert_weights.clear();
  logits.clear();
}

Outbox::Outbox(size_t max_rows, std::function<void()> wake)
    : max_rows_(max_rows), wake_(std::move(wake)) {}

SinkState Outbox::OnToken(const TokenEvent& event) {
  bool wake;
  SinkState state;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    OutboxRows& rows = queued_.tokens;
    if (rows.count == 0) rows.first_position = event.position;
    ++rows.count;
    rows.tokens.push_back(event.token);
    rows.logprobs.push_back(event.logprob);
    AppendTo(&rows.top, event.top);
    if (event.routing != nullptr) AppendRouting(*event.routing, &rows);
    state = StateAfterAppend();
    wake = BecomeBusy();
  }
  if (wake) wake_();
  return state;
}

SinkState Outbox::OnScores(const ScoreEvent& event) {
  bool wake;
  SinkState state;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    OutboxRows& rows = queued_.scores;
    if (rows.count == 0) rows.first_position = event.first_position;
    rows.count += event.logprobs.size();
    AppendTo(&rows.logprobs, event.logprobs);
    AppendTo(&rows.top, event.top);
    AppendTo(&rows.logits, event.logits);
    for (const Routing& routing : event.routing) AppendRouting(routing, &rows);
    state = StateAfterAppend();
    wake = BecomeBusy();
  }
  if (wake) wake_();
  return state;
}

void Outbox::OnFinish(const absl::Status& status, FinishReason reason, const Usage& usage) {
  bool wake;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    queued_.finished = true;
    queued_.status = status;
    queued_.reason = reason;
    queued_.usage = usage;
    wake = BecomeBusy();
  }
  if (wake) wake_();
}

Outbox::Next Outbox::Take(OutboxContents* contents, bool* was_full) {
  std::lock_guard<std::mutex> lock(mutex_);
  *was_full = false;
  if (cancelled_) return Next::kCancelled;
  if (queued_.tokens.count == 0 && queued_.scores.count == 0 && !queued_.finished) {
    has_writer_ = false;
    return Next::kIdle;
  }
  std::swap(*contents, queued_);
  *was_full = std::exchange(full_, false);
  return Next::kContents;
}

bool Outbox::Cancel() {
  std::lock_guard<std::mutex> lock(mutex_);
  cancelled_ = true;
  return !std::exchange(has_writer_, true);
}

bool Outbox::BecomeBusy() { return !std::exchange(has_writer_, true); }

SinkState Outbox::StateAfterAppend() {
  if (cancelled_ || queued_.tokens.count + queued_.scores.count < max_rows_) {
    return SinkState::kReady;
  }
  full_ = true;
  return SinkState::kFull;
}

}  // namespace ela
