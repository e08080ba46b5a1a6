// Little-endian numbers and texts with their length before them, written to and strictly read from
// bytes.
#ifndef ELA_SERVER_BYTE_CODING_H_
#define ELA_SERVER_BYTE_CODING_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/types.h"

namespace ela {

template <typename Number>
void PutNumber(Number value, std::string* bytes) {
  uint64_t bits = static_cast<uint64_t>(value);
  for (size_t i = 0; i < sizeof(Number); ++i, bits >>= 8) {
    bytes->push_back(static_cast<char>(bits & 0xff));
  }
}

// int32 each.
inline void PutTokens(absl::Span<const TokenId> tokens, std::string* bytes) {
  const size_t before = bytes->size();
  bytes->resize(before + tokens.size() * sizeof(TokenId));
  char* out = bytes->data() + before;
  for (const TokenId token : tokens) {
    const uint32_t bits = static_cast<uint32_t>(token);
    for (int i = 0; i < 4; ++i) *out++ = static_cast<char>(bits >> (8 * i) & 0xff);
  }
}

// Appends. REQUIRES: bytes.size() is a multiple of 4.
inline void TakeTokens(absl::string_view bytes, std::vector<TokenId>* tokens) {
  tokens->reserve(tokens->size() + bytes.size() / sizeof(TokenId));
  for (size_t at = 0; at + 4 <= bytes.size(); at += 4) {
    uint32_t bits = 0;
    for (int i = 0; i < 4; ++i) {
      bits |= uint32_t{static_cast<uint8_t>(bytes[at + i])} << (8 * i);
    }
    tokens->push_back(static_cast<TokenId>(bits));
  }
}

inline void PutText(absl::string_view text, std::string* bytes) {
  PutNumber(static_cast<uint32_t>(text.size()), bytes);
  bytes->append(text.data(), text.size());
}

// Reads from the front. A read past the end yields zero or nothing and makes ok() false for good.
class ByteReader {
 public:
  explicit ByteReader(absl::string_view bytes) : rest_(bytes) {}

  template <typename Number>
  Number ReadNumber() {
    const absl::string_view bytes = ReadBytes(sizeof(Number));
    uint64_t bits = 0;
    for (size_t i = bytes.size(); i-- > 0;) bits = bits << 8 | static_cast<uint8_t>(bytes[i]);
    return static_cast<Number>(bits);
  }

  absl::string_view ReadBytes(uint64_t size) {
    if (size > rest_.size()) {
      ok_ = false;
      rest_ = {};
      return {};
    }
    const absl::string_view bytes = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return bytes;
  }

  absl::string_view ReadText() { return ReadBytes(ReadNumber<uint32_t>()); }

  bool ok() const { return ok_; }
  size_t num_left() const { return rest_.size(); }
  // Everything was there and nothing is left.
  bool done() const { return ok_ && rest_.empty(); }

 private:
  absl::string_view rest_;
  bool ok_ = true;
};

}  // namespace ela

#endif  // ELA_SERVER_BYTE_CODING_H_
