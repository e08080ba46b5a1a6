// Added tokens: texts that are one token wherever they stand, found before anything else is done to
// a text.
#ifndef ELA_MODEL_TOKENIZER_ADDED_H_
#define ELA_MODEL_TOKENIZER_ADDED_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/tokenizer_regex.h"
#include "model/types.h"

namespace ela {

struct AddedToken {
  TokenId id = 0;
  std::string content;
  bool special = false;
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false;       // takes the white space on its left with it
  bool rstrip = false;
  bool normalized = true;  // looked for after the normalizer instead of before
};

// Finds the leftmost of the tokens, of those that begin there the longest. Immutable, thread-safe.
class AddedTokenFinder {
 public:
  static absl::StatusOr<AddedTokenFinder> Create(std::vector<AddedToken> tokens);

  // Calls `piece` for each part of `text` in order: with a token, or null for text between tokens.
  // Special tokens are text like any other when `find_special` is false. REQUIRES: valid UTF-8.
  void Cut(absl::string_view text, bool find_special,
           absl::FunctionRef<void(absl::string_view part, const AddedToken* token)> piece) const;

 private:
  explicit AddedTokenFinder(Regex word_character) : word_character_(std::move(word_character)) {}
  const AddedToken* LongestAt(absl::string_view text) const;
  bool StandsAlone(absl::string_view text, size_t begin, size_t end) const;
  bool IsWordCharacter(absl::string_view character) const;

  Regex word_character_;
  // By first byte, longest first.
  std::vector<AddedToken> tokens_[256];
};

}  // namespace ela

#endif  // ELA_MODEL_TOKENIZER_ADDED_H_
