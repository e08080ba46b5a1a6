#include "server/config.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/json_file.h"
#include "model/status_macros.h"

namespace ela {
namespace {

using nlohmann::json;

constexpr double kMaxInt32 = 2147483647;
constexpr int64_t kMaxConfigBytes = 1 << 20;

constexpr Setting kSettings[] = {
    {"listen", &ServerConfig::listen, 0, 0,
     "address of the gRPC server, host:port or unix:path; port 0 takes a free one"},
    {"metrics_listen", &ServerConfig::metrics_listen, 0, 0,
     "address of the Prometheus endpoint /metrics; port 0 takes a free one; empty: none"},
    {"ready_file", &ServerConfig::ready_file, 0, 0,
     "file that gets the ready line once the server serves; empty: none"},
    {"log_level", &ServerConfig::log_level, 0, 0, "debug, info, warn or error"},
    {"slots", &ServerConfig::slots, 1, 1 << 20,
     "sequences that one model runs at once; each takes the model's state bytes"},
    {"threads", &ServerConfig::threads, 0, 1024,
     "threads that compute for one model; 0: one per core"},
    {"max_queue", &ServerConfig::max_queue, 1, 1 << 24, "requests that may wait for a slot"},
    {"max_queue_tokens", &ServerConfig::max_queue_tokens, 1, 1e15,
     "prompt tokens that may wait for a slot"},
    {"max_prompt_tokens", &ServerConfig::max_prompt_tokens, 1, 1e15, "tokens of one prompt"},
    {"max_new_tokens", &ServerConfig::max_new_tokens, 1, 1e15,
     "tokens that one request may ask for"},
    {"max_logit_tokens", &ServerConfig::max_logit_tokens, 1, 1 << 20,
     "tokens of a Score that asks for raw logits"},
    {"max_message_bytes", &ServerConfig::max_message_bytes, 1024, kMaxInt32,
     "bytes of one received message"},
    {"max_streams", &ServerConfig::max_streams, 1, kMaxInt32, "calls at once on one connection"},
    {"stream_buffer_tokens", &ServerConfig::stream_buffer_tokens, 1, 1 << 20,
     "tokens kept for a slow reader before its sequence pauses"},
    {"max_images", &ServerConfig::max_images, 1, 4096, "pictures of one Detect"},
    {"max_image_bytes", &ServerConfig::max_image_bytes, 1, kMaxInt32,
     "bytes of one picture, compressed or raw"},
    {"max_image_side", &ServerConfig::max_image_side, 1, 65535, "pixels of a picture's side"},
    {"max_image_pixels", &ServerConfig::max_image_pixels, 1, kMaxInt32,
     "pixels of one picture, and of all that are being decoded at once"},
    {"max_request_pixels", &ServerConfig::max_request_pixels, 1, 1e15,
     "pixels of all pictures of one Detect"},
    {"max_queued_images", &ServerConfig::max_queued_images, 1, 1 << 20,
     "pictures of one detector that may wait or be under way"},
    {"max_queued_image_bytes", &ServerConfig::max_queued_image_bytes, 1, 1e15, "bytes of those"},
    {"batch_wait_seconds", &ServerConfig::batch_wait_seconds, 0, 1,
     "time that a picture waits for its batch to fill, with detectors that want batches"},
    {"step_tokens", &ServerConfig::step_tokens, 1, 1 << 16,
     "tokens of one step over all sequences"},
    {"prefill_chunk", &ServerConfig::prefill_chunk, 1, 1 << 20,
     "prompt tokens of one sequence in one step; multiples of 16 are fastest"},
    {"drain_seconds", &ServerConfig::drain_seconds, 0, 86400,
     "time that running streams get to finish after SIGTERM"},
    {"slow_reader_seconds", &ServerConfig::slow_reader_seconds, 0.001, 86400,
     "time that a paused sequence waits for its reader before it ends"},
};

// The number of single-character edits between two keys.
size_t EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({substituted, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

std::string UnknownKey(absl::string_view path, absl::string_view key,
                       const std::vector<absl::string_view>& known) {
  auto nearest = std::min_element(known.begin(), known.end(), [key](auto a, auto b) {
    return EditDistance(key, a) < EditDistance(key, b);
  });
  return absl::StrCat(path, key, " is not a known key; the nearest is ", path, *nearest);
}

std::string RangeProblem(const Setting& setting, absl::string_view value) {
  // Whole limits with all their digits: StrCat writes a double with six.
  const auto shown = [](double limit) {
    return limit == std::floor(limit) ? absl::StrCat(static_cast<int64_t>(limit))
                                      : absl::StrCat(limit);
  };
  return absl::StrCat(setting.key, " is ", value, ", allowed are ", shown(setting.min), " to ",
                      shown(setting.max));
}

// Sets a number that is already one; empty: it was in range.
std::string SetNumber(const Setting& setting, double value, absl::string_view shown,
                      ServerConfig* config) {
  if (!std::isfinite(value) || value < setting.min || value > setting.max) {
    return RangeProblem(setting, shown);
  }
  if (auto* integer = std::get_if<int64_t ServerConfig::*>(&setting.field)) {
    if (value != std::floor(value)) {
      return absl::StrCat(setting.key, " is ", shown, ", it must be an integer");
    }
    config->*(*integer) = static_cast<int64_t>(value);
  } else {
    config->*std::get<double ServerConfig::*>(setting.field) = value;
  }
  return "";
}

std::string SetFromJson(const Setting& setting, const json& value, ServerConfig* config) {
  if (auto* text = std::get_if<std::string ServerConfig::*>(&setting.field)) {
    if (!value.is_string()) {
      return absl::StrCat(setting.key, " must be a string, not ", TypeName(value));
    }
    config->*(*text) = value.get<std::string>();
    return "";
  }
  if (!value.is_number()) {
    return absl::StrCat(setting.key, " must be a number, not ", TypeName(value));
  }
  return SetNumber(setting, value.get<double>(), value.dump(), config);
}

using Problems = std::vector<std::string>;

// The elements of a list of objects, each with its path ("models[0]."); anything else is a problem.
std::vector<std::pair<std::string, const json*>> Objects(absl::string_view key, const json& list,
                                                         Problems* problems) {
  std::vector<std::pair<std::string, const json*>> objects;
  if (!list.is_array()) {
    problems->push_back(absl::StrCat(key, " must be a list, not ", TypeName(list)));
    return objects;
  }
  for (const json& element : list) {
    const std::string path = absl::StrCat(key, "[", &element - &list[0], "]");
    if (element.is_object()) {
      objects.emplace_back(path + ".", &element);
    } else {
      problems->push_back(absl::StrCat(path, " must be an object, not ", TypeName(element)));
    }
  }
  return objects;
}

void ReadText(const std::string& path, const char* key, const json& value, std::string* field,
              Problems* problems) {
  if (value.is_string() && !value.get_ref<const std::string&>().empty()) {
    *field = value.get<std::string>();
  } else {
    problems->push_back(absl::StrCat(path, key, " must be a string that is not empty"));
  }
}

void ReadModels(const json& list, ServerConfig* config, Problems* problems) {
  config->models.clear();
  for (const auto& [path, object] : Objects("models", list, problems)) {
    ModelOptions model;
    for (const auto& [key, value] : object->items()) {
      if (key == "name") {
        ReadText(path, "name", value, &model.name, problems);
      } else if (key == "directory") {
        ReadText(path, "directory", value, &model.directory, problems);
      } else if (key == "slots") {
        if (value.is_number_integer() && value >= 1 && value <= (1 << 20)) {
          model.slots = value.get<int64_t>();
        } else {
          problems->push_back(
              absl::StrCat(path, "slots is ", value.dump(), ", allowed are 1 to ", 1 << 20));
        }
      } else {
        problems->push_back(UnknownKey(path, key, {"name", "directory", "slots"}));
      }
    }
    if (!object->contains("directory")) problems->push_back(path + "directory is missing");
    config->models.push_back(std::move(model));
  }
}

void ReadTenants(const json& list, ServerConfig* config, Problems* problems) {
  config->tenants.clear();
  for (const auto& [path, object] : Objects("tenants", list, problems)) {
    TenantOptions tenant;
    for (const auto& [key, value] : object->items()) {
      if (key == "name") {
        ReadText(path, "name", value, &tenant.name, problems);
      } else if (key == "weight") {
        if (value.is_number() && value >= 0.001 && value <= 1000) {
          tenant.weight = value.get<double>();
        } else {
          problems->push_back(
              absl::StrCat(path, "weight is ", value.dump(), ", allowed are 0.001 to 1000"));
        }
      } else {
        problems->push_back(UnknownKey(path, key, {"name", "weight"}));
      }
    }
    if (!object->contains("name")) problems->push_back(path + "name is missing");
    config->tenants.push_back(std::move(tenant));
  }
}

absl::Status AllOf(const Problems& problems) {
  if (problems.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrJoin(problems, "\n"));
}

// gRPC takes a port that is absent as 443 and one over 65535 modulo 65536. Empty: it is well
// formed.
std::string AddressProblem(const char* key, absl::string_view address) {
  if (absl::StartsWith(address, "unix:")) {
    if (address.size() > 5 && address.find('\0') == address.npos) return "";
    return absl::StrCat(key, " is \"", address, "\", a path must follow unix:");
  }
  const size_t colon = address.rfind(':');
  const absl::string_view port = colon == address.npos ? "" : address.substr(colon + 1);
  const bool digits = std::all_of(port.begin(), port.end(), absl::ascii_isdigit);
  int number = 0;
  if (digits && absl::SimpleAtoi(port, &number) && number <= 65535) return "";
  return absl::StrCat(key, " is \"", address, "\", it must end in a port, :0 to :65535");
}

std::string BaseName(const std::string& directory) {
  std::filesystem::path path = std::filesystem::path(directory).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();  // "models/ela/"
  return path.filename().string();
}

}  // namespace

absl::Span<const Setting> Settings() { return kSettings; }

absl::Status SetFromText(const Setting& setting, absl::string_view text, ServerConfig* config) {
  if (auto* field = std::get_if<std::string ServerConfig::*>(&setting.field)) {
    config->*(*field) = std::string(text);
    return absl::OkStatus();
  }
  double value = 0;
  if (!absl::SimpleAtod(text, &value)) {
    return absl::InvalidArgumentError(
        absl::StrCat(setting.key, " must be a number, not \"", text, "\""));
  }
  const std::string problem = SetNumber(setting, value, text, config);
  return problem.empty() ? absl::OkStatus() : absl::InvalidArgumentError(problem);
}

absl::Status ApplyConfigText(absl::string_view text, absl::string_view origin,
                             ServerConfig* config) {
  ELA_ASSIGN_OR_RETURN(const json file, ParseJson(text, origin));
  if (!file.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(origin, ": must be an object, not ", TypeName(file)));
  }
  Problems problems;
  for (const auto& [key, value] : file.items()) {
    const Setting* setting =
        std::find_if(std::begin(kSettings), std::end(kSettings),
                     [&key = key](const Setting& candidate) { return candidate.key == key; });
    if (setting != std::end(kSettings)) {
      std::string problem = SetFromJson(*setting, value, config);
      if (!problem.empty()) problems.push_back(std::move(problem));
    } else if (key == "models") {
      ReadModels(value, config, &problems);
    } else if (key == "tenants") {
      ReadTenants(value, config, &problems);
    } else {
      std::vector<absl::string_view> known = {"models", "tenants"};
      for (const Setting& candidate : kSettings) known.push_back(candidate.key);
      problems.push_back(UnknownKey("", key, known));
    }
  }
  for (std::string& problem : problems) problem = absl::StrCat(origin, ": ", problem);
  return AllOf(problems);
}

absl::Status ApplyConfigFile(const std::string& path, ServerConfig* config) {
  ELA_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path, kMaxConfigBytes));
  return ApplyConfigText(text, path, config);
}

