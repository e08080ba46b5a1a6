// Facts about the engine as they happen, for metrics. The scheduler knows no Prometheus: the server
// implements this on lock-free counters.
#ifndef ELA_SCHEDULER_ENGINE_OBSERVER_H_
#define ELA_SCHEDULER_ENGINE_OBSERVER_H_

#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "scheduler/request.h"

namespace ela {

// Load after a step, and after each change while idle.
struct EngineLoad {
  int32_t num_waiting = 0;  // admitted to the queue, no slot yet
  int32_t num_running = 0;  // hold a slot and take part in steps
  int32_t num_paused = 0;   // their reader is slow; they hold a slot until another needs it
  int32_t num_swapped = 0;  // had a slot and wait for another, their state in a snapshot
  int32_t slots_used = 0;
  int32_t slots_total = 0;
  int64_t num_sessions = 0;
  int64_t num_prefixes = 0;    // kept for other prompts
  int64_t snapshot_bytes = 0;  // host memory in use, shared states counted once
  int64_t log_bytes = 0;       // likewise

  friend bool operator==(const EngineLoad& a, const EngineLoad& b) {
    return a.num_waiting == b.num_waiting && a.num_running == b.num_running &&
           a.num_paused == b.num_paused && a.num_swapped == b.num_swapped &&
           a.slots_used == b.slots_used && a.slots_total == b.slots_total &&
           a.num_sessions == b.num_sessions && a.num_prefixes == b.num_prefixes &&
           a.snapshot_bytes == b.snapshot_bytes && a.log_bytes == b.log_bytes;
  }
};

struct StepFacts {
  int32_t num_items = 0;
  int32_t prefill_tokens = 0;
  int32_t decode_tokens = 0;
  absl::Duration duration;                  // Enqueue to the end of Wait
  absl::Span<const int64_t> expert_tokens;  // [layers, experts], borrowed for the call
};

// Engine thread only (OnRejected: any thread); a call costs nanoseconds and never blocks.
class EngineObserver {
 public:
  virtual ~EngineObserver() = default;
  virtual void OnLoad(const EngineLoad& load) = 0;
  virtual void OnStep(const StepFacts& facts) = 0;
  virtual void OnFirstToken(absl::Duration since_submit) = 0;
  virtual void OnTokenInterval(absl::Duration since_previous_token) = 0;
  virtual void OnFinish(const Request& request, const absl::Status& status, FinishReason reason,
                        const Usage& usage) = 0;
  virtual void OnRejected(const absl::Status& status) = 0;  // never queued
};

}  // namespace ela

#endif  // ELA_SCHEDULER_ENGINE_OBSERVER_H_
