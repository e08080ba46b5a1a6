#ifndef ELA_TESTS_SERVER_BYTE_TOKENIZER_H_
#define ELA_TESTS_SERVER_BYTE_TOKENIZER_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model/tokenizer.h"

namespace ela {

// A tokenizer that a test can compute in its head: id = byte, then an end-of-text token, then a few
// pieces of several bytes, one of them half a character. Encode knows bytes and the end of text.
class ByteTokenizer final : public Tokenizer {
 public:
  static constexpr TokenId kEndOfText = 256;
  static constexpr TokenId kHello = 257;     // "hello"
  static constexpr TokenId kStopMe = 258;    // "x\n\ny": a stop string inside one token
  static constexpr TokenId kHalfEuro = 259;  // E2 82, the first two of three bytes
  static constexpr TokenId kRestEuro = 260;  // AC "!"
  static constexpr int64_t kVocabSize = 261;

  ByteTokenizer() {
    for (int byte = 0; byte < 256; ++byte)
      pieces_.push_back(std::string(1, static_cast<char>(byte)));
    for (const char* piece : {"<|end|>", "hello", "x\n\ny", "\xE2\x82", "\xAC!"}) {
      pieces_.push_back(piece);
    }
  }

  std::vector<TokenId> Encode(absl::string_view text, bool parse_special) const override {
    std::vector<TokenId> ids;
    const absl::string_view end = pieces_[kEndOfText];
    while (!text.empty()) {
      if (parse_special && text.substr(0, end.size()) == end) {
        ids.push_back(kEndOfText);
        text.remove_prefix(end.size());
      } else {
        ids.push_back(static_cast<unsigned char>(text[0]));
        text.remove_prefix(1);
      }
    }
    return ids;
  }
  absl::string_view Bytes(TokenId id) const override { return pieces_[id]; }
  bool IsSpecial(TokenId id) const override { return id == kEndOfText; }
  std::string Decode(absl::Span<const TokenId> ids, bool skip_special) const override {
    Detokenizer detokenizer(*this, skip_special);
    std::string text;
    for (const TokenId id : ids) text += detokenizer.Push(id);
    return text + detokenizer.Finish();
  }
  int64_t vocab_size() const override { return kVocabSize; }
  std::optional<TokenId> TokenToId(absl::string_view token) const override {
    for (size_t id = 0; id < pieces_.size(); ++id) {
      if (pieces_[id] == token) return static_cast<TokenId>(id);
    }
    return std::nullopt;
  }
  const std::string& chat_template() const override { return chat_template_; }

 private:
  std::vector<std::string> pieces_;
  const std::string chat_template_;
};

}  // namespace ela

#endif  // ELA_TESTS_SERVER_BYTE_TOKENIZER_H_
