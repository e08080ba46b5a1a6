#include "model/tokenizer_bpe.h"

#include <algorithm>
#include <array>
#include <queue>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/json_file.h"
#include "model/status_macros.h"
#include "model/utf8.h"

namespace ela {
namespace {

using nlohmann::json;

// Up to this many bytes scanning all pairs for each merge is faster than a heap.
constexpr size_t kShortWord = 48;

// GPT-2's spelling: printable Latin-1 characters spell themselves, the other bytes follow from
// U+0100 on.
bool SpellsItself(uint32_t byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) ||
         (byte >= 0xAE && byte <= 0xFF);
}

std::array<uint32_t, 256> SpellingOfBytes() {
  std::array<uint32_t, 256> spelling;
  uint32_t next = 0x100;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    spelling[byte] = SpellsItself(byte) ? byte : next++;
  }
  return spelling;
}

absl::Status Invalid(absl::string_view sentence) {
  return absl::InvalidArgumentError(absl::StrCat("model: ", sentence));
}

bool NullOrEmpty(const json& value) { return value.is_null() || value == ""; }

}  // namespace

std::optional<std::string> BytesOfSpelling(absl::string_view spelled) {
  static const auto* const bytes = [] {
    auto* map = new std::array<int16_t, 0x144>;  // up to the last of the 68 that follow U+0100
    map->fill(-1);
    const std::array<uint32_t, 256> spelling = SpellingOfBytes();
    for (uint32_t byte = 0; byte < 256; ++byte) (*map)[spelling[byte]] = static_cast<int16_t>(byte);
    return map;
  }();
  std::string out;
  while (!spelled.empty()) {
    const Utf8Char next = FirstChar(spelled);
    if (next.kind != Utf8Char::kWhole || next.code_point >= bytes->size() ||
        (*bytes)[next.code_point] < 0) {
      return std::nullopt;
    }
    out += static_cast<char>((*bytes)[next.code_point]);
    spelled.remove_prefix(next.length);
  }
  return out;
}

absl::StatusOr<BpeModel> BpeModel::FromJson(const json& value) {
  BpeModel model;
  if (!value.is_object()) return Invalid("must be an object");
  ELA_RETURN_IF_ERROR(model.ReadVocab(value));
  ELA_RETURN_IF_ERROR(model.ReadOptions(value));
  ELA_RETURN_IF_ERROR(model.ReadMerges(value));
  return model;
}

absl::Status BpeModel::ReadOptions(const json& value) {
  for (const auto& [key, option] : value.items()) {
    if (key == "vocab" || key == "merges") continue;
    if (key == "type") {
      if (option != "BPE")
        return Invalid(absl::StrCat("type ", option.dump(), " is not supported, only BPE"));
    } else if (key == "dropout") {
      if (!option.is_null() && option != 0.0) {
        return Invalid(absl::StrCat("dropout is ", option.dump(), ", only null is supported"));
      }
    } else if (key == "continuing_subword_prefix" || key == "end_of_word_suffix") {
      if (!NullOrEmpty(option)) {
        return Invalid(absl::StrCat(key, " is ", option.dump(), ", only null is supported"));
      }
    } else if (key == "byte_fallback") {
      if (option != false)
        return Invalid(
            absl::StrCat("byte_fallback is ", option.dump(), ", only false is supported"));
    } else if (key == "unk_token") {
      if (option.is_null()) continue;
      auto found = option.is_string() ? vocab_.find(option.get<std::string>()) : vocab_.end();
      if (found == vocab_.end()) {
        return Invalid(
            absl::StrCat("unk_token is ", option.dump(), ", which the vocabulary does not hold"));
      }
      unknown_ = found->second;
    } else if (key == "fuse_unk" || key == "ignore_merges") {
      if (!option.is_boolean()) return Invalid(absl::StrCat(key, " must be true or false"));
      (key == "fuse_unk" ? fuse_unknown_ : ignore_merges_) = option.get<bool>();
    } else {
      return Invalid(absl::StrCat("the key ", key, " is not known"));
    }
  }
  if (!ignore_merges_) return absl::OkStatus();
  for (const auto& [spelled, id] : vocab_) {
    if (auto bytes = BytesOfSpelling(spelled)) words_.emplace(*std::move(bytes), id);
  }
  return absl::OkStatus();
}

