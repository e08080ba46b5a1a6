#include "scheduler/store_writer.h"

#include <atomic>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_state_store.h"
#include "tests/fakes/recording_store_observer.h"
#include "tests/fakes/session_makers.h"

namespace ela {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr absl::Duration kLong = absl::Seconds(60);

// What the callbacks were told, in order.
class Outcomes {
 public:
  StoreWriter::Done Expect(std::string name) {
    return [this, name = std::move(name)](const absl::Status& status) {
      absl::MutexLock lock(&mutex_);
      entries_.push_back(name + (status.ok() ? " OK" : ": " + std::string(status.message())));
      statuses_.push_back(status);
    };
  }
  std::vector<std::string> entries() {
    absl::MutexLock lock(&mutex_);
    return entries_;
  }
  std::vector<absl::Status> statuses() {
    absl::MutexLock lock(&mutex_);
    return statuses_;
  }

 private:
  absl::Mutex mutex_;
  std::vector<std::string> entries_ ABSL_GUARDED_BY(mutex_);
  std::vector<absl::Status> statuses_ ABSL_GUARDED_BY(mutex_);
};

class StoreWriterTest : public testing::Test {
 protected:
  StoreWriterTest() {
    options_.num_threads = 1;
    options_.retry_first = absl::ZeroDuration();
    options_.retry_longest = absl::ZeroDuration();
  }

  void Start() { writer_ = std::make_unique<StoreWriter>(store_, options_, clock_, &observer_); }
  SessionId Created(uint32_t number) {
    EXPECT_EQ(store_.Create(TestSession(number)), absl::OkStatus());
    return TestId(number);
  }
  absl::Status Append(const SessionId& id, int64_t position, std::vector<TokenId> tokens,
                      const std::string& name = "write") {
    return writer_->Write(AppendTo(id, 1, position, std::move(tokens)), outcomes_.Expect(name));
  }
  // The next Write of the store waits until release_ is notified.
  void StallStore() {
    store_.FailWhen([this](absl::string_view call) {
      if (call == "Write") {
        if (!stalled_.HasBeenNotified()) stalled_.Notify();
        release_.WaitForNotification();
      }
      return FakeStateStore::Fault();
    });
  }

