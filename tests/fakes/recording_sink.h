// Sinks and observers that remember what they were told.
#ifndef ELA_TESTS_FAKES_RECORDING_SINK_H_
#define ELA_TESTS_FAKES_RECORDING_SINK_H_

#include <atomic>
#include <cstdint>
#include <limits>
#include <vector>

#include "absl/status/status.h"
#include "absl/synchronization/notification.h"
#include "model/types.h"
#include "scheduler/request.h"

namespace ela {

// Keeps everything. It is full after `room` events, until the test calls Read (and then
// Engine::Resume). Written on the engine thread; what it holds is read by the test in the same
// thread, or after `finished`.
class RecordingSink final : public TokenSink {
 public:
  explicit RecordingSink(int64_t room = std::numeric_limits<int64_t>::max()) : room_(room) {}

  SinkState OnToken(const TokenEvent& event) override {
    if (finish_count > 0) ++calls_after_finish;
    tokens.push_back(event.token);
    positions.push_back(event.position);
    logprobs.push_back(event.logprob);
    top.insert(top.end(), event.top.begin(), event.top.end());
    if (event.routing != nullptr) routing.push_back(*event.routing);
    return Filled();
  }

  SinkState OnScores(const ScoreEvent& event) override {
    if (finish_count > 0) ++calls_after_finish;
    for (size_t i = 0; i < event.logprobs.size(); ++i) {
      score_positions.push_back(event.first_position + static_cast<int64_t>(i));
      scores.push_back(event.logprobs[i]);
    }
    score_top.insert(score_top.end(), event.top.begin(), event.top.end());
    score_logits.insert(score_logits.end(), event.logits.begin(), event.logits.end());
    score_routing.insert(score_routing.end(), event.routing.begin(), event.routing.end());
    return Filled();
  }

  void OnDurable(int64_t num_tokens) override {
    if (finish_count > 0) ++calls_after_finish;
    durable_tokens = num_tokens;
  }

  void OnFinish(const absl::Status& s, FinishReason r, const Usage& u) override {
    if (++finish_count > 1) return;
    status = s;
    reason = r;
    usage = u;
    finished.Notify();
  }

  // The reader has caught up. Any thread.
  void Read() { unread_ = 0; }

  std::vector<TokenId> tokens;
  std::vector<int64_t> positions;
  std::vector<float> logprobs;
  std::vector<TokenProbability> top;
  std::vector<Routing> routing;
  std::vector<int64_t> score_positions;
  std::vector<float> scores;
  std::vector<TokenProbability> score_top;
  std::vector<float> score_logits;
  std::vector<Routing> score_routing;
  absl::Status status = absl::UnknownError("not finished");
  FinishReason reason = FinishReason::kNone;
  Usage usage;
  int64_t durable_tokens = 0;
  int finish_count = 0;
  int calls_after_finish = 0;
  absl::Notification finished;

 private:
  SinkState Filled() { return ++unread_ >= room_ ? SinkState::kFull : SinkState::kReady; }

  const int64_t room_;
  std::atomic<int64_t> unread_{0};
};

}  // namespace ela

#endif  // ELA_TESTS_FAKES_RECORDING_SINK_H_