absl::Status BpeModel::ReadVocab(const json& value) {
  auto vocab = value.find("vocab");
  if (vocab == value.end() || !vocab->is_object()) return Invalid("has no object \"vocab\"");
  std::unordered_map<int64_t, const std::string*> used;
  for (auto entry = vocab->begin(); entry != vocab->end(); ++entry) {
    if (!entry->is_number_unsigned() || entry->get<uint64_t>() > uint64_t{kMaxTokenId}) {
      return Invalid(absl::StrCat("token \"", entry.key(), "\" has the id ", entry->dump(),
                                  ", allowed are 0 to ", kMaxTokenId));
    }
    const auto id = entry->get<int64_t>();
    if (auto [other, is_new] = used.emplace(id, &entry.key()); !is_new) {
      return Invalid(absl::StrCat("tokens \"", *other->second, "\" and \"", entry.key(),
                                  "\" share the id ", id));
    }
    vocab_.emplace(entry.key(), static_cast<TokenId>(id));
  }
  const std::array<uint32_t, 256> spelling = SpellingOfBytes();
  for (int byte = 0; byte < 256; ++byte) {
    std::string spelled;
    AppendUtf8(spelling[byte], &spelled);
    auto found = vocab_.find(spelled);
    byte_tokens_[byte] = found == vocab_.end() ? -1 : found->second;
  }
  return absl::OkStatus();
}

absl::Status BpeModel::ReadMerges(const json& value) {
  auto list = value.find("merges");
  if (list == value.end() || !list->is_array()) return Invalid("has no list \"merges\"");
  size_t places = 16;
  while (places < 2 * list->size()) places *= 2;
  merges_.assign(places, {kNoPair, 0, 0});
  uint32_t rank = 0;
  for (const json& entry : *list) {
    std::string left, right;
    if (entry.is_array() && entry.size() == 2 && entry[0].is_string() && entry[1].is_string()) {
      left = entry[0].get<std::string>();
      right = entry[1].get<std::string>();
    } else if (entry.is_string()) {
      const std::string& text = entry.get_ref<const std::string&>();
      const size_t space = text.find(' ');
      if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
        return Invalid(absl::StrCat("merge ", rank, " is not a pair: ", entry.dump()));
      }
      left = text.substr(0, space);
      right = text.substr(space + 1);
    } else {
      return Invalid(absl::StrCat("merge ", rank, " is not a pair: ", entry.dump()));
    }
    auto find = [&](const std::string& token) {
      auto found = vocab_.find(token);
      return found == vocab_.end() ? TokenId{-1} : found->second;
    };
    const TokenId ids[] = {find(left), find(right), find(left + right)};
    if (std::count(std::begin(ids), std::end(ids), -1) > 0) {
      return Invalid(absl::StrCat("merge ", rank, " of \"", left, "\" and \"", right,
                                  "\": all three tokens must be in the vocabulary"));
    }
    const uint64_t pair = PairOf(ids[0], ids[1]);
    size_t place = (pair * 0x9E3779B97F4A7C15u) >> 32 & (merges_.size() - 1);
    while (merges_[place].pair != kNoPair && merges_[place].pair != pair) {
      place = (place + 1) & (merges_.size() - 1);
    }
    merges_[place] = {pair, rank, ids[2]};  // of a pair that stands twice the later rank counts
    ++rank;
  }
  return absl::OkStatus();
}

const BpeModel::Merge* BpeModel::Find(TokenId left, TokenId right) const {
  const uint64_t pair = PairOf(left, right);
  size_t place = (pair * 0x9E3779B97F4A7C15u) >> 32 & (merges_.size() - 1);
  while (merges_[place].pair != pair) {
    if (merges_[place].pair == kNoPair) return nullptr;
    place = (place + 1) & (merges_.size() - 1);
  }
  return &merges_[place];
}

