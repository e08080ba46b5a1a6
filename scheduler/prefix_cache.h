// States at the ends of prompts (and at other places that were asked for), found again by the exact
// tokens that led to them.
//
// A state can be taken back to any position behind its last merge, a multiple of 16 (rule 9 of
// model/worker.h). So an entry at position P serves a prompt that shares its first floor16(P)
// tokens and any part of the rest: entries are found by a chain of hashes over blocks of 16 tokens,
// the longest first, and what the hash has found is compared token by token. With several segment
// passes a state exists at segment ends and in generated text alone, so that there all P tokens and
// the cuts between segments must be the same.
//
// Tenant and lobe are part of the key. Entries are dropped least recently used first.
#ifndef ELA_SCHEDULER_PREFIX_CACHE_H_
#define ELA_SCHEDULER_PREFIX_CACHE_H_

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "model/types.h"
#include "scheduler/snapshot_pool.h"
#include "scheduler/token_log.h"

namespace ela {

// What a prompt is looked up by; built on the thread that brings it, O(tokens).
class PrefixKey {
 public:
  PrefixKey(const std::string& tenant, const std::string& lobe, absl::Span<const TokenId> tokens);
  // Of the first 16 i tokens.
  uint64_t hash(int64_t i) const { return hashes_[i]; }
  int64_t num_blocks() const { return static_cast<int64_t>(hashes_.size()) - 1; }
  const std::string& owner() const { return owner_; }
  const std::string& lobe() const { return lobe_; }

 private:
  std::string owner_;  // tenant and lobe
  std::string lobe_;
  std::vector<uint64_t> hashes_;  // [num_blocks + 1]
};

// Engine thread only.
class PrefixCache {
 public:
  struct Prompt {
    const PrefixKey& key;
    absl::Span<const TokenId> tokens;
    absl::Span<const Segment> segments;  // of the whole prompt; empty: cuts do not matter
  };
  struct Hit {
    SnapshotRef snapshot;  // null: none
    int64_t position = 0;  // tokens that need not be absorbed; snapshot->lowest <= position
  };

  // Entries' tokens count in `memory`, which is borrowed.
  explicit PrefixCache(LogMemory& memory) : memory_(memory) {}
  ~PrefixCache();

  // The longest match of at most `limit` tokens.
  Hit Find(const Prompt& prompt, int64_t limit);
  // There is an entry for exactly the first `position` tokens, which counts as used now.
  bool Has(const Prompt& prompt, int64_t position);
  // Nothing happens if there is such an entry already, or no memory for the tokens.
  void Keep(const Prompt& prompt, SnapshotRef snapshot);
  // False: there is none.
  bool DropOldest();
  // Of all tenants. O(entries).
  void DropLobe(const std::string& lobe);

  int64_t num_entries() const { return static_cast<int64_t>(entries_.size()); }

 private:
  struct Entry {
    uint64_t hash;  // of the blocks before base
    std::string owner;
    std::string lobe;
    std::vector<TokenId> tokens;    // [position]
    std::vector<Segment> segments;  // that begin before the position
    SnapshotRef snapshot;
    int64_t bytes;
    int64_t base() const { return snapshot->position / 16 * 16; }
  };
  using Entries = std::list<Entry>;

  // How many tokens `entry` and `prompt` share, if the entry can serve it; else -1.
  static int64_t Shared(const Entry& entry, const Prompt& prompt, int64_t limit);
  void Drop(Entries::iterator entry);
  Entries::iterator FindExact(const Prompt& prompt, int64_t position);

  LogMemory& memory_;
  Entries entries_;  // most recently used first
  absl::flat_hash_map<uint64_t, std::vector<Entries::iterator>> by_hash_;
  std::map<int64_t, int64_t> bases_;  // how many entries there are of each base
};

}  // namespace ela

#endif  // ELA_SCHEDULER_PREFIX_CACHE_H_