  StoreWriterOptions options_;
  FakeStateStore store_;
  FakeClock clock_;
  RecordingStoreObserver observer_;
  Outcomes outcomes_;
  absl::Notification stalled_, release_;
  std::unique_ptr<StoreWriter> writer_;
};

TEST_F(StoreWriterTest, WritesBecomeDurableInTheirOrder) {
  options_.num_threads = 3;
  Start();
  const SessionId id = Created(1);
  for (int i = 0; i < 100; ++i) {
    SessionWrite write = AppendTo(id, 1, i, {i});
    write.put_snapshots = {SnapshotAt(i + 1, "s")};  // not merged
    ASSERT_EQ(writer_->Write(std::move(write), outcomes_.Expect(std::to_string(i))),
              absl::OkStatus());
  }
  ASSERT_TRUE(writer_->Flush(kLong));
  EXPECT_EQ(store_.tokens(id), Tokens(0, 100));
  ASSERT_EQ(outcomes_.entries().size(), 100);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(outcomes_.entries()[i], std::to_string(i) + " OK");
  EXPECT_EQ(observer_.facts().num_writes, 100);
  EXPECT_EQ(observer_.facts().num_tokens, 100);
  EXPECT_EQ(observer_.facts().snapshot_bytes, 100);
  EXPECT_EQ(writer_->load().num_bytes, 0);
}

TEST_F(StoreWriterTest, SessionsShareOneCallOfTheStore) {
  for (uint32_t i = 0; i < 100; ++i) Created(i);
  StallStore();
  Start();
  ASSERT_EQ(Append(TestId(0), 0, {0}), absl::OkStatus());
  stalled_.WaitForNotification();
  for (uint32_t i = 1; i < 100; ++i) ASSERT_EQ(Append(TestId(i), 0, {1}), absl::OkStatus());
  release_.Notify();
  ASSERT_TRUE(writer_->Flush(kLong));
  EXPECT_EQ(store_.num_calls("Write"), 2);
  EXPECT_EQ(store_.num_writes(), 100);
}

TEST_F(StoreWriterTest, PlainAppendsOfASessionMerge) {
  const SessionId id = Created(1);
  StallStore();
  Start();
  for (int i = 0; i < 10; ++i) {
    ASSERT_EQ(Append(id, i, {i}, std::to_string(i)), absl::OkStatus());
    if (i == 0) stalled_.WaitForNotification();
  }
  EXPECT_EQ(writer_->load().num_writes, 10);
  release_.Notify();
  ASSERT_TRUE(writer_->Flush(kLong));
  EXPECT_EQ(store_.num_writes(), 2);
  EXPECT_EQ(store_.tokens(id), Tokens(0, 10));
  EXPECT_EQ(outcomes_.entries().size(), 10);
}

TEST_F(StoreWriterTest, RewindsAndSnapshotsAreNotMergedAway) {
  const SessionId id = Created(1);
  StallStore();
  Start();
  ASSERT_EQ(Append(id, 0, Tokens(0, 10)), absl::OkStatus());
  stalled_.WaitForNotification();
  SessionWrite snapshot = AppendTo(id, 1, 10, Tokens(10, 10));
  snapshot.put_snapshots = {SnapshotAt(20, "twenty")};
  ASSERT_EQ(writer_->Write(std::move(snapshot), nullptr), absl::OkStatus());
  SessionWrite rewind = AppendTo(id, 1, 5, {-1});
  rewind.rewind = true;
  ASSERT_EQ(writer_->Write(std::move(rewind), nullptr), absl::OkStatus());
  ASSERT_EQ(Append(id, 6, {-2}), absl::OkStatus());
  release_.Notify();
  ASSERT_TRUE(writer_->Flush(kLong));
  EXPECT_THAT(store_.tokens(id), ElementsAre(0, 1, 2, 3, 4, -1, -2));
  EXPECT_TRUE(store_.Read(id)->snapshots.empty());
}

TEST_F(StoreWriterTest, TaskSeesTheWritesBeforeIt) {
  const SessionId id = Created(1);
  Start();
  ASSERT_EQ(Append(id, 0, Tokens(0, 50)), absl::OkStatus());
  int64_t seen = -1;
  ASSERT_EQ(writer_->Run(id, "load",
                         [&](StateStore* store) {
                           seen = store->Read(id)->num_tokens;
                           return absl::OkStatus();
                         }),
            absl::OkStatus());
  ASSERT_EQ(Append(id, 50, Tokens(50, 50)), absl::OkStatus());
  ASSERT_TRUE(writer_->Flush(kLong));
  EXPECT_EQ(seen, 50);
  EXPECT_EQ(store_.tokens(id).size(), 100);
  EXPECT_THAT(observer_.facts().tasks, ElementsAre("load OK"));
}

TEST_F(StoreWriterTest, TaskPassesAWriteThatStalls) {
  options_.num_threads = 2;
  Created(1);
  Created(2);
  StallStore();
  Start();
  ASSERT_EQ(Append(TestId(1), 0, {1}), absl::OkStatus());
  stalled_.WaitForNotification();
  absl::Notification ran;
  ASSERT_EQ(writer_->Run(TestId(2), "load",
                         [&](StateStore* store) {
                           ran.Notify();
                           return store->Read(TestId(2)).status();
                         }),
            absl::OkStatus());
  EXPECT_TRUE(ran.WaitForNotificationWithTimeout(kLong));
  release_.Notify();
  EXPECT_TRUE(writer_->Flush(kLong));
}

TEST_F(StoreWriterTest, FullQueueRefusesAndSaysWhatIsNotKept) {
  options_.max_queue_bytes = 10000;
  const SessionId id = Created(1);
  StallStore();
  Start();
  ASSERT_EQ(Append(id, 0, Tokens(0, 500)), absl::OkStatus());
  stalled_.WaitForNotification();
  EXPECT_EQ(writer_->load().state, StoreState::kKeepingUp);
  ASSERT_EQ(Append(id, 500, Tokens(500, 1000)), absl::OkStatus());
  EXPECT_EQ(writer_->load().state, StoreState::kBehind);
  SessionWrite large = AppendTo(id, 1, 1500, Tokens(1500, 500));
  large.put_snapshots = {SnapshotAt(2000, std::string(2000, 's'))};
  const absl::Status refused = writer_->Write(std::move(large), outcomes_.Expect("never"));
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.message()),
              HasSubstr("not kept: tokens [1500, 2000), the snapshot at 2000 of session "
                        "00000000000000000000000000000001: the store is behind: 6512 bytes wait to "
                        "be written, 10000 may"));
  EXPECT_EQ(observer_.facts().tokens_not_kept, 500);
  release_.Notify();
  ASSERT_TRUE(writer_->Flush(kLong));
  EXPECT_EQ(Append(id, 1500, Tokens(1500, 500)), absl::OkStatus());
  ASSERT_TRUE(writer_->Flush(kLong));
  EXPECT_EQ(store_.tokens(id), Tokens(0, 2000));
}

