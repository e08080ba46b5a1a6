// Host memory for slot states: snapshots are immutable, all of one size, shared by reference count
// and bounded by one budget in bytes. Memory is taken when it is first needed and used again.
//
// Two things keep the budget's promises apart. A *claim* is the right to one snapshot that must not
// be dropped: every session has one, every checkpoint, every sequence that was swapped out; claims
// never exceed the budget, and who gets none is refused at the door. All other snapshots only save
// time: when Take finds no free memory it asks the dropper to let go of some of these, so a claim
// can always be met.
#ifndef ELA_SCHEDULER_SNAPSHOT_POOL_H_
#define ELA_SCHEDULER_SNAPSHOT_POOL_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/types/span.h"

namespace ela {

// The state of a slot that has absorbed `position` tokens. A slot that it was copied into can be
// taken back (Worker::RewindSlot) to any position in [lowest, position].
class SlotSnapshot {
 public:
  SlotSnapshot(std::unique_ptr<char[]> memory, int64_t num_bytes, int64_t position, int64_t lowest)
      : position(position), lowest(lowest), memory_(std::move(memory)), num_bytes_(num_bytes) {}

  const int64_t position;
  const int64_t lowest;
  absl::Span<const char> bytes() const { return {memory_.get(), static_cast<size_t>(num_bytes_)}; }

 private:
  friend class SnapshotPool;
  std::unique_ptr<char[]> memory_;
  const int64_t num_bytes_;
};

// Shared by sessions, their forks, prefix entries and sequences: the last one returns the memory.
using SnapshotRef = std::shared_ptr<const SlotSnapshot>;

// Engine thread only. Outlives its snapshots.
class SnapshotPool {
 public:
  // `drop` lets go of a snapshot that nobody needs; false: there is none. It may be asked several
  // times for one place, since a snapshot goes when its last owner lets go.
  SnapshotPool(int64_t budget_bytes, int64_t state_bytes, std::function<bool()> drop);

  // Room for one snapshot, and the memory to copy the slot into; null: the budget is full.
  SnapshotRef Take(int64_t position, int64_t lowest, absl::Span<char>* memory);

  // False: every place that the budget allows is claimed.
  bool Claim();
  void Unclaim();

  int64_t num_claims() const { return num_claims_; }
  int64_t num_places() const { return num_places_; }
  int64_t budget_bytes() const { return budget_bytes_; }
  int64_t used_bytes() const { return num_used_ * state_bytes_; }
  int64_t state_bytes() const { return state_bytes_; }

 private:
  // Constant after construction.
  const int64_t budget_bytes_;
  const int64_t state_bytes_;
  const int64_t num_places_;
  const std::function<bool()> drop_;
  // Changing.
  int64_t num_used_ = 0;
  int64_t num_claims_ = 0;
  std::vector<std::unique_ptr<char[]>> free_;
};

}  // namespace ela

#endif  // ELA_SCHEDULER_SNAPSHOT_POOL_H_