absl::Status CompleteConfig(ServerConfig* config) {
  Problems problems;
  if (config->models.empty()) {
    problems.push_back("no model is named: give --model DIR, or \"models\" in the config file");
  }
  std::set<std::string> names;
  for (ModelOptions& model : config->models) {
    if (model.slots == 0) model.slots = config->slots;
    if (model.name.empty()) model.name = BaseName(model.directory);
    if (!names.insert(model.name).second) {
      problems.push_back(absl::StrCat("two models are named \"", model.name, "\""));
    }
  }
  names.clear();
  for (const TenantOptions& tenant : config->tenants) {
    if (!names.insert(tenant.name).second) {
      problems.push_back(absl::StrCat("two tenants are named \"", tenant.name, "\""));
    }
  }
  if (config->listen.empty()) {
    problems.push_back("listen is empty");
  } else if (std::string problem = AddressProblem("listen", config->listen); !problem.empty()) {
    problems.push_back(std::move(problem));
  }
  if (config->prefill_chunk > config->step_tokens) {
    problems.push_back(absl::StrCat("prefill_chunk is ", config->prefill_chunk,
                                    ", it must fit in a step: step_tokens is ",
                                    config->step_tokens));
  }
  if (config->max_images > config->max_queued_images) {
    problems.push_back(absl::StrCat("max_images is ", config->max_images,
                                    ", all must find room at once: max_queued_images is ",
                                    config->max_queued_images));
  }
  if (config->log_level != "debug" && config->log_level != "info" && config->log_level != "warn" &&
      config->log_level != "error") {
    problems.push_back(absl::StrCat("log_level is \"", config->log_level,
                                    "\", known are debug, info, warn, error"));
  }
  return AllOf(problems);
}

