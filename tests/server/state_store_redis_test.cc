// What is Redis's own: a server that refuses, stalls, is killed, comes back with or without its
// data, is full, wants a password. Each test starts its own and ends it.
#include "server/state_store_redis.h"

#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/redis_client.h"
#include "tests/fakes/session_makers.h"
#include "tests/server/redis_process.h"

namespace ela {
namespace {

using testing::HasSubstr;

class RedisStoreTest : public testing::Test {
 protected:
  void Open(const RedisProcess& redis) {
    options_.address = redis.address();
    auto store = OpenRedisStore(options_);
    ASSERT_EQ(store.status(), absl::OkStatus());
    store_ = *std::move(store);
  }
  absl::Status Append(int64_t position, std::vector<TokenId> tokens) {
    return WriteTo(*store_, AppendTo(TestId(1), 1, position, std::move(tokens)));
  }

  RedisOptions options_;
  std::unique_ptr<StateStore> store_;
};

TEST_F(RedisStoreTest, SaysHowDurableTheServerIs) {
  RedisProcess redis;
  Open(redis);
  EXPECT_EQ(store_->Describe(),
            "redis at " + redis.address() + " (appendonly=yes, appendfsync=always)");
}

TEST_F(RedisStoreTest, NobodyThereIsUnavailable) {
  TemporaryDirectory directory;
  options_.address = "unix:" + (directory / "none");
  const absl::Status refused = OpenRedisStore(options_).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(refused.message()), HasSubstr(options_.address));
  for (const char* address : {"", "nowhere", "localhost:0", "localhost:70000", "localhost:x"}) {
    options_.address = address;
    EXPECT_EQ(OpenRedisStore(options_).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST_F(RedisStoreTest, KilledServerIsUnavailableAndKeepsWhatItAcknowledged) {
  RedisProcess redis;
  Open(redis);
  ASSERT_EQ(store_->Create(TestSession(1)), absl::OkStatus());
  SessionWrite write = AppendTo(TestId(1), 1, 0, Tokens(0, 1000));
  write.put_snapshots = {SnapshotAt(1000, std::string(1'600'000, 's'))};
  ASSERT_EQ(WriteTo(*store_, write), absl::OkStatus());
  redis.Kill();
  EXPECT_EQ(Append(1000, {1}).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(store_->Read(TestId(1)).status().code(), absl::StatusCode::kUnavailable);
  redis.Start();
  EXPECT_EQ(Append(1000, {1}), absl::OkStatus());  // the same store, without being opened anew
  EXPECT_EQ(*store_->ReadTokens(TestId(1), 0, 1000), Tokens(0, 1000));
  EXPECT_EQ(store_->ReadSnapshot(TestId(1), 1000)->size(), 1'600'000);
}

TEST_F(RedisStoreTest, RestartBetweenCallsGoesUnnoticed) {
  RedisProcess redis;
  Open(redis);
  ASSERT_EQ(store_->Create(TestSession(1)), absl::OkStatus());
  redis.Kill();
  redis.Start();
  EXPECT_EQ(Append(0, {1, 2}), absl::OkStatus());
}

TEST_F(RedisStoreTest, ServerThatLostItsDataIsDataLoss) {
  RedisProcess redis;
  Open(redis);
  ASSERT_EQ(store_->Create(TestSession(1)), absl::OkStatus());
  ASSERT_EQ(Append(0, Tokens(0, 10)), absl::OkStatus());
  EXPECT_EQ(store_->Read(TestId(2)).status().code(), absl::StatusCode::kNotFound);
  redis.Kill();
  redis.ForgetData();
  redis.Start();
  const absl::Status lost = Append(10, {10});
  EXPECT_EQ(lost.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(lost.message()),
              HasSubstr("has lost its data since this server started"));
  EXPECT_EQ(store_->Acquire(TestId(1), 1, "b").status().code(), absl::StatusCode::kDataLoss);
  // Whoever has the session in memory puts it back.
  EXPECT_EQ(store_->Create(TestSession(1)), absl::OkStatus());
  EXPECT_EQ(Append(0, Tokens(0, 11)), absl::OkStatus());
  EXPECT_EQ(*store_->ReadTokens(TestId(1), 0, 11), Tokens(0, 11));
}

TEST_F(RedisStoreTest, StallIsDeadlineExceededAndRepeatingSettlesIt) {
  RedisProcess redis;
  options_.call_timeout = absl::Milliseconds(150);
  Open(redis);
  ASSERT_EQ(store_->Create(TestSession(1)), absl::OkStatus());
  redis.Stall();
  EXPECT_EQ(Append(0, {1, 2, 3}).code(), absl::StatusCode::kDeadlineExceeded);
  const auto acquired = store_->Acquire(TestId(1), 1, "server-b");
  EXPECT_EQ(acquired.status().code(), absl::StatusCode::kDeadlineExceeded);
  redis.GoOn();  // what it had received runs now, unseen by us
  const auto repeated = store_->Acquire(TestId(1), 1, "server-b");
  ASSERT_EQ(repeated.status(), absl::OkStatus());
  EXPECT_EQ(repeated->generation, 2);
  EXPECT_EQ(WriteTo(*store_, AppendTo(TestId(1), 2, 0, {1, 2, 3})), absl::OkStatus());
  EXPECT_EQ(*store_->ReadTokens(TestId(1), 0, 3), (std::vector<TokenId>{1, 2, 3}));
}

TEST_F(RedisStoreTest, FullMemoryIsResourceExhaustedAndChangesNothing) {
  RedisProcess redis;
  Open(redis);
  ASSERT_EQ(store_->Create(TestSession(1)), absl::OkStatus());
  ASSERT_EQ(Append(0, Tokens(0, 100)), absl::OkStatus());
  const auto client = RedisClient::Create(options_);
  ASSERT_EQ((*client)->Run({"CONFIG", "SET", "maxmemory", "1"}).status(), absl::OkStatus());
  SessionWrite snapshot = AppendTo(TestId(1), 1, 100, {});
  snapshot.put_snapshots = {SnapshotAt(100, "s")};
  EXPECT_EQ(WriteTo(*store_, snapshot).code(), absl::StatusCode::kResourceExhausted);
  SessionWrite rewind = AppendTo(TestId(1), 1, 0, Tokens(7, 50));
  rewind.rewind = true;
  EXPECT_EQ(WriteTo(*store_, rewind).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(*store_->ReadTokens(TestId(1), 0, 100), Tokens(0, 100));  // all or nothing

  EXPECT_EQ(store_->Delete(TestId(1), StateStore::kAnyGeneration), absl::OkStatus());
  EXPECT_EQ(store_->Create(TestSession(1)).code(), absl::StatusCode::kResourceExhausted);
  ASSERT_EQ((*client)->Run({"CONFIG", "SET", "maxmemory", "0"}).status(), absl::OkStatus());
  EXPECT_EQ(store_->Create(TestSession(1)), absl::OkStatus());
}

TEST_F(RedisStoreTest, PasswordComesFromAFile) {
  RedisProcess redis({"--requirepass", "secret word"});
  options_.address = redis.address();
  EXPECT_EQ(OpenRedisStore(options_).status().code(), absl::StatusCode::kFailedPrecondition);
  redis.directory().Write("wrong", "another\n");
  options_.credentials_file = redis.directory() / "wrong";
  const absl::Status refused = OpenRedisStore(options_).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(std::string(refused.message()).find("another"), std::string::npos);
  for (const char* text : {"secret word\n", "default:secret word\r\nmore"}) {
    redis.directory().Write("right", text);
    options_.credentials_file = redis.directory() / "right";
    EXPECT_EQ(OpenRedisStore(options_).status(), absl::OkStatus());
  }
  redis.directory().Write("empty", "\n");
  options_.credentials_file = redis.directory() / "empty";
  EXPECT_EQ(OpenRedisStore(options_).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(RedisStoreTest, TwoServersShareSessionsAndFenceEachOther) {
  RedisProcess redis;
  Open(redis);
  const auto other = OpenRedisStore(options_);
  ASSERT_EQ(other.status(), absl::OkStatus());
  ASSERT_EQ(store_->Create(TestSession(1)), absl::OkStatus());
  ASSERT_EQ(Append(0, {1, 2}), absl::OkStatus());
  const auto taken = (*other)->Acquire(TestId(1), 1, "server-b");
  ASSERT_EQ(taken.status(), absl::OkStatus());
  EXPECT_EQ(taken->num_tokens, 2);
  EXPECT_EQ(Append(2, {3}).code(), absl::StatusCode::kAborted);
  EXPECT_EQ(WriteTo(**other, AppendTo(TestId(1), 2, 2, {4})), absl::OkStatus());
  EXPECT_EQ(*store_->ReadTokens(TestId(1), 0, 3), (std::vector<TokenId>{1, 2, 4}));
}

TEST_F(RedisStoreTest, PrefixesKeepStoresApart) {
  RedisProcess redis;
  Open(redis);
  ASSERT_EQ(store_->Create(TestSession(1)), absl::OkStatus());
  options_.prefix = "staging";
  const auto other = OpenRedisStore(options_);
  EXPECT_EQ((*other)->Read(TestId(1)).status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE((*other)->List("acme", std::nullopt, 5)->sessions.empty());
}

}  // namespace
}  // namespace ela
