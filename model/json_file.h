// JSON from files that strangers wrote: one strict way in, without exceptions. Only sources that
// link nlohmann_json include this header.
#ifndef ELA_MODEL_JSON_FILE_H_
#define ELA_MODEL_JSON_FILE_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace ela {

// Parses `text`; `origin` (a path) opens every message. Stricter than RFC 8259: a key that stands
// twice in one object, nesting deeper than 64, invalid UTF-8 and lone surrogates are refused.
// Errors: kInvalidArgument.
absl::StatusOr<nlohmann::json> ParseJson(absl::string_view text, absl::string_view origin);

// The bytes of a regular file. Errors: kNotFound, kInvalidArgument (a directory, or over
// `max_bytes`), kUnavailable (cannot be read).
absl::StatusOr<std::string> ReadTextFile(const std::string& path, int64_t max_bytes);

// "a number", "an object", …: how messages name what stood where something else was expected.
absl::string_view TypeName(const nlohmann::json& value);

}  // namespace ela

#endif  // ELA_MODEL_JSON_FILE_H_
