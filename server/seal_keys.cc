#include "server/seal_keys.h"

#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "model/json_file.h"
#include "model/status_macros.h"

namespace ela {
namespace {

constexpr int64_t kMaxFileBytes = 1 << 20;
constexpr size_t kMaxIdBytes = 16;

bool IsId(absl::string_view id) {
  return !id.empty() && id.size() <= kMaxIdBytes && std::all_of(id.begin(), id.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '-' || c == '_';
  });
}

bool IsKey(absl::string_view digits) {
  return digits.size() == 64 && std::all_of(digits.begin(), digits.end(), [](char c) {
           return absl::ascii_isxdigit(static_cast<unsigned char>(c));
         });
}

}  // namespace

absl::StatusOr<SealKeys> SealKeys::Load(const std::string& path) {
  struct stat facts;
  if (stat(path.c_str(), &facts) == 0 && (facts.st_mode & 07) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " holds keys, and everybody may read or change it: chmod o= ", path));
  }
  ELA_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path, kMaxFileBytes));
  return Parse(text, path);
}

absl::StatusOr<SealKeys> SealKeys::Parse(absl::string_view text, absl::string_view origin) {
  SealKeys keys;
  int number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    line = line.substr(0, line.find('#'));
    const std::vector<absl::string_view> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
    if (words.empty()) continue;
    const auto problem = [&](absl::string_view what) {
      return absl::InvalidArgumentError(absl::StrCat(origin, " line ", number, ": ", what));
    };
    if (words.size() != 2) return problem("a key is an id and 64 hexadecimal digits");
    if (!IsId(words[0])) return problem("an id has 1 to 16 letters, digits, '.', '-' or '_'");
    if (!IsKey(words[1])) {
      return problem(absl::StrCat("key ", words[0], " is not 64 hexadecimal digits but ",
                                  words[1].size(), " characters"));
    }
    if (keys.Find(words[0]) != nullptr) return problem(absl::StrCat(words[0], " is here twice"));
    SealKey key;
    key.id = std::string(words[0]);
    const std::string bytes = absl::HexStringToBytes(words[1]);
    std::copy(bytes.begin(), bytes.end(), key.bytes.begin());
    keys.keys_.push_back(std::move(key));
  }
  if (keys.keys_.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(origin, " holds no key"));
  }
  return keys;
}

const SealKey* SealKeys::Find(absl::string_view id) const {
  const auto found =
      std::find_if(keys_.begin(), keys_.end(), [id](const SealKey& key) { return key.id == id; });
  return found == keys_.end() ? nullptr : &*found;
}

std::string SealKeys::Ids() const {
  return absl::StrJoin(keys_, ", ",
                       [](std::string* out, const SealKey& key) { out->append(key.id); });
}

}  // namespace ela
