#include "model/train/train_settings.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace ela::train {

absl::Status Check(const TrainSettings& settings) {
  std::vector<std::string> problems;
  const auto require = [&](bool ok, absl::string_view name, double value, absl::string_view range) {
    if (!ok) problems.push_back(absl::StrCat(name, " is ", value, ", allowed is ", range));
  };
  const OptimizerOptions& o = settings.optimizer;
  require(settings.num_steps >= 1, "steps", settings.num_steps, "1 and more");
  require(settings.context >= 1, "context", settings.context, "1 and more");
  require(settings.batch >= 1, "batch", settings.batch, "1 and more");
  require(settings.num_threads >= 1, "threads", settings.num_threads, "1 and more");
  require(o.learning_rate > 0 && std::isfinite(o.learning_rate), "learning rate", o.learning_rate,
          "above 0");
  require(o.warmup_steps >= 0, "warm-up steps", o.warmup_steps, "0 and more");
  require(o.final_fraction >= 0 && o.final_fraction <= 1, "final fraction", o.final_fraction,
          "0 to 1");
  require(o.weight_decay >= 0 && o.weight_decay < 1, "weight decay", o.weight_decay, "0 to 1");
  require(o.clip_norm >= 0, "clip", o.clip_norm, "0 and more");
  require(settings.balance_weight >= 0, "balance weight", settings.balance_weight, "0 and more");
  if (problems.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrJoin(problems, "\n"));
}

std::string ToJson(const TrainSettings& settings) {
  const OptimizerOptions& o = settings.optimizer;
  nlohmann::json json = {{"steps", settings.num_steps},
                         {"context", settings.context},
                         {"batch", settings.batch},
                         {"balance_weight", settings.balance_weight},
                         {"bfloat16", settings.bfloat16},
                         {"seed", settings.seed},
                         {"threads", settings.num_threads},
                         {"learning_rate", o.learning_rate},
                         {"warmup_steps", o.warmup_steps},
                         {"final_fraction", o.final_fraction},
                         {"beta1", o.beta1},
                         {"beta2", o.beta2},
                         {"epsilon", o.epsilon},
                         {"weight_decay", o.weight_decay},
                         {"clip_norm", o.clip_norm}};
  json["model"] = nlohmann::json::parse(ela::ToJson(settings.model));
  return json.dump(1);
}

absl::Status CheckSameSettings(const std::string& saved, const std::string& now) {
  if (saved == now) return absl::OkStatus();
  const nlohmann::json before = nlohmann::json::parse(saved, nullptr, false).flatten();
  const nlohmann::json after = nlohmann::json::parse(now, nullptr, false).flatten();
  std::vector<std::string> differences;
  const auto shown = [](const nlohmann::json& json, const std::string& key) {
    return json.contains(key) ? json[key].dump() : std::string("absent");
  };
  nlohmann::json keys = before;
  keys.update(after);
  for (const auto& [key, value] : keys.items()) {
    if (shown(before, key) == shown(after, key)) continue;
    differences.push_back(absl::StrCat(key.substr(1), " is ", shown(after, key),
                                       ", the run began with ", shown(before, key)));
  }
  return absl::FailedPreconditionError(
      absl::StrCat("cannot resume with other settings:\n", absl::StrJoin(differences, "\n")));
}

}  // namespace ela::train
