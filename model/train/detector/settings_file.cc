#include "model/train/detector/settings_file.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "model/json_file.h"
#include "model/status_macros.h"

namespace ela::train {

absl::StatusOr<std::vector<std::string>> WithSettingsFile(std::vector<std::string> arguments) {
  if (arguments.size() < 2 || arguments[1] != "detector") return arguments;
  std::string path;
  for (size_t i = 2; i < arguments.size(); ++i) {
    if (arguments[i] == "--config" && i + 1 < arguments.size()) path = arguments[i + 1];
    if (absl::StartsWith(arguments[i], "--config=")) path = arguments[i].substr(9);
  }
  if (path.empty()) return arguments;
  ELA_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path, 1 << 20));
  ELA_ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(text, path));
  if (!json.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": must be an object, not ", TypeName(json)));
  }
  std::vector<std::string> all = {arguments[0], arguments[1]};
  for (const auto& [key, value] : json.items()) {
    const std::string flag = absl::StrCat("--", absl::StrReplaceAll(key, {{"_", "-"}}));
    if (value.is_boolean()) {
      if (value.get<bool>()) all.push_back(flag);
    } else {
      all.push_back(
          absl::StrCat(flag, "=", value.is_string() ? value.get<std::string>() : value.dump()));
    }
  }
  all.insert(all.end(), arguments.begin() + 2, arguments.end());
  return all;
}

}  // namespace ela::train
