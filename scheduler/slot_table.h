#ifndef ELA_SCHEDULER_SLOT_TABLE_H_
#define ELA_SCHEDULER_SLOT_TABLE_H_

#include <cstdint>
#include <vector>

namespace ela {

// Which places of the state pool are free and which are held: integers only, no bytes. A slot is
// always exactly one of the two. Engine thread only; every call is O(1).
class SlotTable {
 public:
  explicit SlotTable(int32_t num_slots);

  // A free slot, now held; -1: none is free. The slot freed last goes first, its memory is warm.
  int32_t Hold();

  // REQUIRES: held.
  void Free(int32_t slot);

  int32_t num_free() const { return static_cast<int32_t>(free_.size()); }
  int32_t num_held() const { return num_slots() - num_free(); }
  int32_t num_slots() const { return static_cast<int32_t>(held_.size()); }

 private:
  std::vector<bool> held_;
  std::vector<int32_t> free_;  // a stack
};

}  // namespace ela

#endif  // ELA_SCHEDULER_SLOT_TABLE_H_
