// The stores that state_store_conformance_test runs against, each empty and of its own.
#ifndef ELA_TESTS_SERVER_STORES_UNDER_TEST_H_
#define ELA_TESTS_SERVER_STORES_UNDER_TEST_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "scheduler/state_store.h"
#include "server/state_store_redis.h"
#include "server/state_store_rocksdb.h"
#include "tests/fakes/fake_state_store.h"
#include "tests/model/temporary_directory.h"
#include "tests/server/redis_process.h"

namespace ela {

// A store and whatever it lives on (a directory, a server process); both go with the object.
class StoreUnderTest {
 public:
  virtual ~StoreUnderTest() = default;
  virtual StateStore& store() = 0;
};

struct StoreFactory {
  std::string name;
  std::function<std::unique_ptr<StoreUnderTest>()> make;
};

class FakeStoreUnderTest final : public StoreUnderTest {
 public:
  StateStore& store() override { return store_; }

 private:
  FakeStateStore store_;
};

class RocksDbUnderTest final : public StoreUnderTest {
 public:
  RocksDbUnderTest() {
    RocksDbOptions options;
    options.directory = directory_ / "store";
    absl::StatusOr<std::unique_ptr<StateStore>> store = OpenRocksDbStore(options);
    EXPECT_EQ(store.status(), absl::OkStatus());
    store_ = *std::move(store);
  }
  StateStore& store() override { return *store_; }

 private:
  TemporaryDirectory directory_;
  std::unique_ptr<StateStore> store_;
};

class RedisUnderTest final : public StoreUnderTest {
 public:
  RedisUnderTest() {
    RedisOptions options;
    options.address = redis_.address();
    absl::StatusOr<std::unique_ptr<StateStore>> store = OpenRedisStore(options);
    EXPECT_EQ(store.status(), absl::OkStatus());
    store_ = *std::move(store);
  }
  StateStore& store() override { return *store_; }

 private:
  RedisProcess redis_;
  std::unique_ptr<StateStore> store_;
};

inline std::vector<StoreFactory> StoresUnderTest() {
  return {{"Fake", [] { return std::make_unique<FakeStoreUnderTest>(); }},
          {"Redis", [] { return std::make_unique<RedisUnderTest>(); }},
          {"RocksDb", [] { return std::make_unique<RocksDbUnderTest>(); }}};
}

}  // namespace ela

#endif  // ELA_TESTS_SERVER_STORES_UNDER_TEST_H_
