// The engine on its own thread, reached from several others: what the thread sanitizer looks at.
#include "scheduler/engine_thread.h"

#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "tests/fakes/engine_rig.h"

namespace ela {
namespace {

// A small buffer and a flag, as a stream has them: the engine fills it, the reader empties it.
class BufferedSink final : public TokenSink {
 public:
  SinkState OnToken(const TokenEvent& event) override {
    absl::MutexLock lock(&mutex_);
    unread_.push_back(event.token);
    return unread_.size() >= 4 ? SinkState::kFull : SinkState::kReady;
  }
  SinkState OnScores(const ScoreEvent&) override { return SinkState::kReady; }
  void OnFinish(const absl::Status& status, FinishReason, const Usage&) override {
    absl::MutexLock lock(&mutex_);
    finished_ = true;
    status_ = status;
  }

  // Blocks until there is something to read. False: ended, and everything was read.
  bool Read(std::vector<TokenId>& text) {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(
        +[](BufferedSink* sink) { return sink->finished_ || !sink->unread_.empty(); }, this));
    text.insert(text.end(), unread_.begin(), unread_.end());
    unread_.clear();
    return !finished_;
  }

  absl::Status status() {
    absl::MutexLock lock(&mutex_);
    return status_;
  }

 private:
  absl::Mutex mutex_;
  std::vector<TokenId> unread_ ABSL_GUARDED_BY(mutex_);
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

TEST(EngineThreadTest, SeveralCallersGetTheirExactTexts) {
  EngineOptions options;
  options.max_queue = 6;
  EngineRig rig(options);
  EngineThread thread(*rig.engine);

  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&rig, caller] {
      std::mt19937 random(caller);
      for (int i = 0; i < 60; ++i) {
        const auto make = [&] { return EngineRig::MakeRequest(1 + i, 20, caller * 100 + i); };
        const FakeText expected = rig.worker->Expected(make());
        auto sink = std::make_shared<BufferedSink>();
        auto ticket = rig.engine->Submit(make(), sink);
        while (absl::IsResourceExhausted(ticket.status())) {
          std::this_thread::yield();
          ticket = rig.engine->Submit(make(), sink);
        }
        ASSERT_TRUE(ticket.ok()) << ticket.status();

        const bool gives_up = random() % 4 == 0;
        std::vector<TokenId> text;
        while (sink->Read(text)) {
          rig.engine->Resume(*ticket);
          if (gives_up && text.size() > 5) {
            rig.engine->Cancel(*ticket, absl::CancelledError("gave up"));
          }
        }
        if (gives_up && absl::IsCancelled(sink->status())) {
          ASSERT_LE(text.size(), expected.tokens.size());
          EXPECT_TRUE(std::equal(text.begin(), text.end(), expected.tokens.begin()));
        } else {
          EXPECT_TRUE(sink->status().ok()) << sink->status();
          EXPECT_EQ(text, expected.tokens);
        }
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  thread.DrainAndJoin(absl::InfiniteDuration());
  EXPECT_TRUE(rig.engine->Drained());
  EXPECT_EQ(rig.observer.num_finished, 240);
  EXPECT_EQ(rig.observer.load.slots_used, 0);
}

TEST(EngineThreadTest, DrainLetsRunningRequestsFinish) {
  EngineRig rig;
  EngineThread thread(*rig.engine);
  const Asked asked = rig.Ask(EngineRig::MakeRequest(50, 300));
  thread.DrainAndJoin(absl::InfiniteDuration());
  EXPECT_EQ(asked.sink->finish_count, 1);
  EXPECT_EQ(asked.sink->tokens, asked.expected.tokens);
}

TEST(EngineThreadTest, EndOfTheThreadEndsWhatIsStuck) {
  EngineRig rig;
  const Asked asked = rig.Ask(EngineRig::MakeRequest(50, 300), 1);
  { EngineThread thread(*rig.engine); }
  EXPECT_EQ(asked.sink->finish_count, 1);
  EXPECT_TRUE(absl::IsUnavailable(asked.sink->status)) << asked.sink->status;
}

TEST(EngineThreadTest, IdleEngineWakesForASubmission) {
  EngineRig rig;
  EngineThread thread(*rig.engine);
  for (int i = 0; i < 50; ++i) {
    const Asked asked = rig.Ask(EngineRig::MakeRequest(5, 2, i));
    ASSERT_TRUE(asked.ticket.ok());
    asked.sink->finished.WaitForNotification();
    EXPECT_EQ(asked.sink->tokens, asked.expected.tokens);
  }
}

}  // namespace
}  // namespace ela
