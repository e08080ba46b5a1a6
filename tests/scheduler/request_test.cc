#include "scheduler/request.h"

#include <gtest/gtest.h>

namespace ela {
namespace {

TEST(RequestTest, RetryAfterTravelsWithTheStatus) {
  const absl::Status status =
      WithRetryAfter(absl::ResourceExhaustedError("full"), absl::Milliseconds(2500));
  EXPECT_TRUE(absl::IsResourceExhausted(status));
  EXPECT_EQ(status.message(), "full");
  EXPECT_EQ(RetryAfter(status), absl::Milliseconds(2500));
}

TEST(RequestTest, StatusWithoutAHintHasNone) {
  EXPECT_FALSE(RetryAfter(absl::ResourceExhaustedError("full")).has_value());
  EXPECT_FALSE(RetryAfter(absl::OkStatus()).has_value());
}

}  // namespace
}  // namespace ela
