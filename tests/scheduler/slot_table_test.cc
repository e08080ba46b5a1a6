#include "scheduler/slot_table.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace ela {
namespace {

TEST(SlotTableTest, HandsOutEachSlotOnceAndThenNone) {
  SlotTable table(3);
  std::set<int32_t> held;
  for (int i = 0; i < 3; ++i) held.insert(table.Hold());
  EXPECT_EQ(held, (std::set<int32_t>{0, 1, 2}));
  EXPECT_EQ(table.Hold(), -1);
  EXPECT_EQ(table.num_held(), 3);
}

TEST(SlotTableTest, SlotFreedLastIsHeldNext) {
  SlotTable table(3);
  const int32_t first = table.Hold();
  const int32_t second = table.Hold();
  table.Free(first);
  table.Free(second);
  EXPECT_EQ(table.Hold(), second);
}

TEST(SlotTableTest, EverySlotIsFreeOrHeldAndNeverBoth) {
  std::mt19937 random(1);
  SlotTable table(16);
  std::set<int32_t> held;
  for (int i = 0; i < 10000; ++i) {
    if (random() % 2 == 0) {
      const int32_t slot = table.Hold();
      ASSERT_EQ(slot == -1, held.size() == 16);
      ASSERT_TRUE(slot < 0 || held.insert(slot).second) << "slot " << slot << " twice";
    } else if (!held.empty()) {
      auto slot = held.begin();
      std::advance(slot, random() % held.size());
      table.Free(*slot);
      held.erase(slot);
    }
    ASSERT_EQ(table.num_held(), static_cast<int32_t>(held.size()));
    ASSERT_EQ(table.num_free() + table.num_held(), table.num_slots());
  }
}

TEST(SlotTableDeathTest, FreeSlotCannotBeFreed) {
  SlotTable table(2);
  EXPECT_DEATH(table.Free(1), "only a held slot");
  EXPECT_DEATH(table.Free(2), "only a held slot");
}

}  // namespace
}  // namespace ela
