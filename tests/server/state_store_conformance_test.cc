// The numbered rules of scheduler/state_store.h, held against every store.
#include <atomic>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/session_makers.h"
#include "tests/server/stores_under_test.h"

namespace ela {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class StateStoreTest : public testing::TestWithParam<StoreFactory> {
 protected:
  StateStoreTest() : under_test_(GetParam().make()), store_(under_test_->store()) {}

  SessionId Created(uint32_t number, const std::string& tenant = "acme") {
    EXPECT_EQ(store_.Create(TestSession(number, tenant)), absl::OkStatus());
    return TestId(number);
  }
  absl::Status Append(const SessionId& id, int64_t position, std::vector<TokenId> tokens,
                      int64_t generation = 1) {
    return WriteTo(store_, AppendTo(id, generation, position, std::move(tokens)));
  }
  std::vector<TokenId> Log(const SessionId& id) {
    const auto session = store_.Read(id);
    EXPECT_EQ(session.status(), absl::OkStatus());
    const auto tokens = store_.ReadTokens(id, 0, session->num_tokens);
    EXPECT_EQ(tokens.status(), absl::OkStatus());
    return *tokens;
  }

  const std::unique_ptr<StoreUnderTest> under_test_;
  StateStore& store_;
};

TEST_P(StateStoreTest, CreatedSessionReadsBackWhole) {
  StoredSession session = TestSession(1, std::string("a\0b", 3));
  session.meta.lobe = "medicine";
  session.meta.expires = absl::FromUnixMicros(1'800'000'000'123'456) + absl::Nanoseconds(7);
  session.meta.checkpoints = {{"begin", 0}, {std::string("\0\xff", 2), 123456789012}};
  session.meta.details = std::string("\0\1\2\n", 4);
  ASSERT_EQ(store_.Create(session), absl::OkStatus());

  const auto read = store_.Read(session.id);
  ASSERT_EQ(read.status(), absl::OkStatus());
  EXPECT_EQ(read->id, session.id);
  EXPECT_EQ(read->tenant, session.tenant);
  EXPECT_EQ(read->generation, 1);
  EXPECT_EQ(read->owner, "server-a");
  EXPECT_EQ(read->created, session.created);
  EXPECT_EQ(read->meta.model, "ela-7m");
  EXPECT_EQ(read->meta.model_fingerprint, session.meta.model_fingerprint);
  EXPECT_EQ(read->meta.lobe, "medicine");
  EXPECT_EQ(read->meta.expires, absl::FromUnixMicros(1'800'000'000'123'456));
  EXPECT_EQ(read->meta.checkpoints, session.meta.checkpoints);
  EXPECT_EQ(read->meta.details, session.meta.details);
  EXPECT_EQ(read->num_tokens, 0);
  EXPECT_THAT(read->snapshots, IsEmpty());
}

TEST_P(StateStoreTest, SessionWithoutExpiryNeverExpires) {
  const SessionId id = Created(1);
  EXPECT_EQ(store_.Read(id)->meta.expires, absl::InfiniteFuture());
  EXPECT_THAT(*store_.SweepExpired(absl::FromUnixSeconds(int64_t{1} << 40), 10), IsEmpty());
}

TEST_P(StateStoreTest, CreateIsRefusedForAnIdInUseButMayBeRepeated) {
  const SessionId id = Created(1);
  EXPECT_EQ(store_.Create(TestSession(1)), absl::OkStatus());
  EXPECT_EQ(store_.Create(TestSession(1, "other")).code(), absl::StatusCode::kAlreadyExists);
  ASSERT_EQ(Append(id, 0, {1}), absl::OkStatus());
  EXPECT_EQ(store_.Create(TestSession(1)).code(), absl::StatusCode::kAlreadyExists);
}

TEST_P(StateStoreTest, LimitsOfARecordAreTold) {
  StoredSession session = TestSession(1, std::string(kMaxTenantBytes + 1, 't'));
  const absl::Status refused = store_.Create(session);
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(refused.message(), HasSubstr("tenant has 257 bytes, a stored session allows 256"));
  const SessionId id = Created(2);
  SessionWrite write = AppendTo(id, 1, 0, {});
  write.meta.emplace();
  write.meta->details.resize(kMaxDetailsBytes + 1);
  EXPECT_EQ(WriteTo(store_, write).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Append(id, -1, {1}).code(), absl::StatusCode::kInvalidArgument);
}

TEST_P(StateStoreTest, WhatIsNotThereIsNotFound) {
  EXPECT_EQ(store_.Read(TestId(1)).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_.Acquire(TestId(1), 1, "b").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_.ReadTokens(TestId(1), 0, 0).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_.ReadSnapshot(TestId(1), 0).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Append(TestId(1), 0, {1}).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_.Delete(TestId(1), 1), absl::OkStatus());
}

TEST_P(StateStoreTest, LogGrowsByAppendsOfAnySize) {
  const SessionId id = Created(1);
  std::vector<TokenId> expected;
  for (const int64_t size : {1, 1, 126, 1, 127, 128, 129, 1000, 0, 5000, 3}) {
    const std::vector<TokenId> tokens = Tokens(static_cast<TokenId>(7 * expected.size()), size);
    ASSERT_EQ(Append(id, static_cast<int64_t>(expected.size()), tokens), absl::OkStatus());
    expected.insert(expected.end(), tokens.begin(), tokens.end());
    ASSERT_EQ(Log(id), expected);
  }
}

TEST_P(StateStoreTest, EveryRangeOfTheLogReadsBack) {
  const SessionId id = Created(1);
  std::vector<TokenId> log;
  for (int64_t size = 1; size < 30; ++size) {
    const auto tokens = Tokens(static_cast<TokenId>(log.size()), size);
    ASSERT_EQ(Append(id, static_cast<int64_t>(log.size()), tokens), absl::OkStatus());
    log.insert(log.end(), tokens.begin(), tokens.end());
  }
  const int64_t end = static_cast<int64_t>(log.size());
  for (int64_t from = 0; from <= end; from += 29) {
    for (int64_t to = from; to <= end; to += 31) {
      const auto tokens = store_.ReadTokens(id, from, to);
      ASSERT_EQ(tokens.status(), absl::OkStatus());
      ASSERT_EQ(*tokens, std::vector<TokenId>(log.begin() + from, log.begin() + to));
    }
  }
  EXPECT_EQ(store_.ReadTokens(id, 0, end + 1).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(store_.ReadTokens(id, -1, 1).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(store_.ReadTokens(id, 2, 1).status().code(), absl::StatusCode::kOutOfRange);
}

TEST_P(StateStoreTest, ExtremeTokensKeepTheirBits) {
  const SessionId id = Created(1);
  const std::vector<TokenId> tokens = {0, 2147483647, -2147483647 - 1, -1, 256, 13, 10};
  ASSERT_EQ(Append(id, 0, tokens), absl::OkStatus());
  EXPECT_EQ(Log(id), tokens);
}

TEST_P(StateStoreTest, RepeatedAppendChangesNothing) {
  const SessionId id = Created(1);
  ASSERT_EQ(Append(id, 0, Tokens(0, 200)), absl::OkStatus());
  EXPECT_EQ(Append(id, 0, Tokens(0, 200)), absl::OkStatus());
  EXPECT_EQ(Append(id, 100, Tokens(100, 50)), absl::OkStatus());
  EXPECT_EQ(Log(id), Tokens(0, 200));
  EXPECT_EQ(Append(id, 150, Tokens(150, 100)), absl::OkStatus());
  EXPECT_EQ(Log(id), Tokens(0, 250));
}

TEST_P(StateStoreTest, OtherTokensAtTheSamePositionsAreRefused) {
  const SessionId id = Created(1);
  ASSERT_EQ(Append(id, 0, Tokens(0, 200)), absl::OkStatus());
  const absl::Status refused = Append(id, 100, Tokens(101, 200));
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(refused.message(), HasSubstr("has other tokens from position 100 on"));
  EXPECT_EQ(Log(id), Tokens(0, 200));
}

TEST_P(StateStoreTest, WriteBehindTheEndIsRefused) {
  const SessionId id = Created(1);
  ASSERT_EQ(Append(id, 0, {1, 2, 3}), absl::OkStatus());
  const absl::Status refused = Append(id, 4, {5});
  EXPECT_EQ(refused.code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(refused.message(), HasSubstr("ends at position 3, this is for position 4"));
  SessionWrite write = AppendTo(id, 1, 3, {4});
  write.put_snapshots = {SnapshotAt(5, "s")};
  EXPECT_EQ(WriteTo(store_, write).code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(Log(id), ElementsAre(1, 2, 3));  // all or nothing
}

TEST_P(StateStoreTest, RewindCutsTheLogAndDropsSnapshotsBehind) {
  const SessionId id = Created(1);
  SessionWrite write = AppendTo(id, 1, 0, Tokens(0, 1000));
  write.put_snapshots = {SnapshotAt(0, "a"), SnapshotAt(300, "b"), SnapshotAt(301, "c")};
  ASSERT_EQ(WriteTo(store_, write), absl::OkStatus());

  SessionWrite rewind = AppendTo(id, 1, 300, {-7});
  rewind.rewind = true;
  ASSERT_EQ(WriteTo(store_, rewind), absl::OkStatus());
  std::vector<TokenId> expected = Tokens(0, 300);
  expected.push_back(-7);
  EXPECT_EQ(Log(id), expected);
  EXPECT_THAT(store_.Read(id)->snapshots, ElementsAre(SnapshotInfo{0, 1}, SnapshotInfo{300, 1}));
  EXPECT_EQ(store_.ReadSnapshot(id, 301).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(*store_.ReadSnapshot(id, 300), "b");

  ASSERT_EQ(WriteTo(store_, rewind), absl::OkStatus());  // repeated
  EXPECT_EQ(Log(id), expected);
  ASSERT_EQ(Append(id, 301, Tokens(5, 500)), absl::OkStatus());
  rewind.log_position = 0;
  rewind.tokens.clear();
  ASSERT_EQ(WriteTo(store_, rewind), absl::OkStatus());
  EXPECT_THAT(Log(id), IsEmpty());
  rewind.log_position = 1;
  EXPECT_EQ(WriteTo(store_, rewind).code(), absl::StatusCode::kOutOfRange);
}

TEST_P(StateStoreTest, SnapshotsArePutReplacedAndDeleted) {
  const SessionId id = Created(1);
  const std::string state(1 << 20, '\xE7');
  SessionWrite write = AppendTo(id, 1, 0, Tokens(0, 64));
  write.put_snapshots = {SnapshotAt(64, state), SnapshotAt(32, std::string("\0\r\n", 3))};
  ASSERT_EQ(WriteTo(store_, write), absl::OkStatus());
  EXPECT_THAT(store_.Read(id)->snapshots,
              ElementsAre(SnapshotInfo{32, 3}, SnapshotInfo{64, 1 << 20}));
  EXPECT_TRUE(*store_.ReadSnapshot(id, 64) == state);
  EXPECT_EQ(*store_.ReadSnapshot(id, 32), std::string("\0\r\n", 3));

  SessionWrite replace = AppendTo(id, 1, 64, {});
  replace.put_snapshots = {SnapshotAt(64, "newer"), SnapshotAt(0, "")};
  replace.delete_snapshots = {32, 17};
  ASSERT_EQ(WriteTo(store_, replace), absl::OkStatus());
  EXPECT_THAT(store_.Read(id)->snapshots, ElementsAre(SnapshotInfo{0, 0}, SnapshotInfo{64, 5}));
  EXPECT_EQ(*store_.ReadSnapshot(id, 64), "newer");
  EXPECT_EQ(*store_.ReadSnapshot(id, 0), "");
  EXPECT_EQ(store_.ReadSnapshot(id, 32).status().code(), absl::StatusCode::kNotFound);
}

TEST_P(StateStoreTest, NewestSnapshotIsTheOneAtOrBefore) {
  const SessionId id = Created(1);
  SessionWrite write = AppendTo(id, 1, 0, Tokens(0, 64));
  write.put_snapshots = {SnapshotAt(64, "b"), SnapshotAt(16, "a")};
  ASSERT_EQ(WriteTo(store_, write), absl::OkStatus());
  const StoredSession session = *store_.Read(id);
  EXPECT_EQ(NewestSnapshot(session, 15), nullptr);
  EXPECT_EQ(NewestSnapshot(session, 16)->position, 16);
  EXPECT_EQ(NewestSnapshot(session, 63)->position, 16);
  EXPECT_EQ(NewestSnapshot(session, 1000)->position, 64);
}

TEST_P(StateStoreTest, AcquireFencesTheEarlierOwner) {
  const SessionId id = Created(1);
  ASSERT_EQ(Append(id, 0, {1, 2}), absl::OkStatus());
  const auto session = store_.Acquire(id, 1, "server-b");
  ASSERT_EQ(session.status(), absl::OkStatus());
  EXPECT_EQ(session->generation, 2);
  EXPECT_EQ(session->owner, "server-b");
  EXPECT_EQ(session->num_tokens, 2);

  const absl::Status fenced = Append(id, 2, {3});
  EXPECT_EQ(fenced.code(), absl::StatusCode::kAborted);
  EXPECT_THAT(fenced.message(), HasSubstr("is at generation 2, held by server-b"));
  EXPECT_EQ(store_.Delete(id, 1).code(), absl::StatusCode::kAborted);
  SessionWrite snapshot = AppendTo(id, 1, 2, {});
  snapshot.put_snapshots = {SnapshotAt(2, "late")};
  EXPECT_EQ(WriteTo(store_, snapshot).code(), absl::StatusCode::kAborted);
  EXPECT_EQ(Append(id, 2, {4}, 2), absl::OkStatus());
  EXPECT_THAT(Log(id), ElementsAre(1, 2, 4));
  EXPECT_THAT(store_.Read(id)->snapshots, IsEmpty());
}

TEST_P(StateStoreTest, AcquireComparesTheGeneration) {
  const SessionId id = Created(1);
  ASSERT_EQ(store_.Acquire(id, 1, "b").status(), absl::OkStatus());
  EXPECT_EQ(store_.Acquire(id, 1, "c").status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(store_.Acquire(id, 3, "c").status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(store_.Acquire(id, 1, "b")->generation, 2);  // repeated by the same owner
  EXPECT_EQ(store_.Acquire(id, StateStore::kAnyGeneration, "c")->generation, 3);
}

TEST_P(StateStoreTest, OfManyThatAcquireAtOnceOneWins) {
  const SessionId id = Created(1);
  std::atomic<int> winners{0}, losers{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      const auto session = store_.Acquire(id, 1, "server-" + std::to_string(i));
      if (session.ok()) ++winners;
      if (absl::IsAborted(session.status())) ++losers;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(winners, 1);
  EXPECT_EQ(losers, 7);
}

TEST_P(StateStoreTest, ReleaseClearsTheOwnerAndKeepsTheGeneration) {
  const SessionId id = Created(1);
  SessionWrite write = AppendTo(id, 1, 0, {1});
  write.release = true;
  ASSERT_EQ(WriteTo(store_, write), absl::OkStatus());
  EXPECT_EQ(store_.Read(id)->owner, "");
  EXPECT_EQ(store_.Read(id)->generation, 1);
}

TEST_P(StateStoreTest, OneCallWritesManySessionsAndEachHasItsOwnStatus) {
  std::vector<SessionWrite> writes;
  for (uint32_t i = 0; i < 50; ++i) {
    const SessionId id = i == 13 ? TestId(1000) : Created(i);
    writes.push_back(AppendTo(id, i == 17 ? 9 : 1, i == 19 ? 4 : 0, Tokens(i, 300)));
    writes.back().put_snapshots = {SnapshotAt(i, std::string(1000 + i, 's'))};
  }
  std::vector<absl::Status> results(writes.size());
  store_.Write(writes, absl::MakeSpan(results));
  for (uint32_t i = 0; i < 50; ++i) {
    const absl::StatusCode expected = i == 13   ? absl::StatusCode::kNotFound
                                      : i == 17 ? absl::StatusCode::kAborted
                                      : i == 19 ? absl::StatusCode::kOutOfRange
                                                : absl::StatusCode::kOk;
    ASSERT_EQ(results[i].code(), expected) << i << ": " << results[i];
    if (!results[i].ok()) continue;
    ASSERT_EQ(Log(writes[i].id), writes[i].tokens);
    ASSERT_EQ(store_.ReadSnapshot(writes[i].id, i)->size(), 1000 + i);
  }
}

TEST_P(StateStoreTest, MetaIsReplacedAsAWhole) {
  StoredSession session = TestSession(1);
  session.meta.checkpoints = {{"a", 1}, {"b", 2}};
  ASSERT_EQ(store_.Create(session), absl::OkStatus());
  SessionWrite write = AppendTo(session.id, 1, 0, {});
  write.meta = session.meta;
  write.meta->checkpoints = {{"b", 5}};
  write.meta->details = "turn 2";
  ASSERT_EQ(WriteTo(store_, write), absl::OkStatus());
  ASSERT_EQ(Append(session.id, 0, {1}), absl::OkStatus());  // leaves it
  EXPECT_EQ(store_.Read(session.id)->meta.checkpoints, write.meta->checkpoints);
  EXPECT_EQ(store_.Read(session.id)->meta.details, "turn 2");
}

TEST_P(StateStoreTest, DeleteRemovesEverythingOfASession) {
  const SessionId id = Created(1);
  SessionWrite write = AppendTo(id, 1, 0, Tokens(0, 300));
  write.put_snapshots = {SnapshotAt(300, "s")};
  ASSERT_EQ(WriteTo(store_, write), absl::OkStatus());
  ASSERT_EQ(store_.Delete(id, 1), absl::OkStatus());
  EXPECT_EQ(store_.Delete(id, 1), absl::OkStatus());
  EXPECT_EQ(store_.Read(id).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(store_.List("acme", std::nullopt, 10)->sessions, IsEmpty());

  Created(1);
  EXPECT_THAT(Log(id), IsEmpty());
  EXPECT_EQ(store_.ReadSnapshot(id, 300).status().code(), absl::StatusCode::kNotFound);
  ASSERT_EQ(Append(id, 0, {9}), absl::OkStatus());
  EXPECT_THAT(Log(id), ElementsAre(9));
  EXPECT_EQ(store_.Delete(id, StateStore::kAnyGeneration), absl::OkStatus());
}

TEST_P(StateStoreTest, ListPagesThroughOneTenant) {
  for (uint32_t i = 0; i < 25; ++i) Created(i, i % 2 == 0 ? "acme" : "ac");
  std::vector<SessionId> seen;
  std::optional<SessionId> after;
  bool more = true;
  int pages = 0;
  while (more && pages < 10) {
    const auto page = store_.List("acme", after, 5);
    ASSERT_EQ(page.status(), absl::OkStatus());
    for (const StoredSession& session : page->sessions) {
      EXPECT_EQ(session.tenant, "acme");
      seen.push_back(session.id);
    }
    more = page->more;
    if (!seen.empty()) after = seen.back();
    ++pages;
  }
  EXPECT_EQ(pages, 3);
  ASSERT_EQ(seen.size(), 13);
  for (uint32_t i = 0; i < 13; ++i) EXPECT_EQ(seen[i], TestId(2 * i));
  EXPECT_THAT(store_.List("nobody", std::nullopt, 5)->sessions, IsEmpty());
  EXPECT_EQ(store_.List("", std::nullopt, 5)->sessions.size(), 0);
}

TEST_P(StateStoreTest, SweepRemovesWhatHasExpired) {
  const absl::Time now = absl::FromUnixSeconds(1'700'000'000);
  for (uint32_t i = 0; i < 10; ++i) {
    StoredSession session = TestSession(i);
    session.meta.expires = now + absl::Seconds(static_cast<int>(i) - 4);
    ASSERT_EQ(store_.Create(session), absl::OkStatus());
  }
  SessionWrite later = AppendTo(TestId(0), 1, 0, {});  // moved in time
  later.meta = TestSession(0).meta;
  later.meta->expires = now + absl::Hours(1);
  ASSERT_EQ(WriteTo(store_, later), absl::OkStatus());
  SessionWrite sooner = AppendTo(TestId(9), 1, 0, {});
  sooner.meta = TestSession(9).meta;
  sooner.meta->expires = now;
  ASSERT_EQ(WriteTo(store_, sooner), absl::OkStatus());

  EXPECT_EQ(store_.SweepExpired(now, 2)->size(), 2);
  EXPECT_EQ(store_.SweepExpired(now, 100)->size(), 3);
  EXPECT_THAT(*store_.SweepExpired(now, 100), IsEmpty());
  const auto left = store_.List("acme", std::nullopt, 100);
  std::vector<SessionId> ids;
  for (const StoredSession& session : left->sessions) ids.push_back(session.id);
  EXPECT_THAT(ids, ElementsAre(TestId(0), TestId(5), TestId(6), TestId(7), TestId(8)));
}

// Random operations of several threads, each on sessions of its own, against a plain model.
TEST_P(StateStoreTest, RandomWritesOfManyThreadsAllReadBack) {
  constexpr uint32_t kThreads = 4, kSessions = 8, kRounds = 60;
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([this, t] {
      std::mt19937 random(t);
      std::vector<std::vector<TokenId>> logs(kSessions);
      std::vector<std::map<int64_t, std::string>> snapshots(kSessions);
      for (uint32_t s = 0; s < kSessions; ++s) Created(1000 * t + s);
      for (uint32_t round = 0; round < kRounds; ++round) {
        std::vector<SessionWrite> writes;
        for (uint32_t s = 0; s < kSessions; ++s) {
          if (random() % 2 == 0) continue;
          std::vector<TokenId>& log = logs[s];
          SessionWrite write = AppendTo(TestId(1000 * t + s), 1, 0, {});
          write.rewind = random() % 8 == 0;
          write.log_position =
              static_cast<int64_t>(write.rewind ? random() % (log.size() + 1) : log.size());
          write.tokens = Tokens(static_cast<TokenId>(random()), random() % 90);
          log.resize(write.log_position);
          log.insert(log.end(), write.tokens.begin(), write.tokens.end());
          if (write.rewind) {
            snapshots[s].erase(snapshots[s].upper_bound(write.log_position), snapshots[s].end());
          }
          if (random() % 3 == 0) {
            const int64_t position = static_cast<int64_t>(log.size());
            snapshots[s][position] = std::string(random() % 20000, static_cast<char>(random()));
            write.put_snapshots = {SnapshotAt(position, snapshots[s][position])};
          }
          writes.push_back(std::move(write));
        }
        std::vector<absl::Status> results(writes.size());
        store_.Write(writes, absl::MakeSpan(results));
        for (const absl::Status& result : results) ASSERT_EQ(result, absl::OkStatus());
      }
      for (uint32_t s = 0; s < kSessions; ++s) {
        ASSERT_EQ(Log(TestId(1000 * t + s)), logs[s]) << "thread " << t << " session " << s;
        for (const auto& [position, bytes] : snapshots[s]) {
          ASSERT_TRUE(*store_.ReadSnapshot(TestId(1000 * t + s), position) == bytes);
        }
        ASSERT_EQ(store_.Read(TestId(1000 * t + s))->snapshots.size(), snapshots[s].size());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

INSTANTIATE_TEST_SUITE_P(Stores, StateStoreTest, testing::ValuesIn(StoresUnderTest()),
                         [](const auto& info) { return info.param.name; });

TEST(SessionIdTest, HexIsReadBack) {
  const SessionId id = *SessionId::FromHex("00112233445566778899AABBccddeeff");
  EXPECT_EQ(id.ToHex(), "00112233445566778899aabbccddeeff");
  EXPECT_EQ(id.bytes[15], 0xff);
  for (const char* wrong :
       {"", "00", "00112233445566778899aabbccddeefg", "00112233445566778899aabbccddeeff0"}) {
    EXPECT_EQ(SessionId::FromHex(wrong).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace ela
