#include "scheduler/slot_table.h"

#include "model/status_macros.h"

namespace ela {

SlotTable::SlotTable(int32_t num_slots) : held_(num_slots, false) {
  free_.reserve(num_slots);
  for (int32_t slot = num_slots - 1; slot >= 0; --slot) free_.push_back(slot);
}

int32_t SlotTable::Hold() {
  if (free_.empty()) return -1;
  const int32_t slot = free_.back();
  free_.pop_back();
  held_[slot] = true;
  return slot;
}

void SlotTable::Free(int32_t slot) {
  ELA_CHECK(slot >= 0 && slot < num_slots() && held_[slot], "only a held slot is freed");
  held_[slot] = false;
  free_.push_back(slot);
}

}  // namespace ela
