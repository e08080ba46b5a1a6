#include "model/json_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <unordered_set>
#include <vector>

#include "absl/strings/str_cat.h"

namespace ela {
namespace {

constexpr int kMaxDepth = 64;

}  // namespace

absl::StatusOr<nlohmann::json> ParseJson(absl::string_view text, absl::string_view origin) {
  using nlohmann::json;
  std::vector<std::unordered_set<std::string>>
      keys;  // of the objects that are open, outermost first
  std::string refused;
  auto watch = [&](int depth, json::parse_event_t event, json& value) {
    if (depth > kMaxDepth) {
      if (refused.empty()) refused = absl::StrCat("nested deeper than ", kMaxDepth, " levels");
      return false;
    }
    switch (event) {
      case json::parse_event_t::object_start:
        keys.emplace_back();
        break;
      case json::parse_event_t::object_end:
        if (!keys.empty()) keys.pop_back();
        break;
      case json::parse_event_t::key:
        if (!keys.empty() && !keys.back().insert(value.get_ref<std::string&>()).second &&
            refused.empty()) {
          refused = absl::StrCat("the key \"", value.get_ref<std::string&>(), "\" stands twice");
        }
        break;
      default:
        break;
    }
    return true;
  };
  try {
    json parsed = json::parse(text.begin(), text.end(), watch);
    if (!refused.empty()) return absl::InvalidArgumentError(absl::StrCat(origin, ": ", refused));
    return parsed;
  } catch (const json::exception& error) {
    absl::string_view what = error.what();
    what = what.substr(what.find("] ") == absl::string_view::npos ? 0 : what.find("] ") + 2);
    return absl::InvalidArgumentError(absl::StrCat(origin, ": not JSON: ", what));
  }
}

absl::StatusOr<std::string> ReadTextFile(const std::string& path, int64_t max_bytes) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) {
    const std::string message = absl::StrCat(path, ": ", std::strerror(errno));
    if (errno == ENOENT || errno == ENOTDIR) return absl::NotFoundError(message);
    return absl::UnavailableError(message);
  }
  absl::StatusOr<std::string> result;
  struct stat facts;
  if (fstat(file, &facts) != 0 || !S_ISREG(facts.st_mode)) {
    result = absl::InvalidArgumentError(absl::StrCat(path, ": not a regular file"));
  } else if (facts.st_size > max_bytes) {
    result = absl::InvalidArgumentError(
        absl::StrCat(path, " has ", facts.st_size, " bytes, at most ", max_bytes, " are read"));
  } else {
    std::string text(static_cast<size_t>(facts.st_size), '\0');
    size_t done = 0;
    ssize_t got = 0;
    while (done < text.size() &&
           ((got = read(file, &text[done], text.size() - done)) > 0 || errno == EINTR)) {
      if (got > 0) done += static_cast<size_t>(got);
      if (got == 0) break;
    }
    if (got < 0) {
      result = absl::UnavailableError(absl::StrCat(path, ": ", std::strerror(errno)));
    } else {
      text.resize(done);
      result = std::move(text);
    }
  }
  close(file);
  return result;
}

absl::string_view TypeName(const nlohmann::json& value) {
  switch (value.type()) {
    case nlohmann::json::value_t::null:
      return "null";
    case nlohmann::json::value_t::object:
      return "an object";
    case nlohmann::json::value_t::array:
      return "a list";
    case nlohmann::json::value_t::string:
      return "a string";
    case nlohmann::json::value_t::boolean:
      return "a boolean";
    default:
      return "a number";
  }
}

}  // namespace ela
