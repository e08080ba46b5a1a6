#include "server/outbox.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace ela {
namespace {

TokenEvent Token(TokenId token) {
  TokenEvent event;
  event.token = token;
  return event;
}

class OutboxTest : public testing::Test {
 protected:
  // Takes until idle; what came.
  std::vector<TokenId> TakeAll(bool* was_full = nullptr) {
    std::vector<TokenId> tokens;
    for (;;) {
      OutboxContents contents;
      bool full = false;
      if (outbox_.Take(&contents, &full) != Outbox::Next::kContents) return tokens;
      if (was_full != nullptr) *was_full = full;
      tokens.insert(tokens.end(), contents.tokens.tokens.begin(), contents.tokens.tokens.end());
    }
  }

  int wakes_ = 0;
  Outbox outbox_{3, [this] { ++wakes_; }};
};

TEST_F(OutboxTest, TheMakerIsTheFirstWriterAndIsNotWoken) {
  outbox_.OnToken(Token(1));
  EXPECT_EQ(wakes_, 0);
  EXPECT_EQ(TakeAll(), std::vector<TokenId>({1}));
}

TEST_F(OutboxTest, WakesOnceWhileTheWriterIsBusy) {
  TakeAll();  // idle now
  outbox_.OnToken(Token(1));
  outbox_.OnToken(Token(2));
  EXPECT_EQ(wakes_, 1);
  EXPECT_EQ(TakeAll(), std::vector<TokenId>({1, 2}));
  outbox_.OnToken(Token(3));
  EXPECT_EQ(wakes_, 2);
}

TEST_F(OutboxTest, IsFullAtItsBoundAndSaysSoToTheWriter) {
  EXPECT_EQ(outbox_.OnToken(Token(1)), SinkState::kReady);
  EXPECT_EQ(outbox_.OnToken(Token(2)), SinkState::kReady);
  EXPECT_EQ(outbox_.OnToken(Token(3)), SinkState::kFull);
  bool was_full = false;
  EXPECT_EQ(TakeAll(&was_full).size(), 3u);
  EXPECT_TRUE(was_full);
  EXPECT_EQ(outbox_.OnToken(Token(4)), SinkState::kReady);
}

TEST_F(OutboxTest, TheEndComesWithWhatIsLeft) {
  outbox_.OnToken(Token(1));
  outbox_.OnFinish(absl::OkStatus(), FinishReason::kLength, {});
  OutboxContents contents;
  bool was_full;
  ASSERT_EQ(outbox_.Take(&contents, &was_full), Outbox::Next::kContents);
  EXPECT_TRUE(contents.finished);
  EXPECT_EQ(contents.reason, FinishReason::kLength);
  EXPECT_EQ(contents.tokens.count, 1u);
}

TEST_F(OutboxTest, CancelMakesTheCallerTheWriterOnlyWhenThereIsNone) {
  EXPECT_FALSE(outbox_.Cancel());  // the maker is the writer
  OutboxContents contents;
  bool was_full;
  EXPECT_EQ(outbox_.Take(&contents, &was_full), Outbox::Next::kCancelled);

  Outbox idle(3, [] {});
  ASSERT_EQ(idle.Take(&contents, &was_full), Outbox::Next::kIdle);
  EXPECT_TRUE(idle.Cancel());
}

TEST_F(OutboxTest, AfterCancelNothingWakes) {
  TakeAll();
  outbox_.Cancel();
  for (int i = 0; i < 10; ++i) EXPECT_EQ(outbox_.OnToken(Token(i)), SinkState::kReady);
  outbox_.OnFinish(absl::CancelledError(""), FinishReason::kCancelled, {});
  EXPECT_EQ(wakes_, 0);
}

TEST(OutboxThreadsTest, NothingIsLostOrTurnedAround) {
  constexpr int kTokens = 20000;
  std::atomic<int> wakes{0};
  Outbox outbox(1 << 20, [&wakes] { ++wakes; });
  std::thread engine([&outbox] {
    for (int i = 0; i < kTokens; ++i) outbox.OnToken(Token(i));
    outbox.OnFinish(absl::OkStatus(), FinishReason::kLength, {});
  });
  std::vector<TokenId> tokens;
  OutboxContents contents;
  int handled = 0;
  while (!contents.finished) {
    bool was_full;
    contents.tokens.Clear();
    if (outbox.Take(&contents, &was_full) == Outbox::Next::kIdle) {
      while (wakes.load() == handled) std::this_thread::yield();
      ++handled;
      continue;
    }
    tokens.insert(tokens.end(), contents.tokens.tokens.begin(), contents.tokens.tokens.end());
  }
  engine.join();
  ASSERT_EQ(tokens.size(), static_cast<size_t>(kTokens));
  for (int i = 0; i < kTokens; ++i) ASSERT_EQ(tokens[i], i);
}

}  // namespace
}  // namespace ela
