// `ela models`: what a server serves, as a table or in full.
#include <algorithm>
#include <cinttypes>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/command/command.h"
#include "client/command/detect_report.h"
#include "client/command/output.h"

namespace ela::client {
namespace {

using Json = nlohmann::ordered_json;

// "6.9 M", "1.34 MB": three digits are what a person compares.
std::string Scaled(double value, const std::string& unit) {
  const char* const prefixes[] = {"", "K", "M", "G", "T"};
  int prefix = 0;
  while (value >= 1000 && prefix < 4) {
    value /= 1000;
    ++prefix;
  }
  const int decimals = prefix == 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return absl::StrFormat("%.*f %s%s", decimals, value, prefixes[prefix], unit);
}

void PrintTable(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths(rows[0].size());
  for (const std::vector<std::string>& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const std::vector<std::string>& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      absl::StrAppendFormat(&line, "%-*s", static_cast<int>(widths[i]) + 2, row[i]);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    Print(line + "\n");
  }
}

std::string LobeWords(const Architecture& architecture) {
  if (architecture.lobe_mode.empty()) return "none";
  return absl::StrCat(architecture.lobe_mode, ", ", architecture.lobe_heads, " heads");
}

Json ToJson(const DetectorDescription& model) {
  const DetectionLimits& limits = model.limits;
  return {{"name", model.name},
          {"kind", Name(ModelKind::kDetector)},
          {"variant", model.variant},
          {"class_names", model.class_names},
          {"num_parameters", model.num_parameters},
          {"weight_bytes", model.weight_bytes},
          {"input_width", model.input_width},
          {"input_height", model.input_height},
          {"fit", Name(model.fit)},
          {"defaults",
           {{"score_threshold", Shortest(model.defaults.score_threshold.value_or(0))},
            {"iou_threshold", Shortest(model.defaults.iou_threshold.value_or(0))},
            {"max_detections", model.defaults.max_detections.value_or(0)},
            {"class_agnostic", model.defaults.class_agnostic.value_or(false)}}},
          {"limits",
           {{"max_images", limits.max_images},
            {"max_image_bytes", limits.max_image_bytes},
            {"max_width", limits.max_width},
            {"max_height", limits.max_height},
            {"max_pixels", limits.max_pixels},
            {"max_request_pixels", limits.max_request_pixels},
            {"max_detections", limits.max_detections},
            {"max_frames_in_flight", limits.max_frames_in_flight},
            {"max_message_bytes", limits.max_message_bytes},
            {"max_input_side", limits.max_input_side},
            {"input_multiple", limits.input_multiple}}},
          {"fingerprint", model.fingerprint},
          {"numerics_id", model.numerics_id},
          {"device", model.device}};
}

void PrintDescription(const DetectorDescription& model) {
  PrintTable(
      {{"name", model.name},
       {"kind", Name(ModelKind::kDetector)},
       {"variant", model.variant},
       {"classes", absl::StrJoin(model.class_names, ", ")},
       {"parameters", Scaled(model.num_parameters, "")},
       {"weights", Scaled(model.weight_bytes, "B")},
       {"input", absl::StrFormat("%d x %d pixels, %s", model.input_width, model.input_height,
                                 Name(model.fit))},
       {"defaults", absl::StrFormat("score from %g, overlap up to %g, %d objects a picture",
                                    model.defaults.score_threshold.value_or(0),
                                    model.defaults.iou_threshold.value_or(0),
                                    model.defaults.max_detections.value_or(0))},
       {"limits", absl::StrFormat("a picture of %s, %d x %d and %s pixels; %d in one call",
                                  Scaled(model.limits.max_image_bytes, "B"), model.limits.max_width,
                                  model.limits.max_height, Scaled(model.limits.max_pixels, ""),
                                  model.limits.max_images)},
       {"device", model.device},
       {"numerics", model.numerics_id},
       {"fingerprint", model.fingerprint}});
}

Json ToJson(const ModelDescription& model) {
  Json json = {{"name", model.name}, {"kind", Name(model.kind)}};
  if (model.detector.has_value()) return ToJson(*model.detector);
  if (model.kind != ModelKind::kLanguage) return json;
  const Architecture& a = model.architecture;
  // The config is JSON already; a server that sends something else still gets its text through.
  const Json config = Json::parse(a.config_json, nullptr, /*allow_exceptions=*/false);
  json["architecture"] = {{"vocab_size", a.vocab_size},
                          {"hidden_size", a.hidden_size},
                          {"num_layers", a.num_layers},
                          {"num_heads", a.num_heads},
                          {"attention_kernel", a.attention_kernel},
                          {"residual", a.residual},
                          {"num_experts", a.num_experts},
                          {"num_experts_per_token", a.num_experts_per_token},
                          {"moe_bias", a.moe_bias},
                          {"lobe_mode", a.lobe_mode},
                          {"lobe_heads", a.lobe_heads},
                          {"short_conv", a.short_conv},
                          {"decay", a.decay},
                          {"output_gate", a.output_gate},
                          {"position_encoding", a.position_encoding},
                          {"config", config.is_discarded() ? Json(a.config_json) : config}};
  json["num_parameters"] = model.num_parameters;
  json["num_active_parameters"] = model.num_active_parameters;
  json["state_bytes"] = model.state_bytes;
  json["weight_bytes"] = model.weight_bytes;
  json["num_slots"] = model.num_slots;
  json["limits"] = {{"max_prompt_tokens", model.limits.max_prompt_tokens},
                    {"max_new_tokens", model.limits.max_new_tokens},
                    {"max_stop_strings", model.limits.max_stop_strings},
                    {"max_stop_string_bytes", model.limits.max_stop_string_bytes},
                    {"max_top_logprobs", model.limits.max_top_logprobs},
                    {"max_logit_tokens", model.limits.max_logit_tokens},
                    {"max_message_bytes", model.limits.max_message_bytes},
                    {"max_segment_tokens", model.limits.max_segment_tokens}};
  json["fingerprint"] = model.fingerprint;
  json["lobe_fingerprint"] = model.lobe_fingerprint;
  json["numerics_id"] = model.numerics_id;
  json["device"] = model.device;
  json["eos_token_ids"] = model.eos_token_ids;
  if (model.bos_token_id) json["bos_token_id"] = *model.bos_token_id;
  json["chat_template"] = model.chat_template;
  return json;
}

void PrintDescription(const ModelDescription& model) {
  if (model.detector.has_value()) return PrintDescription(*model.detector);
  const Architecture& a = model.architecture;
  std::vector<std::vector<std::string>> rows = {{"name", model.name}, {"kind", Name(model.kind)}};
  if (model.kind == ModelKind::kLanguage) {
    rows.insert(
        rows.end(),
        {{"parameters", absl::StrCat(Scaled(model.num_parameters, ""), " (",
                                     Scaled(model.num_active_parameters, ""), " per token)")},
         {"state",
          absl::StrCat(Scaled(model.state_bytes, "B"), " per sequence, whatever its length")},
         {"weights", Scaled(model.weight_bytes, "B")},
         {"slots", absl::StrCat(model.num_slots, " sequences at once")},
         {"shape", absl::StrFormat("%d layers, width %d, %d heads, vocabulary %d", a.num_layers,
                                   a.hidden_size, a.num_heads, a.vocab_size)},
         {"attention", absl::StrCat(a.attention_kernel, ", decay ", a.decay, ", short_conv ",
                                    a.short_conv, ", output_gate ", a.output_gate ? "yes" : "no",
                                    ", positions ", a.position_encoding)},
         {"experts", absl::StrFormat("%d, %d per token, moe_bias %s", a.num_experts,
                                     a.num_experts_per_token, a.moe_bias)},
         {"residual", a.residual},
         {"memory lobe", LobeWords(a)},
         {"limits", absl::StrFormat("prompt %d tokens, continuation %d tokens, message %s",
                                    model.limits.max_prompt_tokens, model.limits.max_new_tokens,
                                    Scaled(model.limits.max_message_bytes, "B"))},
         {"end of text", absl::StrJoin(model.eos_token_ids, ", ")},
         {"device", model.device},
         {"numerics", model.numerics_id},
         {"fingerprint", model.fingerprint}});
    if (!model.lobe_fingerprint.empty()) {
      rows.push_back({"lobe fingerprint", model.lobe_fingerprint});
    }
  }
  PrintTable(rows);
}

absl::Status List(Client& client, bool json) {
  absl::StatusOr<std::vector<ModelSummary>> models = client.ListModels();
  if (!models.ok()) return models.status();
  Json list = Json::array();
  std::vector<std::vector<std::string>> rows = {
      {"NAME", "KIND", "READY", "PARAMETERS", "STATE", "SLOTS", "DEVICE"}};
  for (const ModelSummary& model : *models) {
    list.push_back({{"name", model.name}, {"kind", Name(model.kind)}, {"ready", model.ready}});
    std::vector<std::string>& row = rows.emplace_back(
        std::vector<std::string>{model.name, Name(model.kind), model.ready ? "yes" : "no"});
    if (json || !model.ready) continue;
    absl::StatusOr<ModelDescription> description = client.DescribeModel(model.name);
    if (!description.ok()) return description.status();
    if (description->detector.has_value()) {
      const DetectorDescription& detector = *description->detector;
      row.insert(row.end(), {Scaled(detector.num_parameters, ""), "-", "-", detector.device});
      continue;
    }
    row.push_back(Scaled(description->num_parameters, ""));
    row.push_back(Scaled(description->state_bytes, "B"));
    row.push_back(absl::StrCat(description->num_slots));
    row.push_back(description->device);
  }
  if (json) {
    Print(Json({{"models", list}}).dump(2) + "\n");
  } else {
    PrintTable(rows);
  }
  return absl::OkStatus();
}

ExitCode Run(const Command& command, const std::string& name) {
  absl::StatusOr<std::unique_ptr<Client>> client = command.Connect();
  if (!client.ok()) return Report(client.status());
  if (name.empty() && command.model.empty()) return Report(List(**client, command.json));
  absl::StatusOr<ModelDescription> model = (*client)->DescribeModel(name);
  if (!model.ok()) return Report(model.status());
  if (command.json) {
    Print(ToJson(*model).dump(2) + "\n");
  } else {
    PrintDescription(*model);
  }
  return kExitOk;
}

}  // namespace

void AddModelsCommand(CLI::App& app, Command& command) {
  auto name = std::make_shared<std::string>();  // owned by the callback below
  CLI::App* const models =
      app.add_subcommand("models", "List the server's models, or describe one");
  models->footer(R"(
Examples:
  ela models
  ela models ela-7m
  ela models ela-7m --json)");
  models->add_option("name", *name, "Model to describe (default: list all)");
  models->callback([&command, name] { command.exit_code = Run(command, *name); });
}

}  // namespace ela::client
