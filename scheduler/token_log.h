// The tokens of a session in chunks that forks share: a fork of a long log copies pointers, one for
// every kChunkTokens tokens, and a chunk is copied when the first of its owners writes into it.
#ifndef ELA_SCHEDULER_TOKEN_LOG_H_
#define ELA_SCHEDULER_TOKEN_LOG_H_

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "model/types.h"

namespace ela {

// How many bytes logs take, and how many running requests may yet add. Engine thread only.
struct LogMemory {
  int64_t budget_bytes = 0;
  int64_t used_bytes = 0;      // shared chunks counted once
  int64_t reserved_bytes = 0;  // for requests that were let in
  bool HasRoomFor(int64_t bytes) const {
    return used_bytes + reserved_bytes + bytes <= budget_bytes;
  }
};

// Engine thread only.
class TokenLog {
 public:
  static constexpr int64_t kChunkTokens = 512;

  // Borrows `memory`, which outlives it.
  explicit TokenLog(LogMemory& memory) : memory_(&memory) {}

  // The most that appending `n` tokens to any log takes.
  static int64_t BytesFor(int64_t n) { return (n / kChunkTokens + 2) * sizeof(Chunk); }

  int64_t size() const { return size_; }
  int64_t bytes() const { return static_cast<int64_t>(chunks_.size() * sizeof(Chunk)); }

  void Append(absl::Span<const TokenId> tokens);
  // Keeps the first `size` tokens. REQUIRES: size <= size().
  void Truncate(int64_t size);
  // Appends tokens [begin, end) to `out`. REQUIRES: 0 <= begin <= end <= size().
  void CopyTo(int64_t begin, int64_t end, std::vector<TokenId>& out) const;

 private:
  struct Chunk {
    explicit Chunk(LogMemory& m) : memory(m) { memory.used_bytes += sizeof(Chunk); }
    Chunk(const Chunk& other) : memory(other.memory), tokens(other.tokens) {
      memory.used_bytes += sizeof(Chunk);
    }
    ~Chunk() { memory.used_bytes -= sizeof(Chunk); }
    LogMemory& memory;
    std::array<TokenId, kChunkTokens> tokens;
  };

  LogMemory* memory_;
  std::vector<std::shared_ptr<Chunk>> chunks_;  // shared by forks
  int64_t size_ = 0;
};

}  // namespace ela

#endif  // ELA_SCHEDULER_TOKEN_LOG_H_
