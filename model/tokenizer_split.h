// How a text is cut into the words that byte-pair encoding then works on one by one: the
// "pre_tokenizer" of tokenizer.json.
#ifndef ELA_MODEL_TOKENIZER_SPLIT_H_
#define ELA_MODEL_TOKENIZER_SPLIT_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/tokenizer_regex.h"

namespace ela {

// Immutable, thread-safe.
class PreTokenizer {
 public:
  // Knows ByteLevel, Split, Digits and Sequence of these; ByteLevel must be there, once and last,
  // for that is what makes an encoding byte-level. Errors: kInvalidArgument names what is not
  // known.
  static absl::StatusOr<PreTokenizer> FromJson(const nlohmann::json& json);

  // Calls `word` for each word of `text`, in order; views are valid during the call.
  // REQUIRES: valid UTF-8.
  void Split(absl::string_view text, absl::FunctionRef<void(absl::string_view word)> word) const;

 private:
  enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
  struct Step {
    Regex regex;
    Behavior behavior;
    bool invert = false;            // what lies between the matches counts as the match
    bool add_prefix_space = false;  // a space in front of pieces without one, before matching
  };

  absl::Status Add(const nlohmann::json& json);
  absl::Status AddSplit(const nlohmann::json& json);
  absl::Status AddByteLevel(const nlohmann::json& json);
  void Run(size_t step, absl::string_view text,
           absl::FunctionRef<void(absl::string_view)> word) const;

  std::vector<Step> steps_;
  bool byte_level_ = false;       // while reading: nothing may follow
  bool trailing_prefix_ = false;  // ByteLevel without expression but with add_prefix_space
};

}  // namespace ela

#endif  // ELA_MODEL_TOKENIZER_SPLIT_H_
