#include "scheduler/batch_planner.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace ela {
namespace {

PlanCandidate Decoding(int32_t slot) {
  PlanCandidate candidate;
  candidate.slot = slot;
  candidate.decoding = true;
  return candidate;
}

PlanCandidate Prefilling(int32_t slot, int64_t position, int64_t left, uint64_t last_served = 0) {
  PlanCandidate candidate;
  candidate.slot = slot;
  candidate.position = position;
  candidate.left_in_pass = left;
  candidate.last_served = last_served;
  return candidate;
}

BatchPlan Plan(const std::vector<PlanCandidate>& candidates, int32_t budget, int32_t chunk) {
  BatchPlan plan;
  PlanBatch(candidates, {budget, chunk}, plan);
  return plan;
}

TEST(BatchPlannerTest, NothingToRunGivesAnEmptyPlan) {
  EXPECT_TRUE(Plan({}, 64, 16).items.empty());
}

TEST(BatchPlannerTest, DecodeComesFirstAndPrefillTakesTheRest) {
  const BatchPlan plan = Plan({Prefilling(0, 0, 500), Decoding(1), Decoding(2)}, 64, 128);
  ASSERT_EQ(plan.items.size(), 3u);
  EXPECT_EQ(plan.items[0].candidate, 1);
  EXPECT_EQ(plan.items[1].candidate, 2);
  EXPECT_EQ(plan.items[2].candidate, 0);
  EXPECT_EQ(plan.items[2].num_tokens, 48) << "62 are left; 48 ends at a block";
  EXPECT_EQ(plan.decode_tokens, 2);
  EXPECT_EQ(plan.prefill_tokens, 48);
}

TEST(BatchPlannerTest, ChunksEndAtBlocksWhereverTheyStart) {
  EXPECT_EQ(Plan({Prefilling(0, 5, 500)}, 64, 32).items[0].num_tokens, 27);
  EXPECT_EQ(Plan({Prefilling(0, 16, 500)}, 64, 32).items[0].num_tokens, 32);
  EXPECT_EQ(Plan({Prefilling(0, 5, 500)}, 64, 7).items[0].num_tokens, 7) << "no block in reach";
  EXPECT_EQ(Plan({Prefilling(0, 5, 20)}, 64, 32).items[0].num_tokens, 20) << "the segment's end";
}

TEST(BatchPlannerTest, PrefillServedLongestAgoGoesFirst) {
  const BatchPlan plan =
      Plan({Prefilling(0, 0, 500, 9), Prefilling(1, 0, 500, 7), Prefilling(2, 0, 500, 8)}, 64, 32);
  ASSERT_EQ(plan.items.size(), 2u);
  EXPECT_EQ(plan.items[0].candidate, 1);
  EXPECT_EQ(plan.items[1].candidate, 2);
}

// The promises of the header, over random inputs.
TEST(BatchPlannerTest, PromisesHoldForRandomInputs) {
  for (uint32_t seed = 0; seed < 3000; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    std::vector<PlanCandidate> candidates(random() % 40);
    int32_t num_decoding = 0;
    for (size_t i = 0; i < candidates.size(); ++i) {
      const auto slot = static_cast<int32_t>(i);
      candidates[i] = random() % 2 == 0
                          ? Decoding(slot)
                          : Prefilling(slot, random() % 100, 1 + random() % 300, random() % 5);
      num_decoding += candidates[i].decoding;
    }
    const PlanLimits limits{static_cast<int32_t>(40 + random() % 300),
                            static_cast<int32_t>(1 + random() % 150)};
    const BatchPlan plan = Plan(candidates, limits.token_budget, limits.prefill_chunk);

    int32_t decode_tokens = 0;
    int32_t prefill_tokens = 0;
    std::set<int32_t> slots;
    uint64_t latest_served = 0;
    for (const PlannedItem& item : plan.items) {
      const PlanCandidate& candidate = candidates[item.candidate];
      ASSERT_TRUE(slots.insert(candidate.slot).second) << "slot twice";
      ASSERT_GT(item.num_tokens, 0);
      if (candidate.decoding) {
        ASSERT_EQ(item.num_tokens, 1);
        ++decode_tokens;
        continue;
      }
      ASSERT_LE(item.num_tokens, candidate.left_in_pass) << "beyond the prompt";
      ASSERT_LE(item.num_tokens, limits.prefill_chunk);
      ASSERT_GE(candidate.last_served, latest_served) << "out of turn";
      latest_served = candidate.last_served;
      prefill_tokens += item.num_tokens;
    }
    ASSERT_EQ(decode_tokens, num_decoding) << "decode starved";
    ASSERT_EQ(plan.decode_tokens, decode_tokens);
    ASSERT_EQ(plan.prefill_tokens, prefill_tokens);
    ASSERT_LE(decode_tokens + prefill_tokens, limits.token_budget);
    const bool some_prefill = num_decoding < static_cast<int32_t>(candidates.size());
    if (some_prefill && num_decoding < limits.token_budget) {
      ASSERT_GT(prefill_tokens, 0);
    }
  }
}

TEST(BatchPlannerTest, EveryPrefillIsServedWithinOneRoundOfItsNeighbours) {
  std::mt19937 random(3);
  std::vector<PlanCandidate> candidates;
  for (int32_t i = 0; i < 20; ++i) candidates.push_back(Prefilling(i, 0, 1 << 30));
  std::vector<uint64_t> served(20, 0);
  BatchPlan plan;
  for (uint64_t step = 1; step <= 500; ++step) {
    PlanBatch(candidates, {static_cast<int32_t>(20 + random() % 60), 32}, plan);
    for (const PlannedItem& item : plan.items) {
      candidates[item.candidate].last_served = step;
      served[item.candidate] = step;
    }
    for (const uint64_t last : served) ASSERT_LE(step - last, 20u);
  }
}

}  // namespace
}  // namespace ela
