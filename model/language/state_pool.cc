#include "model/language/state_pool.h"

#include <cstring>
#include <type_traits>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "model/kernels/aligned_buffer.h"
#include "model/status_macros.h"

namespace ela {

namespace {

// What stands behind the bytes of a snapshot. By the owner a foreign or torn one is told apart.
struct Record {
  const StatePool* owner;
  StatePool::Slot slot;
};
static_assert(std::is_trivially_copyable_v<Record>);

absl::Status CheckSize(size_t have, int64_t want) {
  if (static_cast<int64_t>(have) == want) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("a snapshot takes ", want, " bytes, the memory given has ", have));
}

}  // namespace

Allocator HostAllocator() { return {&AllocateAligned, &FreeAligned}; }

absl::StatusOr<std::unique_ptr<StatePool>> StatePool::Create(const StateLayout& layout,
                                                             int32_t num_slots,
                                                             Allocator allocator) {
  auto pool = absl::WrapUnique(new StatePool(layout, num_slots, allocator));
  const size_t bytes = static_cast<size_t>(pool->stride_) * num_slots;
  pool->memory_ = static_cast<char*>(allocator.allocate(bytes));
  if (pool->memory_ == nullptr) {
    return absl::ResourceExhaustedError(absl::StrCat("the state pool of ", num_slots,
                                                     " slots needs ", bytes,
                                                     " bytes, more than this device has free"));
  }
  return pool;
}

StatePool::StatePool(const StateLayout& layout, int32_t num_slots, Allocator allocator)
    : layout_(layout),
      allocator_(allocator),
      stride_(RoundUp(layout.slot_bytes(), 64)),
      slots_(num_slots) {}

StatePool::~StatePool() {
  if (memory_ != nullptr) allocator_.free(memory_, static_cast<size_t>(stride_) * slots_.size());
}

void StatePool::Reset(int32_t index, int32_t lobe) {
  slots_[index] = Slot{};
  slots_[index].lobe = lobe;
  slots_[index].ready = true;
  if (layout_.convolution_window() == 0) return;
  for (int layer = 0; layer < layout_.layers(); ++layer) {  // what lies before the start is zero
    std::memset(layout_.Convolution(memory(index), layer), 0,
                (layout_.convolution_window() - 1) * layout_.convolution_width() * sizeof(float));
  }
}

void StatePool::Copy(int32_t from, int32_t to) {
  slots_[to] = slots_[from];
  if (from != to) std::memcpy(memory(to), memory(from), layout_.slot_bytes());
}

absl::Status StatePool::CopyOut(int32_t index, absl::Span<char> to) {
  static_assert(sizeof(Record) <= kRecordBytes);
  ELA_RETURN_IF_ERROR(CheckSize(to.size(), snapshot_bytes()));
  const Record record{this, slots_[index]};
  std::memcpy(to.data(), memory(index), layout_.slot_bytes());
  std::memcpy(to.data() + layout_.slot_bytes(), &record, sizeof(record));
  return absl::OkStatus();
}

absl::StatusOr<StatePool::Slot> StatePool::SlotOf(absl::Span<const char> snapshot) const {
  ELA_RETURN_IF_ERROR(CheckSize(snapshot.size(), snapshot_bytes()));
  Record record;
  std::memcpy(&record, snapshot.data() + layout_.slot_bytes(), sizeof(record));
  if (record.owner == this) return record.slot;
  return absl::InternalError("what is to be copied into a slot is no snapshot of this worker");
}

absl::Status StatePool::CopyIn(int32_t index, absl::Span<const char> from) {
  ELA_ASSIGN_OR_RETURN(slots_[index], SlotOf(from));
  std::memcpy(memory(index), from.data(), layout_.slot_bytes());
  return absl::OkStatus();
}

absl::Status StatePool::Rewind(int32_t index, int64_t position) {
  Slot& slot = slots_[index];
  if (position < slot.lowest() || position > slot.position) {
    return absl::OutOfRangeError(absl::StrCat("slot ", index, " cannot go to position ", position,
                                              ": it stands at ", slot.position,
                                              " and can go back to ", slot.lowest(), " at most"));
  }
  if (position != slot.position) slot.last_sampled = -1;
  slot.position = position;
  return absl::OkStatus();
}

}  // namespace ela
