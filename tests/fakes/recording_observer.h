#ifndef ELA_TESTS_FAKES_RECORDING_OBSERVER_H_
#define ELA_TESTS_FAKES_RECORDING_OBSERVER_H_

#include <atomic>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "scheduler/engine_observer.h"

namespace ela {

// Counts and keeps the engine's facts. Written on the engine thread (rejections: any thread); a
// test reads it in the same thread, or after the engine's thread has ended.
class RecordingObserver final : public EngineObserver {
 public:
  struct Step {
    int32_t num_items;
    int32_t prefill_tokens;
    int32_t decode_tokens;
    absl::Duration duration;
  };

  void OnLoad(const EngineLoad& l) override {
    load = l;
    ++num_loads;
  }
  void OnStep(const StepFacts& facts) override {
    ++num_steps;
    last_step = {facts.num_items, facts.prefill_tokens, facts.decode_tokens, facts.duration};
    expert_tokens.assign(facts.expert_tokens.begin(), facts.expert_tokens.end());
  }
  void OnFirstToken(absl::Duration since_submit) override {
    ++num_first_tokens;
    last_first_token = since_submit;
  }
  void OnTokenInterval(absl::Duration interval) override {
    ++num_intervals;
    last_interval = interval;
  }
  void OnFinish(const Request&, const absl::Status& status, FinishReason reason,
                const Usage& usage) override {
    ++num_finished;
    last_status = status;
    last_reason = reason;
    generated_tokens += usage.generated_tokens;
  }
  void OnRejected(const absl::Status&) override { ++num_rejected; }

  EngineLoad load;
  Step last_step{};
  std::vector<int64_t> expert_tokens;
  int64_t num_loads = 0;
  int64_t num_steps = 0;
  int64_t num_first_tokens = 0;
  int64_t num_intervals = 0;
  int64_t num_finished = 0;
  int64_t generated_tokens = 0;
  std::atomic<int64_t> num_rejected{0};
  absl::Duration last_first_token;
  absl::Duration last_interval;
  absl::Status last_status;
  FinishReason last_reason = FinishReason::kNone;
};

}  // namespace ela

#endif  // ELA_TESTS_FAKES_RECORDING_OBSERVER_H_
