// Slots are lent by turns: what has had its quantum makes room for what waits, and comes back as if
// it had never been away.
#include <gtest/gtest.h>

#include <random>

#include "tests/fakes/engine_rig.h"

namespace ela {
namespace {

EngineOptions WithQuantum(int32_t quantum) {
  EngineOptions options;
  options.swap_quantum = quantum;
  options.max_queue = 20'000;
  return options;
}

FakeWorkerOptions WithSlots(int32_t num_slots, int32_t transfer_polls = 0) {
  FakeWorkerOptions options;
  options.num_slots = num_slots;
  options.transfer_polls = transfer_polls;
  return options;
}

// What a request costs without being absorbed twice: all but its last token.
int64_t Cost(const Asked& asked) {
  return asked.sink->usage.prompt_tokens + asked.sink->usage.generated_tokens - 1;
}

TEST(EngineSwapTest, TwoShareOneSlotByTurns) {
  for (const int32_t polls : {0, 2}) {
    EngineRig rig(WithQuantum(10), WithSlots(1, polls));
    const Asked first = rig.Ask(EngineRig::MakeRequest(10, 200));
    const Asked second = rig.Ask(EngineRig::MakeRequest(10, 200, 3));
    rig.RunTurns(100);
    EXPECT_GT(first.sink->tokens.size(), 20u);
    EXPECT_GT(second.sink->tokens.size(), 20u);
    EXPECT_EQ(rig.observer.load.num_swapped, 1);
    EXPECT_TRUE(rig.RunUntilIdle());
    EXPECT_EQ(first.sink->tokens, first.expected.tokens);
    EXPECT_EQ(second.sink->tokens, second.expected.tokens);
    EXPECT_EQ(rig.worker->num_tokens(), Cost(first) + Cost(second));
    EXPECT_EQ(rig.observer.load.num_swapped, 0);
    EXPECT_EQ(rig.observer.load.snapshot_bytes, 0);
  }
}

TEST(EngineSwapTest, LongPrefillMakesRoomToo) {
  EngineRig rig(WithQuantum(100), WithSlots(1));
  const Asked reads = rig.Ask(EngineRig::MakeRequest(5001, 5));
  const Asked talks = rig.Ask(EngineRig::MakeRequest(10, 20, 3));
  rig.RunTurns(30);
  EXPECT_EQ(talks.sink->finish_count, 1);
  EXPECT_EQ(reads.sink->finish_count, 0);
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_EQ(reads.sink->tokens, reads.expected.tokens);
  EXPECT_EQ(rig.worker->num_tokens(), Cost(reads) + Cost(talks));
}

TEST(EngineSwapTest, SlowReaderGivesItsSlotUpAtOnceAndComesBack) {
  EngineRig rig(WithQuantum(1'000'000), WithSlots(1));
  const Asked slow = rig.Ask(EngineRig::MakeRequest(10, 30), 4);
  EXPECT_TRUE(rig.RunUntilIdle());
  const Asked fast = rig.Ask(EngineRig::MakeRequest(10, 30, 3));
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_EQ(fast.sink->tokens, fast.expected.tokens);
  EXPECT_EQ(rig.observer.load.num_paused, 1);
  EXPECT_EQ(rig.observer.load.slots_used, 0);
  while (slow.sink->finish_count == 0) {
    slow.sink->Read();
    rig.engine->Resume(*slow.ticket);
    EXPECT_TRUE(rig.RunUntilIdle());
  }
  EXPECT_EQ(slow.sink->tokens, slow.expected.tokens);
}

TEST(EngineSwapTest, SlowReaderWithoutASlotEndsInItsTime) {
  EngineOptions options = WithQuantum(100);
  options.slow_reader_timeout = absl::Seconds(3);
  EngineRig rig(options, WithSlots(1));
  const Asked slow = rig.Ask(EngineRig::MakeRequest(10, 30), 4);
  EXPECT_TRUE(rig.RunUntilIdle());
  const Asked fast = rig.Ask(EngineRig::MakeRequest(10, 30, 3));
  EXPECT_TRUE(rig.RunUntilIdle());
  rig.clock.Advance(absl::Seconds(3));
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_TRUE(absl::IsResourceExhausted(slow.sink->status)) << slow.sink->status;
  EXPECT_EQ(rig.observer.load.num_swapped, 0);
  EXPECT_EQ(rig.observer.load.snapshot_bytes, 0);
}

TEST(EngineSwapTest, HigherPriorityIsNotSwappedForLower) {
  EngineRig rig(WithQuantum(10), WithSlots(1));
  Request high = EngineRig::MakeRequest(10, 200);
  high.priority = 50;
  const Asked first = rig.Ask(std::move(high));
  const Asked second = rig.Ask(EngineRig::MakeRequest(10, 200, 3));
  rig.RunTurns(200);
  EXPECT_EQ(first.sink->finish_count, 1);
  EXPECT_TRUE(second.sink->tokens.empty());
}

TEST(EngineSwapTest, WithoutAQuantumASlotIsKept) {
  EngineRig rig(WithQuantum(0), WithSlots(1));
  const Asked first = rig.Ask(EngineRig::MakeRequest(10, 1000));
  const Asked second = rig.Ask(EngineRig::MakeRequest(10, 5, 3));
  rig.RunTurns(900);
  EXPECT_TRUE(second.sink->tokens.empty());
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_EQ(first.sink->tokens, first.expected.tokens);
}

TEST(EngineSwapTest, WithoutMemoryASlotIsKept) {
  EngineOptions options = WithQuantum(10);
  options.snapshot_bytes = FakeWorker().Info().state_bytes;
  EngineRig rig(options, WithSlots(2));
  std::vector<Asked> asked;
  for (int i = 0; i < 6; ++i) asked.push_back(rig.Ask(EngineRig::MakeRequest(10, 100, i)));
  rig.RunTurns(60);
  EXPECT_LE(rig.observer.load.num_swapped, 1);
  EXPECT_TRUE(rig.RunUntilIdle());
  for (const Asked& one : asked) EXPECT_EQ(one.sink->tokens, one.expected.tokens);
}

// Every one of ten thousand is alive from the start to its end; those who have had less go first,
// so that all come on together.
TEST(EngineSwapTest, TenThousandLiveSequencesOnSixteenSlotsNoneComputedTwice) {
  EngineOptions options = WithQuantum(8);
  options.prefix_min_tokens = 1000;
  EngineRig rig(options, WithSlots(16));
  constexpr int kNum = 10'000;
  std::vector<Asked> asked;
  for (int i = 0; i < kNum; ++i) {
    asked.push_back(rig.Ask(EngineRig::MakeRequest(1 + i % 7, 20, i % 997)));
    ASSERT_TRUE(asked.back().ticket.ok()) << asked.back().ticket.status();
  }
  size_t least = 0;
  int64_t turns = 0;
  while (least < 8 && turns < 100'000) {
    rig.RunTurns(1000);
    turns += 1000;
    least = 1000;
    for (const Asked& one : asked) least = std::min(least, one.sink->tokens.size());
  }
  size_t most = 0;
  for (const Asked& one : asked) most = std::max(most, one.sink->tokens.size());
  EXPECT_GE(least, 2u);
  EXPECT_LE(most, least + 3 * 8) << "nobody runs ahead by more than a few quanta";
  EXPECT_GT(rig.observer.load.num_swapped, kNum - 2000);
  EXPECT_TRUE(rig.RunUntilIdle(1'000'000));
  int64_t cost = 0;
  for (const Asked& one : asked) {
    ASSERT_EQ(one.sink->tokens, one.expected.tokens);
    cost += Cost(one);
  }
  EXPECT_EQ(rig.worker->num_tokens(), cost);
}

TEST(EngineSwapTest, TenantsShareTokensByWeightAlsoWithinLongAnswers) {
  EngineOptions options = WithQuantum(16);
  options.tenants = {{"one", 1}, {"three", 3}};
  EngineRig rig(options, WithSlots(4));
  std::map<std::string, std::vector<Asked>> asked;
  for (int i = 0; i < 16; ++i) {
    for (const char* tenant : {"one", "three"}) {
      Request request = EngineRig::MakeRequest(5, 100'000, i);
      request.tenant = tenant;
      asked[tenant].push_back({std::make_shared<RecordingSink>(), {}, 0});
      Asked& one = asked[tenant].back();
      one.ticket = rig.engine->Submit(std::move(request), one.sink);
    }
  }
  rig.RunTurns(10'000);
  const auto tokens = [&](const char* tenant) {
    size_t sum = 0;
    for (const Asked& one : asked[tenant]) sum += one.sink->tokens.size();
    return static_cast<double>(sum);
  };
  EXPECT_NEAR(tokens("three") / tokens("one"), 3, 0.3);
}

TEST(EngineSwapTest, CancelledWhileSwappedOrMovingLeavesNothing) {
  for (const int32_t polls : {0, 1, 3}) {
    EngineRig rig(WithQuantum(3), WithSlots(2, polls));
    std::mt19937 random(polls);
    std::vector<Asked> asked;
    for (int i = 0; i < 200; ++i) asked.push_back(rig.Ask(EngineRig::MakeRequest(5, 40, i)));
    for (const Asked& one : asked) {
      rig.RunTurns(random() % 40);
      if (random() % 2 == 0) rig.engine->Cancel(*one.ticket, absl::CancelledError("gone"));
    }
    EXPECT_TRUE(rig.RunUntilIdle());
    for (const Asked& one : asked) {
      EXPECT_EQ(one.sink->finish_count, 1);
      if (one.sink->status.ok()) {
        EXPECT_EQ(one.sink->tokens, one.expected.tokens);
      } else {
        EXPECT_TRUE(std::equal(one.sink->tokens.begin(), one.sink->tokens.end(),
                               one.expected.tokens.begin()));
      }
    }
    EXPECT_EQ(rig.observer.load.slots_used, 0);
    EXPECT_EQ(rig.observer.load.num_swapped, 0);
    EXPECT_EQ(rig.observer.load.snapshot_bytes, 0);
  }
}

}  // namespace
}  // namespace ela
