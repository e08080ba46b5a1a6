#include "server/rpc_status.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "scheduler/request.h"

namespace ela {
namespace {

template <typename Detail>
Detail DetailOf(const grpc::Status& status) {
  google::rpc::Status wire;
  EXPECT_TRUE(wire.ParseFromString(status.error_details()));
  Detail detail;
  for (const auto& any : wire.details()) any.UnpackTo(&detail);
  return detail;
}

TEST(RpcStatusTest, CodesKeepTheirMeaning) {
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus(), "r").ok());
  EXPECT_EQ(ToGrpcStatus(absl::NotFoundError("x"), "r").error_code(), grpc::NOT_FOUND);
  EXPECT_EQ(ToGrpcStatus(absl::DataLossError("x"), "r").error_code(), grpc::DATA_LOSS);
}

TEST(RpcStatusTest, OverloadSaysWhenToComeBack) {
  const absl::Status full =
      WithRetryAfter(absl::ResourceExhaustedError("the queue is full"), absl::Milliseconds(1500));
  const grpc::Status status = ToGrpcStatus(full, "r");
  EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED);
  const auto retry = DetailOf<google::rpc::RetryInfo>(status);
  EXPECT_EQ(retry.retry_delay().seconds(), 1);
  EXPECT_EQ(retry.retry_delay().nanos(), 500000000);
  const auto info = DetailOf<google::rpc::ErrorInfo>(status);
  EXPECT_EQ(info.reason(), "QUEUE_FULL");
  EXPECT_EQ(info.domain(), "ela.v1");
  EXPECT_EQ(info.metadata().at("request_id"), "r");
}

TEST(RpcStatusTest, InternalErrorsTellTheIdAndNothingElse) {
  const grpc::Status status = ToGrpcStatus(absl::InternalError("/secret/path:7"), "req-9");
  EXPECT_EQ(status.error_code(), grpc::INTERNAL);
  EXPECT_THAT(status.error_message(), testing::HasSubstr("req-9"));
  EXPECT_THAT(status.error_message(), testing::Not(testing::HasSubstr("secret")));
  EXPECT_THAT(status.error_details(), testing::Not(testing::HasSubstr("secret")));
}

TEST(RpcStatusTest, ANamedReasonWins) {
  const absl::Status status = WithReason(absl::ResourceExhaustedError("x"), "SLOW_READER");
  EXPECT_EQ(ReasonOf(status), "SLOW_READER");
  EXPECT_EQ(ReasonOf(absl::UnavailableError("x")), "DRAINING");
}

TEST(RpcStatusTest, ViolationsTravelWhole) {
  Violations violations;
  EXPECT_TRUE(violations.ToStatus().ok());
  violations.Add("a.b", "is 1, allowed are 2 to 3");
  violations.Add("c", "is empty");
  const grpc::Status status = ToGrpcStatus(violations.ToStatus(), "r");
  EXPECT_EQ(status.error_message(), "a.b is 1, allowed are 2 to 3; c is empty");
  const auto details = DetailOf<google::rpc::BadRequest>(status);
  ASSERT_EQ(details.field_violations_size(), 2);
  EXPECT_EQ(details.field_violations(1).field(), "c");
}

TEST(RpcStatusTest, OfVeryManyViolationsTheFirstAreToldAndTheRestCounted) {
  Violations violations;
  for (int i = 0; i < 100000; ++i) violations.Add("stop", "has 0 bytes, allowed are 1 to 128");
  const grpc::Status status = ToGrpcStatus(violations.ToStatus(), "r");
  EXPECT_THAT(status.error_message(), testing::EndsWith("; and 99984 more"));
  EXPECT_EQ(DetailOf<google::rpc::BadRequest>(status).field_violations_size(), 16);
  EXPECT_LT(status.error_message().size() + status.error_details().size(), 4096);
}

TEST(RpcStatusTest, ALongNameIsShortenedBetweenCharacters) {
  EXPECT_EQ(Shortened("gpt"), "gpt");
  EXPECT_EQ(Shortened(std::string(63, 'x') + "\xC3\xA9"), std::string(63, 'x') + "... (65 bytes)");
}

}  // namespace
}  // namespace ela
