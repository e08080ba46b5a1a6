#include "server/served_model.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/status_macros.h"
#include "server/rpc_status.h"

namespace ela {
namespace {

EngineOptions OptionsOf(const ServerConfig& config, const LanguageConfig& model) {
  EngineOptions options;
  options.max_queue = static_cast<int32_t>(config.max_queue);
  options.max_queue_tokens = config.max_queue_tokens;
  options.step_token_budget = static_cast<int32_t>(config.step_tokens);
  options.prefill_chunk = static_cast<int32_t>(config.prefill_chunk);
  options.slow_reader_timeout = absl::Seconds(config.slow_reader_seconds);
  options.end_of_text.assign(model.eos_token_ids.begin(), model.eos_token_ids.end());
  options.tenants = config.tenants;
  // Off until this server has settings for them: an operator is not to find memory taken that no
  // limit names, nor a full queue that empties by turns.
  options.swap_quantum = 0;
  options.prefix_min_tokens = std::numeric_limits<int32_t>::max();
  return options;
}

int64_t LongestTokenBytes(const Tokenizer& tokenizer) {
  size_t longest = 1;
  for (TokenId id = 0; id < tokenizer.vocab_size(); ++id) {
    longest = std::max(longest, tokenizer.Bytes(id).size());
  }
  return static_cast<int64_t>(longest);
}

}  // namespace

absl::Status CheckTokenizer(const ModelParts& parts) {
  if (parts.tokenizer->vocab_size() <= parts.config.vocab_size) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("the tokenizer has ", parts.tokenizer->vocab_size(),
                   " tokens, the model's vocabulary only ", parts.config.vocab_size));
}

absl::StatusOr<std::unique_ptr<ServedModel>> ServedModel::Create(ModelParts parts,
                                                                 const ServerConfig& config,
                                                                 ModelMetrics& metrics,
                                                                 const Clock& clock) {
  if (absl::Status status = CheckTokenizer(parts); !status.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("model ", parts.name, ": ", status.message()));
  }
  std::unique_ptr<ServedModel> model(new ServedModel(std::move(parts), metrics));
  ModelCard& card = model->card_;
  card.name = model->parts_.name;
  card.config = model->parts_.config;
  card.worker = model->parts_.worker->Info();
  card.tokenizer = model->parts_.tokenizer.get();
  card.longest_token_bytes = LongestTokenBytes(*card.tokenizer);
  card.max_prompt_tokens = config.max_prompt_tokens;
  card.max_new_tokens = config.max_new_tokens;
  card.max_logit_tokens = config.max_logit_tokens;
  card.max_message_bytes = config.max_message_bytes;
  ELA_ASSIGN_OR_RETURN(model->engine_, Engine::Create(OptionsOf(config, card.config),
                                                      *model->parts_.worker, metrics, clock));
  model->thread_ = std::make_unique<EngineThread>(*model->engine_);
  return model;
}

void ServedModel::JoinBy(absl::Time deadline) {
  thread_->DrainAndJoin(std::max(deadline - absl::Now(), absl::ZeroDuration()));
}

void ModelMap::Add(std::unique_ptr<ServedModel> model) {
  const bool is_new = by_name_.emplace(model->card().name, model.get()).second;
  ELA_CHECK(is_new, "two models have one name: CompleteConfig lets none through");
  models_.push_back(std::move(model));
}

absl::StatusOr<ServedModel*> ModelMap::Find(const std::string& name) const {
  if (name.empty() && !models_.empty()) return models_.front().get();
  auto found = by_name_.find(name);
  if (found != by_name_.end()) return found->second;
  if (name.empty()) {
    return WithReason(absl::NotFoundError("this server has no language model"), "MODEL_NOT_FOUND");
  }
  const auto name_of = [](std::string* out, const auto& entry) { out->append(entry.first); };
  return WithReason(
      absl::NotFoundError(absl::StrCat(
          "no language model is named \"", Shortened(name), "\"; this server has ",
          by_name_.empty() ? "no language model" : absl::StrJoin(by_name_, ", ", name_of))),
      "MODEL_NOT_FOUND");
}

}  // namespace ela