void BpeModel::FirstSymbols(absl::string_view word, std::vector<TokenId>* out) const {
  bool unknown_before = false;
  for (char c : word) {
    const TokenId id = byte_tokens_[static_cast<unsigned char>(c)];
    if (id >= 0) {
      out->push_back(id);
    } else if (unknown_ >= 0 && !(unknown_before && fuse_unknown_)) {
      out->push_back(unknown_);
    }
    unknown_before = id < 0;
  }
}

void BpeModel::MergeShort(TokenId* symbols, size_t* count) const {
  constexpr uint32_t kNoRank = ~uint32_t{0};
  uint32_t ranks[kShortWord];  // of the pair (i, i+1)
  TokenId merged[kShortWord];  // and what it becomes
  size_t n = *count;
  const auto look = [&](size_t i) {
    const Merge* merge = Find(symbols[i], symbols[i + 1]);
    ranks[i] = merge == nullptr ? kNoRank : merge->rank;
    merged[i] = merge == nullptr ? -1 : merge->merged;
  };
  for (size_t i = 0; i + 1 < n; ++i) look(i);
  while (n > 1) {
    const size_t best = static_cast<size_t>(std::min_element(ranks, ranks + n - 1) - ranks);
    if (ranks[best] == kNoRank) break;
    symbols[best] = merged[best];
    std::copy(symbols + best + 2, symbols + n, symbols + best + 1);
    if (best + 2 < n) {
      std::copy(ranks + best + 2, ranks + n - 1, ranks + best + 1);
      std::copy(merged + best + 2, merged + n - 1, merged + best + 1);
    }
    --n;
    if (best > 0) look(best - 1);
    if (best + 1 < n) look(best);
  }
  *count = n;
}

void BpeModel::MergeLong(std::vector<TokenId>* symbols, size_t begin) const {
  struct Candidate {
    uint32_t rank;
    uint32_t left;  // place of the pair's left symbol
    TokenId left_id,
        right_id;  // the pair as it was; another pair there now: the candidate is stale
    TokenId merged;
    bool operator<(const Candidate& other) const {  // the queue's top is the largest
      return std::make_pair(rank, left) > std::make_pair(other.rank, other.left);
    }
  };
  const uint32_t n = static_cast<uint32_t>(symbols->size() - begin);
  TokenId* const ids = symbols->data() + begin;  // -1: merged into its left neighbour
  std::vector<uint32_t> next(n), previous(n);    // n: none
  std::vector<Candidate> first;
  const auto add = [&](auto& queue, uint32_t left, uint32_t right) {
    const Merge* merge = Find(ids[left], ids[right]);
    if (merge != nullptr) queue({merge->rank, left, ids[left], ids[right], merge->merged});
  };
  for (uint32_t i = 0; i < n; ++i) {
    next[i] = i + 1;
    previous[i] = i == 0 ? n : i - 1;
    auto append = [&](Candidate candidate) { first.push_back(candidate); };
    if (i + 1 < n) add(append, i, i + 1);
  }
  std::priority_queue<Candidate> queue(std::less<Candidate>(), std::move(first));
  auto push = [&](Candidate candidate) { queue.push(candidate); };
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    const uint32_t left = top.left;
    const uint32_t right = next[left];
    if (ids[left] != top.left_id || right == n || ids[right] != top.right_id) continue;
    ids[left] = top.merged;
    ids[right] = -1;
    next[left] = next[right];
    if (next[right] < n) previous[next[right]] = left;
    if (previous[left] < n) add(push, previous[left], left);
    if (next[left] < n) add(push, left, next[left]);
  }
  symbols->erase(std::remove(symbols->begin() + static_cast<ptrdiff_t>(begin), symbols->end(), -1),
                 symbols->end());
}

void BpeModel::Encode(absl::string_view word, std::vector<TokenId>* out) const {
  if (ignore_merges_) {
    auto found = words_.find(std::string(word));
    if (found != words_.end()) {
      out->push_back(found->second);
      return;
    }
  }
  const size_t begin = out->size();
  FirstSymbols(word, out);
  size_t count = out->size() - begin;
  if (count > kShortWord) {
    MergeLong(out, begin);
  } else if (count > 1) {
    MergeShort(out->data() + begin, &count);
    out->resize(begin + count);
  }
}

}  // namespace ela
