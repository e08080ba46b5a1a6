#include "scheduler/token_log.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>

namespace ela {
namespace {

std::vector<TokenId> Count(TokenId first, int64_t n) {
  std::vector<TokenId> tokens(n);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

std::vector<TokenId> All(const TokenLog& log) {
  std::vector<TokenId> tokens;
  log.CopyTo(0, log.size(), tokens);
  return tokens;
}

TEST(TokenLogTest, ForksShareTheirPastAndNothingElse) {
  LogMemory memory{1 << 20};
  TokenLog parent(memory);
  parent.Append(Count(0, 10'000));
  const int64_t alone = memory.used_bytes;
  TokenLog child = parent;
  EXPECT_EQ(memory.used_bytes, alone) << "no token was copied";
  parent.Append(Count(20'000, 5));
  child.Append(Count(30'000, 5));
  std::vector<TokenId> expected = Count(0, 10'000);
  for (int i = 0; i < 5; ++i) expected.push_back(30'000 + i);
  EXPECT_EQ(All(child), expected);
  EXPECT_LT(memory.used_bytes, alone + 3 * TokenLog::BytesFor(0)) << "one chunk was";
}

TEST(TokenLogTest, RandomForksAreWhatListsAre) {
  std::mt19937 random(3);
  LogMemory memory{int64_t{1} << 40};
  {
    std::vector<TokenLog> logs(1, TokenLog(memory));
    std::vector<std::vector<TokenId>> lists(1);
    for (int step = 0; step < 3000; ++step) {
      const size_t i = random() % logs.size();
      switch (random() % 4) {
        case 0:
          if (logs.size() < 20) {
            logs.push_back(logs[i]);
            lists.push_back(lists[i]);
          }
          break;
        case 1: {
          const int64_t size = random() % (lists[i].size() + 1);
          logs[i].Truncate(size);
          lists[i].resize(size);
          break;
        }
        default: {
          const std::vector<TokenId> more = Count(step, random() % 900);
          logs[i].Append(more);
          lists[i].insert(lists[i].end(), more.begin(), more.end());
        }
      }
      ASSERT_EQ(All(logs[i]), lists[i]);
      const int64_t begin = random() % (lists[i].size() + 1);
      std::vector<TokenId> tail;
      logs[i].CopyTo(begin, logs[i].size(), tail);
      ASSERT_EQ(tail, std::vector<TokenId>(lists[i].begin() + begin, lists[i].end()));
    }
  }
  EXPECT_EQ(memory.used_bytes, 0);
}

}  // namespace
}  // namespace ela
