// Regular expressions of tokenizer.json. They are written for Oniguruma (Ruby's dialect) and run
// here on PCRE2: what both read alike is passed on, what means the same under another name is
// translated, and everything else is refused, so that no expression silently splits text elsewhere.
#ifndef ELA_MODEL_TOKENIZER_REGEX_H_
#define ELA_MODEL_TOKENIZER_REGEX_H_

#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace ela {

// Immutable, thread-safe.
class Regex {
 public:
  // Errors: kInvalidArgument names the construct that is not supported.
  static absl::StatusOr<Regex> FromOniguruma(absl::string_view pattern);
  // Matches exactly this text.
  static absl::StatusOr<Regex> Literal(absl::string_view text);
  // One of our own, in PCRE2's dialect.
  static absl::StatusOr<Regex> FromPcre2(absl::string_view pattern);

  // Cuts `text` into the matches and what lies between, in order, all bytes exactly once (an empty
  // match is a piece too). REQUIRES: valid UTF-8.
  void Cut(absl::string_view text,
           absl::FunctionRef<void(size_t begin, size_t end, bool is_match)> piece) const;

 private:
  struct Code;  // pcre2_code
  explicit Regex(std::shared_ptr<const Code> code) : code_(std::move(code)) {}
  static absl::StatusOr<Regex> Compile(absl::string_view pattern, unsigned options);
  std::shared_ptr<const Code> code_;  // shared: copies of a Regex are one immutable program
};

// The same expression in PCRE2's dialect; for tests.
absl::StatusOr<std::string> OnigurumaToPcre2(absl::string_view pattern);

}  // namespace ela

#endif  // ELA_MODEL_TOKENIZER_REGEX_H_
