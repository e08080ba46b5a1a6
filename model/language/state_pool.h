// The states of all sequences: equal slots in one allocation, and for each slot the few facts that
// are no arithmetic. Slots begin on 64-byte boundaries.
#ifndef ELA_MODEL_LANGUAGE_STATE_POOL_H_
#define ELA_MODEL_LANGUAGE_STATE_POOL_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/language/state_layout.h"
#include "model/types.h"

namespace ela {

// Where slots live: host memory here, device memory where a GPU computes. Memory comes zeroed and
// 64-byte aligned; allocate returns null when there is none left.
struct Allocator {
  void* (*allocate)(size_t bytes);
  void (*free)(void* memory, size_t bytes);
};
Allocator HostAllocator();

// Engine thread only.
class StatePool {
 public:
  struct Slot {
    bool ready = false;  // reset, loaded or copied into, and no error since
    int64_t position = 0;
    TokenId last_sampled = -1;  // what an item without tokens absorbs; -1: nothing sampled here yet
    // With a lobe that sees ahead: the end of the last prompt segment. Every position before it has
    // seen all of it, so no rewind goes back further.
    int64_t sealed = 0;
    int32_t lobe = 0;  // number in the worker's LobeTable

    int64_t merged() const { return position / kBlock * kBlock; }  // tokens in the base
    int64_t lowest() const { return std::max(merged(), sealed); }  // that a rewind reaches
    int tail() const { return static_cast<int>(position % kBlock); }
  };

  // Errors: kResourceExhausted, naming the bytes needed.
  static absl::StatusOr<std::unique_ptr<StatePool>> Create(const StateLayout& layout,
                                                           int32_t num_slots, Allocator allocator);
  ~StatePool();
  StatePool(const StatePool&) = delete;
  StatePool& operator=(const StatePool&) = delete;

  const StateLayout& layout() const { return layout_; }
  Slot& slot(int32_t index) { return slots_[index]; }
  char* memory(int32_t index) { return memory_ + index * stride_; }

  // An empty sequence under lobe number `lobe`. Costs next to nothing: an empty base is never read.
  void Reset(int32_t index, int32_t lobe = 0);
  // One memcpy.
  void Copy(int32_t from, int32_t to);
  // A slot's bytes as they lie, and behind them what this class keeps of it: snapshot_bytes().
  // Errors: kInternal (memory of another size; no snapshot of this pool).
  int64_t snapshot_bytes() const { return layout_.slot_bytes() + kRecordBytes; }
  absl::Status CopyOut(int32_t index, absl::Span<char> to);
  absl::StatusOr<Slot> SlotOf(absl::Span<const char> snapshot) const;
  absl::Status CopyIn(int32_t index, absl::Span<const char> from);
  // Errors: kOutOfRange, naming the lowest position that can be reached.
  absl::Status Rewind(int32_t index, int64_t position);

 private:
  static constexpr int64_t kRecordBytes = 64;

  StatePool(const StateLayout& layout, int32_t num_slots, Allocator allocator);

  const StateLayout layout_;
  const Allocator allocator_;
  const int64_t stride_;  // bytes from slot to slot
  char* memory_ = nullptr;
  std::vector<Slot> slots_;
};

}  // namespace ela

#endif  // ELA_MODEL_LANGUAGE_STATE_POOL_H_
