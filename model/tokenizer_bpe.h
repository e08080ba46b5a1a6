// Byte-pair encoding of one word: its bytes are the first symbols; then, again and again, the
// adjacent pair of the lowest rank (the leftmost of equals) becomes one symbol.
#ifndef ELA_MODEL_TOKENIZER_BPE_H_
#define ELA_MODEL_TOKENIZER_BPE_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/types.h"

namespace ela {

inline constexpr int64_t kMaxTokenId = (int64_t{1} << 24) - 1;

// A vocabulary spells bytes as printable characters: space is U+0120 "Ġ". Returns the bytes that
// `spelled` stands for, or nothing when a character of it stands for no byte.
std::optional<std::string> BytesOfSpelling(absl::string_view spelled);

// Immutable, thread-safe.
class BpeModel {
 public:
  // `json`: the "model" of a tokenizer.json. Errors: kInvalidArgument names what is wrong or not
  // supported.
  static absl::StatusOr<BpeModel> FromJson(const nlohmann::json& json);

  // Appends the tokens of one word (any bytes). Cost: n log n for n bytes.
  void Encode(absl::string_view word, std::vector<TokenId>* out) const;

  const std::unordered_map<std::string, TokenId>& vocab() const { return vocab_; }  // as spelled

 private:
  struct Merge {
    uint64_t pair;  // left id << 32 | right id; kNoPair: an empty place
    uint32_t rank;
    TokenId merged;
  };
  static constexpr uint64_t kNoPair = ~uint64_t{0};
  static uint64_t PairOf(TokenId left, TokenId right) {
    return static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
  }

  absl::Status ReadOptions(const nlohmann::json& json);
  absl::Status ReadVocab(const nlohmann::json& json);
  absl::Status ReadMerges(const nlohmann::json& json);
  const Merge* Find(TokenId left, TokenId right) const;
  void FirstSymbols(absl::string_view word, std::vector<TokenId>* out) const;
  void MergeShort(TokenId* symbols, size_t* count) const;
  void MergeLong(std::vector<TokenId>* symbols, size_t begin) const;

  std::unordered_map<std::string, TokenId> vocab_;
  std::unordered_map<std::string, TokenId> words_;  // by bytes; only with ignore_merges
  std::vector<Merge> merges_;                       // open addressing, a power of two of places
  TokenId byte_tokens_[256];                        // -1: this byte is no token
  TokenId unknown_ = -1;                            // -1: such bytes vanish, as in the original
  bool fuse_unknown_ = false;
  bool ignore_merges_ = false;
};

}  // namespace ela

#endif  // ELA_MODEL_TOKENIZER_BPE_H_
