// Byte-level BPE as Hugging Face's tokenizer.json describes it. Same ids as their `tokenizers`
// library for every text, valid UTF-8 or not (invalid bytes are replaced by U+FFFD before, as their
// Python binding does).
#ifndef ELA_MODEL_TOKENIZER_H_
#define ELA_MODEL_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/types.h"

namespace ela {

// Immutable after Load, thread-safe.
class Tokenizer {
 public:
  // Reads tokenizer.json and, where present, tokenizer_config.json of a checkpoint directory.
  // Errors: kNotFound; kInvalidArgument names what is not understood (an unknown normalizer,
  // pre-tokenizer, model type or post-processor is an error, never ignored).
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Load(const std::string& directory);
  virtual ~Tokenizer() = default;

  // Added (special) tokens in `text` become their ids when parse_special is true, else are plain
  // text. BOS is put in front only where tokenizer_config.json says add_bos_token. Cost: linear in
  // the text.
  virtual std::vector<TokenId> Encode(absl::string_view text, bool parse_special = true) const = 0;

  // Bytes of one token, which need not be whole UTF-8; added tokens give their text. REQUIRES: 0 <=
  // id < vocab_size().
  virtual absl::string_view Bytes(TokenId id) const = 0;
  virtual bool IsSpecial(TokenId id) const = 0;

  // All bytes in order; broken UTF-8 becomes U+FFFD.
  virtual std::string Decode(absl::Span<const TokenId> ids, bool skip_special = true) const = 0;

  // One more than the largest id. A checkpoint whose tokenizer has more than its model's vocab_size
  // is broken: whoever loads both compares them.
  virtual int64_t vocab_size() const = 0;
  virtual std::optional<TokenId> TokenToId(absl::string_view token) const = 0;
  virtual const std::string& chat_template() const = 0;  // empty: a base model
};

// Turns a stream of tokens into pieces of whole UTF-8. Thread-compatible.
class Detokenizer {
 public:
  explicit Detokenizer(const Tokenizer& tokenizer, bool skip_special = true)
      : tokenizer_(tokenizer), skip_special_(skip_special) {}

  // The text that `id` completes; may be empty while a character is unfinished. Broken sequences
  // give U+FFFD as soon as they cannot become valid.
  std::string Push(TokenId id);
  // What is left at the end: U+FFFD for an unfinished character.
  std::string Finish();

 private:
  const Tokenizer& tokenizer_;
  const bool skip_special_;
  std::string pending_;  // at most 3 bytes: the start of a character
};

}  // namespace ela

#endif  // ELA_MODEL_TOKENIZER_H_
