#include "server/model_metrics.h"

#include <algorithm>
#include <utility>

namespace ela {
namespace {

// Seconds. Small models answer in fractions of a millisecond: finer than what peers use.
const std::vector<double> kLatencyBounds = {.001, .0025, .005, .01, .02, .04, .06, .08, .1, .25, .5,
                                            .75,  1,     2.5,  5,   7.5, 10,  20,  40,  80, 160};
const std::vector<double> kIntervalBounds = {.0005, .001, .0025, .005, .01, .025, .05, .075, .1,
                                             .15,   .2,   .3,    .4,   .5,  .75,  1,   2.5,  5};
const std::vector<double> kRequestBounds = {.005, .01, .025, .05, .1,  .3,  .5,  .8, 1,
                                            1.5,  2,   2.5,  5,   10,  15,  20,  30, 40,
                                            50,   60,  120,  240, 480, 960, 1920};
const std::vector<double> kStepBounds = {.0001, .00025, .0005, .001, .0025, .005, .01,
                                         .025,  .05,    .1,    .25,  .5,    1,    2.5};
const std::vector<double> kItemBounds = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024};
const std::vector<double> kStepTokenBounds = {1,   8,    16,   32,   64,   128,  256,
                                              512, 1024, 2048, 4096, 8192, 16384};
const std::vector<double> kRequestTokenBounds = {1,    4,     16,    64,     256,    1024,
                                                 4096, 16384, 65536, 262144, 1048576};

constexpr const char* kReasonNames[] = {"none",        "length",    "end_of_text", "stop_token",
                                        "stop_string", "cancelled", "error"};
constexpr const char* kRejectionNames[] = {"invalid", "queue_full", "draining", "deadline",
                                           "other"};

}  // namespace

ModelMetrics::ModelMetrics(std::string model, const WorkerInfo& info)
    : model_(std::move(model)),
      info_(info),
      expert_tokens_(static_cast<size_t>(info.num_layers) * info.num_experts),
      first_token_(kLatencyBounds),
      token_interval_(kIntervalBounds),
      queue_(kLatencyBounds),
      prefill_(kLatencyBounds),
      decode_(kRequestBounds),
      request_(kRequestBounds),
      step_(kStepBounds),
      step_items_(kItemBounds),
      step_tokens_(kStepTokenBounds),
      request_prompt_tokens_(kRequestTokenBounds),
      request_generated_tokens_(kRequestTokenBounds) {}

void ModelMetrics::OnLoad(const EngineLoad& load) {
  waiting_.store(load.num_waiting, std::memory_order_relaxed);
  running_.store(load.num_running, std::memory_order_relaxed);
  paused_.store(load.num_paused, std::memory_order_relaxed);
  slots_used_.store(load.slots_used, std::memory_order_relaxed);
}

void ModelMetrics::OnStep(const StepFacts& facts) {
  step_.Observe(absl::ToDoubleSeconds(facts.duration));
  step_items_.Observe(facts.num_items);
  step_tokens_.Observe(facts.prefill_tokens + facts.decode_tokens);
  prefill_tokens_.Add(facts.prefill_tokens);
  decode_tokens_.Add(facts.decode_tokens);
  const size_t num_counts = std::min(facts.expert_tokens.size(), expert_tokens_.size());
  for (size_t i = 0; i < num_counts; ++i) expert_tokens_[i].Add(facts.expert_tokens[i]);
}

void ModelMetrics::OnFirstToken(absl::Duration since_submit) {
  first_token_.Observe(absl::ToDoubleSeconds(since_submit));
}

void ModelMetrics::OnTokenInterval(absl::Duration since_previous_token) {
  token_interval_.Observe(absl::ToDoubleSeconds(since_previous_token));
}

void ModelMetrics::OnFinish(const Request&, const absl::Status&, FinishReason reason,
                            const Usage& usage) {
  finished_[static_cast<size_t>(reason)].Add(1);
  prompt_tokens_.Add(usage.prompt_tokens);
  cached_tokens_.Add(usage.cached_tokens);
  generated_tokens_.Add(usage.generated_tokens);
  queue_.Observe(absl::ToDoubleSeconds(usage.queue_time));
  prefill_.Observe(absl::ToDoubleSeconds(usage.prefill_time));
  decode_.Observe(absl::ToDoubleSeconds(usage.decode_time));
  request_.Observe(
      absl::ToDoubleSeconds(usage.queue_time + usage.prefill_time + usage.decode_time));
  request_prompt_tokens_.Observe(usage.prompt_tokens);
  request_generated_tokens_.Observe(usage.generated_tokens);
}