TEST_F(StoreWriterTest, EmptyQueueTakesAnyOneWrite) {
  options_.max_queue_bytes = 1000;
  const SessionId id = Created(1);
  Start();
  SessionWrite write = AppendTo(id, 1, 0, {1});
  write.put_snapshots = {SnapshotAt(1, std::string(5000, 's'))};
  EXPECT_EQ(writer_->Write(std::move(write), nullptr), absl::OkStatus());
  ASSERT_TRUE(writer_->Flush(kLong));
  EXPECT_EQ(store_.Read(id)->snapshots.size(), 1);
}

TEST_F(StoreWriterTest, TransientErrorsAreRepeatedUntilTheStoreIsBack) {
  const SessionId id = Created(1);
  int failures = 5;
  store_.FailWhen([&](absl::string_view call) -> FakeStateStore::Fault {
    if (call != "Write" || failures == 0) return {};
    --failures;
    return {absl::UnavailableError("refused"), failures % 2 == 0};  // some replies are lost
  });
  Start();
  ASSERT_EQ(Append(id, 0, Tokens(0, 10), "a"), absl::OkStatus());
  ASSERT_EQ(Append(id, 10, Tokens(10, 10), "b"), absl::OkStatus());
  ASSERT_TRUE(writer_->Flush(kLong));
  EXPECT_THAT(outcomes_.entries(), ElementsAre("a OK", "b OK"));
  EXPECT_EQ(store_.tokens(id), Tokens(0, 20));
  EXPECT_EQ(observer_.facts().num_retries, 5);
  EXPECT_EQ(writer_->load().state, StoreState::kKeepingUp);
}

TEST_F(StoreWriterTest, RepetitionWaitsByTheClock) {
  options_.retry_first = absl::Milliseconds(10);
  options_.retry_longest = absl::Milliseconds(30);
  const SessionId id = Created(1);
  std::mutex mutex;
  std::vector<absl::Time> calls;
  store_.FailWhen([&](absl::string_view call) -> FakeStateStore::Fault {
    if (call != "Write") return {};
    std::lock_guard<std::mutex> lock(mutex);
    calls.push_back(clock_.Now());
    if (calls.size() == 5) return {};
    return {absl::UnavailableError("refused")};
  });
  Start();
  const absl::Time begin = clock_.Now();
  ASSERT_EQ(Append(id, 0, {1}), absl::OkStatus());
  while (!writer_->Flush(absl::Milliseconds(2))) {
    const auto state = writer_->load().state;
    EXPECT_TRUE(state == StoreState::kFailing || state == StoreState::kKeepingUp);
    clock_.Advance(absl::Milliseconds(1));
  }
  ASSERT_EQ(calls.size(), 5);
  EXPECT_EQ(calls[0], begin);
  const int waits[] = {10, 20, 30, 30};
  for (int i = 0; i < 4; ++i) {
    EXPECT_GE(calls[i + 1] - calls[i], absl::Milliseconds(waits[i]));
  }
}

TEST_F(StoreWriterTest, WhatStaysImpossibleIsGivenUpWithAllThatFollows) {
  options_.keep_trying = absl::Seconds(10);
  const SessionId id = Created(1);
  std::atomic<bool> gone{true};
  store_.FailWhen([&](absl::string_view call) -> FakeStateStore::Fault {
    if (call != "Write" || !gone) return {};
    if (!stalled_.HasBeenNotified()) {
      stalled_.Notify();
      release_.WaitForNotification();
    }
    clock_.Advance(absl::Seconds(3));
    return {absl::ResourceExhaustedError("disk full")};
  });
  Start();
  ASSERT_EQ(Append(id, 0, Tokens(0, 5)), absl::OkStatus());
  stalled_.WaitForNotification();
  ASSERT_EQ(Append(id, 5, Tokens(5, 5)), absl::OkStatus());
  release_.Notify();
  ASSERT_TRUE(writer_->Flush(kLong));
  const std::vector<absl::Status> statuses = outcomes_.statuses();
  ASSERT_EQ(statuses.size(), 2);
  EXPECT_EQ(statuses[0].code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(statuses[0].message()), HasSubstr("not kept: tokens [0, 5) of session"));
  EXPECT_THAT(std::string(statuses[0].message()), HasSubstr("disk full"));
  EXPECT_EQ(statuses[1].code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(statuses[1].message()),
              HasSubstr("not kept: tokens [5, 10) of session 00000000000000000000000000000001: an "
                        "earlier one was not kept: tokens [0, 5)"));
  gone = false;
  ASSERT_EQ(Append(id, 0, Tokens(0, 10), "again"), absl::OkStatus());
  ASSERT_TRUE(writer_->Flush(kLong));
  EXPECT_EQ(store_.tokens(id), Tokens(0, 10));
}

