// What one model's engine reports, counted. docs/server.md lists every metric.
#ifndef ELA_SERVER_MODEL_METRICS_H_
#define ELA_SERVER_MODEL_METRICS_H_

#include <array>
#include <atomic>
#include <string>
#include <vector>

#include "model/worker.h"
#include "scheduler/engine_observer.h"
#include "server/histogram.h"
#include "server/metrics_page.h"

namespace ela {

// Thread-safe: the engine's thread counts, scrapes read.
class ModelMetrics : public EngineObserver {
 public:
  ModelMetrics(std::string model, const WorkerInfo& info);

  void OnLoad(const EngineLoad& load) override;
  void OnStep(const StepFacts& facts) override;
  void OnFirstToken(absl::Duration since_submit) override;
  void OnTokenInterval(absl::Duration since_previous_token) override;
  void OnFinish(const Request& request, const absl::Status& status, FinishReason reason,
                const Usage& usage) override;
  void OnRejected(const absl::Status& status) override;

  // A request that convert refused; the engine never saw it. Any thread.
  void OnInvalid() { rejected_[kInvalid].Add(1); }

  void Report(MetricsPage* page) const;

 private:
  // Bounded labels.
  static constexpr int kNumReasons = 7;  // FinishReason
  enum Rejection { kInvalid, kQueueFull, kDraining, kDeadline, kOther, kNumRejections };

  const std::string model_;
  const WorkerInfo info_;

  std::atomic<int32_t> waiting_{0}, running_{0}, paused_{0}, slots_used_{0};
  Tally prompt_tokens_, cached_tokens_, generated_tokens_, prefill_tokens_, decode_tokens_;
  std::array<Tally, kNumReasons> finished_;
  std::array<Tally, kNumRejections> rejected_;
  std::vector<Tally> expert_tokens_;  // [layers, experts]
  Histogram first_token_, token_interval_, queue_, prefill_, decode_, request_, step_, step_items_,
      step_tokens_, request_prompt_tokens_, request_generated_tokens_;
};

}  // namespace ela

#endif  // ELA_SERVER_MODEL_METRICS_H_