void ModelMetrics::OnRejected(const absl::Status& status) {
  Rejection reason = kOther;
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
      reason = kInvalid;
      break;
    case absl::StatusCode::kResourceExhausted:
      reason = kQueueFull;
      break;
    case absl::StatusCode::kUnavailable:
      reason = kDraining;
      break;
    case absl::StatusCode::kDeadlineExceeded:
      reason = kDeadline;
      break;
    default:
      break;
  }
  rejected_[reason].Add(1);
}

void ModelMetrics::Report(MetricsPage* page) const {
  const MetricsPage::Labels model = {{"model", model_}};
  const auto with = [this](std::initializer_list<std::pair<std::string, std::string>> more) {
    MetricsPage::Labels labels = {{"model", model_}};
    labels.insert(labels.end(), more);
    return labels;
  };
  page->Gauge("ela_requests_waiting", "Requests in the queue.", model, waiting_.load());
  page->Gauge("ela_requests_running", "Requests that take part in steps.", model, running_.load());
  page->Gauge("ela_requests_paused", "Requests that wait for a slow reader, keeping their slot.",
              model, paused_.load());
  page->Gauge("ela_slots_used", "Slots of the state pool in use.", model, slots_used_.load());
  page->Gauge("ela_slots_capacity", "Slots of the state pool.", model, info_.num_slots);
  page->Gauge("ela_slot_state_bytes", "Size of one sequence's state.", model,
              static_cast<double>(info_.state_bytes));
  page->Gauge("ela_state_pool_bytes", "Size of the state pool.", model,
              static_cast<double>(info_.state_bytes) * info_.num_slots);
  page->Gauge("ela_weight_bytes", "Size of the resident weights.", model,
              static_cast<double>(info_.weight_bytes));

  page->Add("ela_time_to_first_token_seconds", "From arrival to the first sampled token.", model,
            first_token_);
  page->Add("ela_time_per_output_token_seconds", "Between two sampled tokens of a request.", model,
            token_interval_);
  page->Add("ela_queue_seconds", "From arrival to the first step.", model, queue_);
  page->Add("ela_prefill_seconds", "From the first step to the first token.", model, prefill_);
  page->Add("ela_decode_seconds", "From the first token to the last.", model, decode_);
  page->Add("ela_request_seconds", "From arrival to the end.", model, request_);
  page->Add("ela_step_seconds", "One call of the worker.", model, step_);
  page->Add("ela_step_sequences", "Sequences in one step.", model, step_items_);
  page->Add("ela_step_tokens", "Tokens in one step.", model, step_tokens_);
  page->Add("ela_request_prompt_tokens", "Tokens of a request's prompt.", model,
            request_prompt_tokens_);
  page->Add("ela_request_generated_tokens", "Tokens that a request generated.", model,
            request_generated_tokens_);

  page->Counter("ela_prompt_tokens_total", "Prompt tokens of finished requests.", model,
                prompt_tokens_.value());
  page->Counter("ela_cached_tokens_total", "Prompt tokens taken from a kept state.", model,
                cached_tokens_.value());
  page->Counter("ela_generated_tokens_total", "Sampled tokens of finished requests.", model,
                generated_tokens_.value());
  page->Counter("ela_step_tokens_total", "Tokens computed in steps, by phase.",
                with({{"phase", "prefill"}}), prefill_tokens_.value());
  page->Counter("ela_step_tokens_total", "", with({{"phase", "decode"}}), decode_tokens_.value());
  for (int i = 1; i < kNumReasons; ++i) {
    page->Counter("ela_requests_finished_total", "Requests that were admitted, by how they ended.",
                  with({{"reason", kReasonNames[i]}}), finished_[i].value());
  }
  for (int i = 0; i < kNumRejections; ++i) {
    page->Counter("ela_requests_rejected_total", "Requests that were never queued, by reason.",
                  with({{"reason", kRejectionNames[i]}}), rejected_[i].value());
  }
  for (size_t i = 0; i < expert_tokens_.size(); ++i) {
    page->Counter("ela_expert_tokens_total", "Tokens routed to an expert.",
                  with({{"layer", std::to_string(i / info_.num_experts)},
                        {"expert", std::to_string(i % info_.num_experts)}}),
                  expert_tokens_[i].value());
  }
}

}  // namespace ela