TEST_F(StoreWriterTest, FencedWriteFailsAtOnceAndAlone) {
  const SessionId id = Created(1), other = Created(2);
  ASSERT_EQ(store_.Acquire(id, 1, "server-b").status(), absl::OkStatus());
  Start();
  ASSERT_EQ(Append(id, 0, {1}, "fenced"), absl::OkStatus());
  ASSERT_EQ(Append(other, 0, {2}, "other"), absl::OkStatus());
  ASSERT_TRUE(writer_->Flush(kLong));
  ASSERT_EQ(outcomes_.entries().size(), 2);
  EXPECT_THAT(outcomes_.entries()[0], HasSubstr("held by server-b"));
  EXPECT_TRUE(absl::IsAborted(outcomes_.statuses()[0]));
  EXPECT_EQ(outcomes_.entries()[1], "other OK");
  EXPECT_EQ(observer_.facts().num_retries, 0);
}

TEST_F(StoreWriterTest, StopEndsWhatIsQueuedAndSaysSo) {
  const SessionId id = Created(1);
  store_.FailWhen([&](absl::string_view call) -> FakeStateStore::Fault {
    if (call != "Write") return {};
    if (!stalled_.HasBeenNotified()) stalled_.Notify();
    return {absl::UnavailableError("refused")};
  });
  options_.retry_first = options_.retry_longest = absl::Hours(1);
  Start();
  ASSERT_EQ(Append(id, 0, {1}, "a"), absl::OkStatus());
  stalled_.WaitForNotification();
  bool dropped = false;
  ASSERT_EQ(writer_->Run(id, "load",
                         [&](StateStore* store) {
                           dropped = store == nullptr;
                           return absl::OkStatus();
                         }),
            absl::OkStatus());
  writer_->Stop(absl::ZeroDuration());
  EXPECT_TRUE(dropped);
  ASSERT_EQ(outcomes_.statuses().size(), 1);
  EXPECT_TRUE(absl::IsUnavailable(outcomes_.statuses()[0]));
  EXPECT_TRUE(absl::IsUnavailable(Append(id, 1, {2}, "late")));
  EXPECT_EQ(writer_->load().num_bytes, 0);
}

TEST_F(StoreWriterTest, StopWritesWhatItCanWithinItsLimit) {
  const SessionId id = Created(1);
  Start();
  for (int i = 0; i < 50; ++i) ASSERT_EQ(Append(id, i, {i}), absl::OkStatus());
  writer_->Stop(kLong);
  EXPECT_EQ(store_.tokens(id), Tokens(0, 50));
}

// Several threads write sessions of their own against a store that fails at random and loses
// replies: each log comes out whole, and no callback is missing.
TEST_F(StoreWriterTest, NothingAcceptedIsLostWhateverTheStoreDoes) {
  options_.num_threads = 3;
  options_.max_group_writes = 4;
  constexpr uint32_t kThreads = 3, kSessions = 6, kWrites = 60;
  for (uint32_t i = 0; i < kThreads * kSessions; ++i) Created(i);
  std::mutex mutex;
  std::mt19937 random(1);
  store_.FailWhen([&](absl::string_view call) -> FakeStateStore::Fault {
    if (call != "Write") return {};
    std::lock_guard<std::mutex> lock(mutex);
    if (random() % 3 != 0) return {};
    return {absl::DeadlineExceededError("no reply"), random() % 2 == 0};
  });
  Start();
  std::atomic<int64_t> kept{0};
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (uint32_t i = 0; i < kWrites; ++i) {
        for (uint32_t s = 0; s < kSessions; ++s) {
          SessionWrite write = AppendTo(TestId(t * kSessions + s), 1, 3 * i, Tokens(3 * i, 3));
          if (i % 7 == 0) write.put_snapshots = {SnapshotAt(3 * i, std::to_string(i))};
          ASSERT_EQ(writer_->Write(std::move(write),
                                   [&](const absl::Status& status) { kept += status.ok(); }),
                    absl::OkStatus());
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(writer_->Flush(kLong));
  EXPECT_EQ(kept, kThreads * kSessions * kWrites);
  for (uint32_t i = 0; i < kThreads * kSessions; ++i) {
    EXPECT_EQ(store_.tokens(TestId(i)), Tokens(0, 3 * kWrites));
    EXPECT_EQ(store_.Read(TestId(i))->snapshots.size(), (kWrites + 6) / 7);
  }
}

}  // namespace
}  // namespace ela
