// Reads one JSON object key by key into typed fields and collects everything that is wrong with it,
// so that a person sees all problems of a file at once.
#ifndef ELA_MODEL_JSON_OBJECT_H_
#define ELA_MODEL_JSON_OBJECT_H_

#include <cmath>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "model/json_file.h"
#include "model/status_macros.h"

namespace ela {

// A word of a file and the enumerated value it stands for.
template <typename T>
struct Word {
  absl::string_view name;
  T value;
};

// The word of a value. REQUIRES: there is one.
template <typename T, size_t N>
absl::string_view NameOf(const Word<T> (&words)[N], T value) {
  for (const Word<T>& word : words) {
    if (word.value == value) return word.name;
  }
  ELA_CHECK(false, "an enumerated value without a word");
  return {};
}

// Reads the keys of one JSON object into typed fields and collects what is wrong with them. A key
// that was never asked for is unknown. A field whose key is absent or wrong keeps its value.
// `path` prefixes the keys of a nested object: "memory_lobe.". Borrows all three.
// Thread-compatible.
class JsonObject {
 public:
  JsonObject(const nlohmann::json& object, std::string path, std::vector<std::string>* problems)
      : object_(object), path_(std::move(path)), problems_(problems) {}

  void Problem(absl::string_view key, absl::string_view sentence) {
    problems_->push_back(absl::StrCat(path_, key, " ", sentence));
  }

  // The value of an optional key, or null when it is absent. A JSON null is a value.
  const nlohmann::json* Find(absl::string_view key) {
    known_.insert(std::string(key));
    auto it = object_.find(std::string(key));
    return it == object_.end() ? nullptr : &*it;
  }

  // An integer within [min, max]; false when there was a problem.
  template <typename T>
  bool Integer(absl::string_view key, bool required, int64_t min, int64_t max, T* field) {
    const nlohmann::json* value = Find(key);
    if (value == nullptr) {
      if (required) Problem(key, "is missing");
      return !required;
    }
    int64_t number = 0;
    if (!ToInteger(key, *value, min, max, &number)) return false;
    *field = static_cast<T>(number);
    return true;
  }

  // The same for a value at hand, one element of a list for example; `key` names it in messages.
  bool ToInteger(absl::string_view key, const nlohmann::json& value, int64_t min, int64_t max,
                 int64_t* out) {
    if (!value.is_number_integer()) {
      Problem(key, absl::StrCat("must be an integer, not ", Shown(value)));
      return false;
    }
    const bool huge =
        value.is_number_unsigned() &&
        value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    if (huge || value.get<int64_t>() < min || value.get<int64_t>() > max) {
      Problem(key, absl::StrCat("is ", value.dump(), ", allowed are ", min, " to ", max));
      return false;
    }
    *out = value.get<int64_t>();
    return true;
  }

  // A finite number above 0 that stays finite and above 0 as a T.
  template <typename T>
  void Positive(absl::string_view key, T* field) {
    const nlohmann::json* value = Find(key);
    if (value == nullptr) return;
    if (!value->is_number()) {
      Problem(key, absl::StrCat("must be a number, not ", Shown(*value)));
      return;
    }
    const T number = static_cast<T>(value->get<double>());
    if (!std::isfinite(number) || !(number > 0)) {
      Problem(key, absl::StrCat("is ", value->dump(), ", it must be finite and above 0"));
      return;
    }
    *field = number;
  }

  void Boolean(absl::string_view key, bool* field) {
    const nlohmann::json* value = Find(key);
    if (value == nullptr) return;
    if (!value->is_boolean()) {
      Problem(key, absl::StrCat("must be true or false, not ", Shown(*value)));
      return;
    }
    *field = value->get<bool>();
  }

  // One of a fixed set of words; false when it is another.
  template <typename T, size_t N>
  bool OneOf(absl::string_view key, const Word<T> (&words)[N], T* field) {
    const nlohmann::json* value = Find(key);
    if (value == nullptr) return true;
    for (const Word<T>& word : words) {
      if (value->is_string() && value->get_ref<const std::string&>() == word.name) {
        *field = word.value;
        return true;
      }
    }
    auto name = [](std::string* out, const Word<T>& word) { absl::StrAppend(out, word.name); };
    Problem(key,
            absl::StrCat("is ", Shown(*value), ", known are ", absl::StrJoin(words, ", ", name)));
    return false;
  }

  // Call last.
  void ReportUnknownKeys() {
    for (const auto& [key, value] : object_.items()) {
      if (known_.count(key) == 0) Problem(key, "is not a known key");
    }
  }

 private:
  static std::string Shown(const nlohmann::json& value) {
    return value.is_structured() ? std::string(TypeName(value)) : value.dump();
  }

  const nlohmann::json& object_;
  const std::string path_;
  std::set<std::string> known_;
  std::vector<std::string>* problems_;
};

}  // namespace ela

#endif  // ELA_MODEL_JSON_OBJECT_H_
