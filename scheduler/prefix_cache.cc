#include "scheduler/prefix_cache.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace ela {
namespace {

constexpr int64_t kBlock = 16;

// SplitMix64's finaliser over a running value. What it finds is compared, so that a collision costs
// time and nothing else.
uint64_t Mix(uint64_t hash, uint64_t value) {
  uint64_t z = hash * 0x9E3779B97F4A7C15u + value + 0x632BE59BD9B4E019u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

bool Same(const Segment& a, const Segment& b) {
  return a.kind == b.kind && a.begin == b.begin && a.length == b.length;
}

// The segments that begin before `position`; of the one that it lies in, only the beginning counts.
std::vector<Segment> SegmentsBefore(absl::Span<const Segment> segments, int64_t position) {
  std::vector<Segment> before;
  for (Segment segment : segments) {
    if (segment.begin >= position) break;
    segment.length = std::min(segment.length, position - segment.begin);
    before.push_back(segment);
  }
  return before;
}

}  // namespace

PrefixKey::PrefixKey(const std::string& tenant, const std::string& lobe,
                     absl::Span<const TokenId> tokens)
    : owner_(absl::StrCat(tenant.size(), " ", tenant, lobe)), lobe_(lobe) {
  uint64_t hash = 0;
  for (const char c : owner_) hash = Mix(hash, static_cast<unsigned char>(c));
  hashes_.reserve(tokens.size() / kBlock + 1);
  hashes_.push_back(hash);
  for (size_t i = 0; i + kBlock <= tokens.size(); i += kBlock) {
    for (size_t j = i; j < i + kBlock; ++j) hash = Mix(hash, tokens[j]);
    hashes_.push_back(hash);
  }
}

PrefixCache::~PrefixCache() {
  while (DropOldest()) {
  }
}

int64_t PrefixCache::Shared(const Entry& entry, const Prompt& prompt, int64_t limit) {
  if (entry.owner != prompt.key.owner()) return -1;
  const int64_t position = entry.snapshot->position;
  const int64_t most = std::min(limit, position);
  if (most < entry.snapshot->lowest) return -1;
  const auto end = entry.tokens.begin() + most;
  const int64_t shared =
      std::mismatch(entry.tokens.begin(), end, prompt.tokens.begin()).first - entry.tokens.begin();
  if (shared < entry.snapshot->lowest) return -1;
  if (prompt.segments.empty()) return shared;
  if (shared < position) return -1;
  const std::vector<Segment> segments = SegmentsBefore(prompt.segments, position);
  const bool same = std::equal(segments.begin(), segments.end(), entry.segments.begin(),
                               entry.segments.end(), Same);
  // A prompt segment that goes on behind the position saw itself whole.
  const bool ends = segments.back().kind == SegmentKind::kGenerated ||
                    std::any_of(prompt.segments.begin(), prompt.segments.end(),
                                [=](auto& s) { return s.begin + s.length == position; });
  return same && ends ? shared : -1;
}

PrefixCache::Hit PrefixCache::Find(const Prompt& prompt, int64_t limit) {
  limit = std::min<int64_t>(limit, prompt.tokens.size());
  Hit hit;
  Entries::iterator found;
  for (auto base = bases_.upper_bound(limit); base != bases_.begin();) {
    --base;
    if (base->first / kBlock > prompt.key.num_blocks()) continue;
    const auto bucket = by_hash_.find(prompt.key.hash(base->first / kBlock));
    if (bucket == by_hash_.end()) continue;
    for (const Entries::iterator entry : bucket->second) {
      if (entry->base() != base->first) continue;
      const int64_t shared = Shared(*entry, prompt, limit);
      if (shared <= hit.position) continue;
      hit = {entry->snapshot, shared};
      found = entry;
    }
    if (hit.snapshot == nullptr) continue;
    entries_.splice(entries_.begin(), entries_, found);
    break;
  }
  return hit;
}

PrefixCache::Entries::iterator PrefixCache::FindExact(const Prompt& prompt, int64_t position) {
  const auto bucket = by_hash_.find(prompt.key.hash(position / kBlock));
  if (bucket == by_hash_.end()) return entries_.end();
  for (const Entries::iterator entry : bucket->second) {
    if (entry->snapshot->position != position) continue;
    if (Shared(*entry, prompt, position) == position) return entry;
  }
  return entries_.end();
}

bool PrefixCache::Has(const Prompt& prompt, int64_t position) {
  const Entries::iterator entry = FindExact(prompt, position);
  if (entry == entries_.end()) return false;
  entries_.splice(entries_.begin(), entries_, entry);
  return true;
}

void PrefixCache::Keep(const Prompt& prompt, SnapshotRef snapshot) {
  const int64_t position = snapshot->position;
  if (FindExact(prompt, position) != entries_.end()) return;
  const auto bytes = static_cast<int64_t>(position * sizeof(TokenId) + sizeof(Entry));
  while (!memory_.HasRoomFor(bytes)) {
    if (!DropOldest()) return;
  }
  memory_.used_bytes += bytes;
  const uint64_t hash = prompt.key.hash(position / kBlock);
  entries_.push_front(
      {hash, prompt.key.owner(), prompt.key.lobe(),
       std::vector<TokenId>(prompt.tokens.begin(), prompt.tokens.begin() + position),
       SegmentsBefore(prompt.segments, position), std::move(snapshot), bytes});
  by_hash_[hash].push_back(entries_.begin());
  ++bases_[position / kBlock * kBlock];
}

bool PrefixCache::DropOldest() {
  if (entries_.empty()) return false;
  Drop(std::prev(entries_.end()));
  return true;
}

void PrefixCache::DropLobe(const std::string& lobe) {
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    const Entries::iterator next = std::next(entry);
    if (entry->lobe == lobe) Drop(entry);
    entry = next;
  }
}

void PrefixCache::Drop(Entries::iterator entry) {
  const auto bucket = by_hash_.find(entry->hash);
  bucket->second.erase(std::find(bucket->second.begin(), bucket->second.end(), entry));
  if (bucket->second.empty()) by_hash_.erase(bucket);
  const auto base = bases_.find(entry->base());
  if (--base->second == 0) bases_.erase(base);
  memory_.used_bytes -= entry->bytes;
  entries_.erase(entry);
}

}  // namespace ela
