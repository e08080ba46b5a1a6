#include "server/state_store_factory.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/model/temporary_directory.h"
#include "tests/server/redis_process.h"

namespace ela {
namespace {

TEST(StateStoreFactoryTest, NameChoosesTheStore) {
  TemporaryDirectory directory;
  const auto rocksdb = OpenStateStore("rocksdb:" + (directory / "store"), "");
  ASSERT_EQ(rocksdb.status(), absl::OkStatus());
  EXPECT_EQ((*rocksdb)->Describe(), "rocksdb at " + (directory / "store"));
  RedisProcess redis;
  const auto shared = OpenStateStore("redis:" + redis.address(), "");
  ASSERT_EQ(shared.status(), absl::OkStatus());
  EXPECT_THAT((*shared)->Describe(), testing::HasSubstr("redis at " + redis.address()));
}

TEST(StateStoreFactoryTest, OtherNamesAreRefused) {
  for (const char* name : {"", "rocksdb", "rocksdb:", "redis:", "leveldb:/x", "/var/lib/ela"}) {
    EXPECT_EQ(CheckStateStoreName(name).code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_EQ(OpenStateStore(name, "").status().code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(CheckStateStoreName("redis:localhost:6379"), absl::OkStatus());
}

}  // namespace
}  // namespace ela
