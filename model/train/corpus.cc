#include "model/train/corpus.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "model/status_macros.h"

namespace ela::train {
namespace {

// SplitMix64's output function (Steele, Lea and Flood, 2014): a bijection that looks random.
uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

absl::Status BadLine(const std::string& path, int64_t line, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(path, ", line ", line, ": ", what));
}

absl::StatusOr<Document> ParseLine(const std::string& path, int64_t number, const std::string& line,
                                   const Tokenizer& tokenizer, TokenId eos) {
  // nlohmann reports invalid UTF-8 in a string as a parse error, with the byte's position.
  try {
    const nlohmann::json json = nlohmann::json::parse(line);
    if (!json.is_object() || !json.contains("text") || !json["text"].is_string()) {
      return BadLine(path, number, "expected an object with a string \"text\"");
    }
    Document document;
    if (json.contains("id") && json["id"].is_string()) document.id = json["id"];
    const std::string& text = json["text"].get_ref<const std::string&>();
    document.num_bytes = static_cast<int64_t>(text.size());
    document.tokens = tokenizer.Encode(text, /*parse_special=*/false);
    document.tokens.insert(document.tokens.begin(), eos);
    return document;
  } catch (const nlohmann::json::exception& error) {
    return BadLine(path, number, error.what());
  }
}

}  // namespace

absl::StatusOr<std::vector<Document>> LoadCorpus(const std::string& path,
                                                 const Tokenizer& tokenizer, TokenId eos) {
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": cannot be opened"));
  std::vector<Document> documents;
  std::string line;
  for (int64_t number = 1; std::getline(file, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    ELA_ASSIGN_OR_RETURN(Document document, ParseLine(path, number, line, tokenizer, eos));
    documents.push_back(std::move(document));
  }
  if (documents.empty())
    return absl::InvalidArgumentError(absl::StrCat(path, ": holds no document"));
  return documents;
}

WindowOrder::WindowOrder(const std::vector<Document>& documents, int64_t context, int64_t batch,
                         uint64_t seed)
    : context_(context), batch_(batch), seed_(seed) {
  for (const Document& document : documents) {
    stream_.insert(stream_.end(), document.tokens.begin(), document.tokens.end());
  }
  order_.resize(num_windows(documents, context));
  ELA_CHECK(!order_.empty(), "a corpus has at least one window");
}

int64_t WindowOrder::num_windows(const std::vector<Document>& documents, int64_t context) {
  int64_t tokens = 0;
  for (const Document& document : documents) tokens += static_cast<int64_t>(document.tokens.size());
  return std::max<int64_t>(0, (tokens - 1) / context);
}

const TokenId* WindowOrder::Window(int64_t step, int64_t row) {
  const int64_t windows = static_cast<int64_t>(order_.size());
  const int64_t number = step * batch_ + row, epoch = number / windows;
  if (epoch != epoch_) {
    epoch_ = epoch;
    std::vector<uint64_t> keys(windows);
    for (int64_t i = 0; i < windows; ++i) keys[i] = Mix(Mix(Mix(seed_) + epoch) + i);
    std::iota(order_.begin(), order_.end(), 0);
    std::sort(order_.begin(), order_.end(),
              [&](int64_t a, int64_t b) { return keys[a] != keys[b] ? keys[a] < keys[b] : a < b; });
  }
  return stream_.data() + order_[number % windows] * context_;
}

uint64_t WindowOrder::Digest() const {
  uint64_t digest = 0;
  for (const TokenId token : stream_) digest = Mix(digest + static_cast<uint64_t>(token));
  return digest;
}

}  // namespace ela::train
