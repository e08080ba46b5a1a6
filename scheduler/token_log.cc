#include "scheduler/token_log.h"

#include <algorithm>

#include "model/status_macros.h"

namespace ela {

void TokenLog::Append(absl::Span<const TokenId> tokens) {
  while (!tokens.empty()) {
    const int64_t at = size_ % kChunkTokens;
    if (at == 0) {
      chunks_.push_back(std::make_shared<Chunk>(*memory_));
    } else if (chunks_.back().use_count() > 1) {
      chunks_.back() = std::make_shared<Chunk>(*chunks_.back());
    }
    const int64_t n = std::min<int64_t>(kChunkTokens - at, tokens.size());
    std::copy(tokens.begin(), tokens.begin() + n, chunks_.back()->tokens.begin() + at);
    size_ += n;
    tokens.remove_prefix(n);
  }
}

void TokenLog::Truncate(int64_t size) {
  ELA_CHECK(size >= 0 && size <= size_, "a log is cut within its length");
  chunks_.resize((size + kChunkTokens - 1) / kChunkTokens);
  size_ = size;
}

void TokenLog::CopyTo(int64_t begin, int64_t end, std::vector<TokenId>& out) const {
  ELA_CHECK(begin >= 0 && begin <= end && end <= size_, "a log is read within its length");
  out.reserve(out.size() + (end - begin));
  while (begin < end) {
    const int64_t at = begin % kChunkTokens;
    const int64_t n = std::min(kChunkTokens - at, end - begin);
    const TokenId* from = chunks_[begin / kChunkTokens]->tokens.data() + at;
    out.insert(out.end(), from, from + n);
    begin += n;
  }
}

}  // namespace ela
