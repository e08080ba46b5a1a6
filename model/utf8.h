// UTF-8 one character at a time, with the replacement rule that everybody shares (Unicode 3.9,
// "maximal subpart"; WHATWG; Rust's from_utf8_lossy): each longest start of a character that cannot
// continue becomes one U+FFFD.
#ifndef ELA_MODEL_UTF8_H_
#define ELA_MODEL_UTF8_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace ela {

struct Utf8Char {
  enum Kind { kWhole, kBroken, kUnfinished };
  Kind kind;            // kUnfinished: all bytes that are left, the start of a character
  size_t length;        // bytes, at least 1
  uint32_t code_point;  // of a whole one
};

// The first character of `bytes`. REQUIRES: not empty.
Utf8Char FirstChar(absl::string_view bytes);

bool IsValidUtf8(absl::string_view bytes);

// Appends what can be decided to `out` and returns how many bytes that took: all but at most 3.
size_t AppendWholeUtf8(absl::string_view bytes, std::string* out);

// All of it; an unfinished end becomes U+FFFD too.
std::string ReplaceBrokenUtf8(absl::string_view bytes);

void AppendUtf8(uint32_t code_point, std::string* out);

bool IsWhiteSpace(uint32_t code_point);  // Unicode's property White_Space

}  // namespace ela

#endif  // ELA_MODEL_UTF8_H_
