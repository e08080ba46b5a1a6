#include "scheduler/prompt_cursor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <tuple>

namespace ela {
namespace {

// (position, pass, has an output) of every token, in the order of absorption.
using Walk = std::vector<std::tuple<int64_t, int32_t, bool>>;

Walk WalkInChunks(PromptCursor cursor, int64_t chunk) {
  Walk walk;
  while (!cursor.done()) {
    const int64_t n = std::min(chunk, cursor.left_in_pass());
    for (int64_t i = 0; i < n; ++i) {
      walk.emplace_back(cursor.position() + i, cursor.segment().pass, cursor.in_output_pass());
    }
    const bool ends = cursor.EndsPromptAfter(n);
    cursor.Advance(n);
    EXPECT_EQ(ends, cursor.done());
  }
  return walk;
}

TEST(PromptCursorTest, OnePassWalksFromStartToEnd) {
  const auto cursor = PromptCursor::Create(5, {}, {}, 1, 0);
  ASSERT_TRUE(cursor.ok());
  EXPECT_EQ(WalkInChunks(*cursor, 2),
            (Walk{{0, 0, true}, {1, 0, true}, {2, 0, true}, {3, 0, true}, {4, 0, true}}));
}

TEST(PromptCursorTest, EachSegmentGoesThroughAllPassesBeforeTheNext) {
  const auto cursor = PromptCursor::Create(
      5, {2, 1, 2}, {SegmentKind::kPrompt, SegmentKind::kGenerated, SegmentKind::kPrompt}, 2, 0);
  ASSERT_TRUE(cursor.ok());
  EXPECT_EQ(WalkInChunks(*cursor, 16), (Walk{{0, 0, false},
                                             {1, 0, false},
                                             {0, 1, true},
                                             {1, 1, true},
                                             {2, 0, true},
                                             {3, 0, false},
                                             {4, 0, false},
                                             {3, 1, true},
                                             {4, 1, true}}));
}

TEST(PromptCursorTest, OrderDoesNotDependOnChunks) {
  std::mt19937 random(2);
  for (int i = 0; i < 200; ++i) {
    std::vector<int64_t> lengths(1 + random() % 5);
    std::vector<SegmentKind> kinds;
    int64_t total = 0;
    for (int64_t& length : lengths) {
      total += length = 1 + random() % 40;
      kinds.push_back(random() % 2 == 0 ? SegmentKind::kPrompt : SegmentKind::kGenerated);
    }
    const auto cursor = PromptCursor::Create(total, lengths, kinds, 1 + random() % 4, 0);
    ASSERT_TRUE(cursor.ok());
    EXPECT_EQ(WalkInChunks(*cursor, 1 + random() % 50), WalkInChunks(*cursor, 1));
  }
}

TEST(PromptCursorTest, GeneratedSegmentHasNoKnownEndForTheWorker) {
  const auto cursor = PromptCursor::Create(3, {3}, {SegmentKind::kGenerated}, 1, 0);
  ASSERT_TRUE(cursor.ok());
  EXPECT_EQ(cursor->segment().length, 0);
  EXPECT_EQ(cursor->left_in_pass(), 3);
}

TEST(PromptCursorTest, LimitHoldsForPromptSegmentsOfSeveralPasses) {
  const auto create = [](SegmentKind kind, int32_t passes) {
    return PromptCursor::Create(10, {10}, {kind}, passes, 9).status();
  };
  EXPECT_TRUE(absl::IsInvalidArgument(create(SegmentKind::kPrompt, 2)));
  EXPECT_TRUE(create(SegmentKind::kPrompt, 1).ok());
  EXPECT_TRUE(create(SegmentKind::kGenerated, 2).ok());
}

TEST(PromptCursorTest, LengthsThatDoNotFitAreRefused) {
  const SegmentKind kind = SegmentKind::kPrompt;
  const auto refused = [kind](std::vector<int64_t> lengths) {
    const std::vector<SegmentKind> kinds(lengths.size(), kind);
    return absl::IsInvalidArgument(PromptCursor::Create(10, lengths, kinds, 1, 0).status());
  };
  EXPECT_TRUE(refused({0, 10}));
  EXPECT_TRUE(refused({-1, 11}));
  EXPECT_TRUE(refused({5, 6}));
  EXPECT_TRUE(refused({INT64_MAX, INT64_MAX, 12}));
  EXPECT_TRUE(refused({5}));
  EXPECT_FALSE(refused({5, 5}));
}

}  // namespace
}  // namespace ela