std::string ToJson(const ServerConfig& config) {
  nlohmann::ordered_json file;
  for (const Setting& setting : kSettings) {
    std::visit([&](auto field) { file[std::string(setting.key)] = config.*field; }, setting.field);
  }
  file["models"] = json::array();
  for (const ModelOptions& model : config.models) {
    nlohmann::ordered_json object = {{"name", model.name}, {"directory", model.directory}};
    if (model.slots > 0) object["slots"] = model.slots;
    file["models"].push_back(std::move(object));
  }
  file["tenants"] = json::array();
  for (const TenantOptions& tenant : config.tenants) {
    file["tenants"].push_back({{"name", tenant.name}, {"weight", tenant.weight}});
  }
  return file.dump(2, ' ', false, json::error_handler_t::replace);
}

std::string ToLogLine(const ServerConfig& config) {
  std::string line;
  for (const Setting& setting : kSettings) {
    std::visit([&](auto field) { absl::StrAppend(&line, setting.key, "=", config.*field, " "); },
               setting.field);
  }
  for (const ModelOptions& model : config.models) {
    absl::StrAppend(&line, "model=", model.name, ":", model.directory, ":", model.slots, " ");
  }
  for (const TenantOptions& tenant : config.tenants) {
    absl::StrAppend(&line, "tenant=", tenant.name, ":", tenant.weight, " ");
  }
  line.pop_back();
  return line;
}

}  // namespace ela
