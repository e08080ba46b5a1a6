#include "scheduler/snapshot_pool.h"

#include <algorithm>
#include <utility>

#include "model/status_macros.h"

namespace ela {

SnapshotPool::SnapshotPool(int64_t budget_bytes, int64_t state_bytes, std::function<bool()> drop)
    : budget_bytes_(budget_bytes),
      state_bytes_(std::max<int64_t>(1, state_bytes)),
      num_places_(budget_bytes / state_bytes_),
      drop_(std::move(drop)) {}

SnapshotRef SnapshotPool::Take(int64_t position, int64_t lowest, absl::Span<char>* memory) {
  if (num_places_ == 0) return nullptr;
  while (num_used_ == num_places_) {
    if (!drop_()) return nullptr;
  }
  std::unique_ptr<char[]> place;
  if (free_.empty()) {
    place.reset(new char[state_bytes_]);
  } else {
    place = std::move(free_.back());
    free_.pop_back();
  }
  ++num_used_;
  *memory = {place.get(), static_cast<size_t>(state_bytes_)};
  auto* snapshot = new SlotSnapshot(std::move(place), state_bytes_, position, lowest);
  return SnapshotRef(snapshot, [this](SlotSnapshot* last) {
    free_.push_back(std::move(last->memory_));
    --num_used_;
    delete last;
  });
}

bool SnapshotPool::Claim() {
  if (num_claims_ >= num_places_) return false;
  ++num_claims_;
  return true;
}

void SnapshotPool::Unclaim() {
  ELA_CHECK(num_claims_ > 0, "a claim is given back once");
  --num_claims_;
}

}  // namespace ela
