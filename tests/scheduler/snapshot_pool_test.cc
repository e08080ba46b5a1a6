#include "scheduler/snapshot_pool.h"

#include <gtest/gtest.h>

#include <list>

namespace ela {
namespace {

TEST(SnapshotPoolTest, BudgetBoundsBytesAndDroppingMakesRoom) {
  std::list<SnapshotRef> droppable;
  SnapshotPool pool(350, 100, [&droppable] {
    if (droppable.empty()) return false;
    droppable.pop_front();
    return true;
  });
  EXPECT_EQ(pool.num_places(), 3);
  absl::Span<char> memory;
  std::vector<SnapshotRef> held;
  for (int i = 0; i < 3; ++i) held.push_back(pool.Take(i, 0, &memory));
  EXPECT_EQ(memory.size(), 100u);
  EXPECT_EQ(pool.used_bytes(), 300);
  EXPECT_EQ(pool.Take(9, 0, &memory), nullptr);
  droppable.push_back(held[0]);  // its owner lets go only later
  EXPECT_EQ(pool.Take(9, 0, &memory), nullptr);
  droppable.push_back(held[1]);
  held[1] = nullptr;
  const SnapshotRef taken = pool.Take(9, 4, &memory);
  ASSERT_NE(taken, nullptr);
  EXPECT_EQ(taken->position, 9);
  EXPECT_EQ(taken->lowest, 4);
  EXPECT_EQ(pool.used_bytes(), 300);
}

TEST(SnapshotPoolTest, ClaimsNeverExceedThePlaces) {
  SnapshotPool pool(250, 100, [] { return false; });
  EXPECT_TRUE(pool.Claim());
  EXPECT_TRUE(pool.Claim());
  EXPECT_FALSE(pool.Claim());
  pool.Unclaim();
  EXPECT_TRUE(pool.Claim());
}

TEST(SnapshotPoolTest, WithoutABudgetThereIsNoPlace) {
  SnapshotPool pool(0, 100, [] { return true; });
  absl::Span<char> memory;
  EXPECT_EQ(pool.Take(1, 0, &memory), nullptr);
  EXPECT_FALSE(pool.Claim());
}

}  // namespace
}  // namespace ela
