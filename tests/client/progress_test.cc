#include "client/command/progress.h"

#include <gtest/gtest.h>

namespace ela::client {
namespace {

TEST(ProgressTest, ShowsShareRatesAndRemainingTime) {
  EXPECT_EQ(ProgressLine({50, 200, "7 tokens/s"}, absl::Seconds(10)),
            "[######..................]  25 %  7 tokens/s  0:30 left");
}

TEST(ProgressTest, RemainingTimeReachesHours) {
  EXPECT_EQ(ProgressLine({1, 2, "-"}, absl::Seconds(3725)),
            "[############............]  50 %  -  1:02:05 left");
}

TEST(ProgressTest, PromisesNothingBeforeTheFirstByte) {
  EXPECT_EQ(ProgressLine({0, 10, "-"}, absl::Seconds(9)), "[........................]   0 %  -");
}

TEST(ProgressTest, WithoutATotalItShowsTheElapsedTime) {
  EXPECT_EQ(ProgressLine({5, 0, "7 tokens/s"}, absl::Seconds(65)), "1:05  7 tokens/s");
}

}  // namespace
}  // namespace ela::client
