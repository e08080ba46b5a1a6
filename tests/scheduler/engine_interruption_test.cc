// Cancellation, deadlines, readers that are too slow, and the end of the engine.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "scheduler/engine.h"
#include "tests/fakes/engine_rig.h"

namespace ela {
namespace {

using ::testing::HasSubstr;

std::vector<TokenId> Prefix(const std::vector<TokenId>& tokens, size_t n) {
  return {tokens.begin(), tokens.begin() + std::min(n, tokens.size())};
}

void ExpectWholeText(const Asked& asked) {
  ASSERT_TRUE(asked.ticket.ok()) << asked.ticket.status();
  EXPECT_EQ(asked.sink->finish_count, 1);
  EXPECT_TRUE(asked.sink->status.ok()) << asked.sink->status;
  EXPECT_EQ(asked.sink->reason, asked.expected.reason);
  EXPECT_EQ(asked.sink->tokens, asked.expected.tokens);
}

// --- Cancellation ---

TEST(EngineInterruptionTest, CancelInTheQueueSpendsNoCompute) {
  FakeWorkerOptions worker;
  worker.num_slots = 1;
  EngineRig rig({}, worker);
  const Asked running = rig.Ask(EngineRig::MakeRequest(10, 5));
  const Asked waiting = rig.Ask(EngineRig::MakeRequest(10, 5, 3));
  rig.RunTurns(1);
  rig.engine->Cancel(*waiting.ticket, absl::CancelledError("gone"));
  EXPECT_TRUE(rig.RunUntilIdle());
  ExpectWholeText(running);
  EXPECT_TRUE(absl::IsCancelled(waiting.sink->status));
  EXPECT_EQ(waiting.sink->reason, FinishReason::kCancelled);
  EXPECT_EQ(rig.worker->num_tokens(), 14);
}

TEST(EngineInterruptionTest, CancelDuringPrefillFreesTheSlot) {
  EngineRig rig;
  const Asked asked = rig.Ask(EngineRig::MakeRequest(10000, 5));
  rig.RunTurns(3);
  EXPECT_EQ(rig.observer.load.slots_used, 1);
  rig.engine->Cancel(*asked.ticket, absl::CancelledError("gone"));
  rig.RunTurns(2);
  EXPECT_EQ(rig.observer.load.slots_used, 0);
  EXPECT_EQ(asked.sink->finish_count, 1);
  EXPECT_TRUE(asked.sink->tokens.empty());
}

TEST(EngineInterruptionTest, CancelDuringDecodeFreesTheSlotAndKeepsThePrefix) {
  EngineRig rig;
  const Asked asked = rig.Ask(EngineRig::MakeRequest(10, 1000));
  rig.RunTurns(20);
  rig.engine->Cancel(*asked.ticket, absl::CancelledError("gone"));
  rig.RunTurns(2);
  EXPECT_EQ(rig.observer.load.slots_used, 0);
  EXPECT_EQ(asked.sink->tokens, Prefix(asked.expected.tokens, 20));
  EXPECT_EQ(asked.sink->usage.generated_tokens, 20);
}

TEST(EngineInterruptionTest, CancelWhilePausedFreesTheSlot) {
  EngineRig rig;
  const Asked asked = rig.Ask(EngineRig::MakeRequest(10, 1000), 2);
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_EQ(rig.observer.load.num_paused, 1);
  rig.engine->Cancel(*asked.ticket, absl::CancelledError("gone"));
  rig.RunTurns(2);
  EXPECT_EQ(rig.observer.load.slots_used, 0);
  EXPECT_EQ(rig.observer.load.num_paused, 0);
  EXPECT_EQ(asked.sink->finish_count, 1);
}

TEST(EngineInterruptionTest, CancelOfAFinishedOrUnknownTicketIsIgnored) {
  EngineRig rig;
  const Asked asked = rig.Ask(EngineRig::MakeRequest(10, 3));
  EXPECT_TRUE(rig.RunUntilIdle());
  rig.engine->Cancel(*asked.ticket, absl::CancelledError("late"));
  rig.engine->Cancel(123456, absl::CancelledError("unknown"));
  rig.engine->Resume(*asked.ticket);
  rig.RunTurns(2);
  ExpectWholeText(asked);
}

TEST(EngineInterruptionTest, CancelRightAfterSubmitWins) {
  EngineRig rig;
  const Asked asked = rig.Ask(EngineRig::MakeRequest(10, 3));
  rig.engine->Cancel(*asked.ticket, absl::OkStatus());
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_TRUE(absl::IsCancelled(asked.sink->status)) << "an OK status would be no reason";
  EXPECT_EQ(rig.worker->num_steps(), 0);
}

// --- Deadlines ---

TEST(EngineInterruptionTest, DeadlineAlreadyPastIsRefusedWithoutCompute) {
  EngineRig rig;
  Request request = EngineRig::MakeRequest(10, 3);
  request.deadline = rig.clock.Now();
  const Asked asked = rig.Ask(std::move(request));
  EXPECT_TRUE(absl::IsDeadlineExceeded(asked.ticket.status()));
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_EQ(asked.sink->finish_count, 0);
  EXPECT_EQ(rig.worker->num_steps(), 0);
  EXPECT_EQ(rig.observer.num_rejected, 1);
}

TEST(EngineInterruptionTest, DeadlineInTheQueueEndsTheWait) {
  FakeWorkerOptions worker;
  worker.num_slots = 1;
  EngineRig rig({}, worker);
  const Asked running = rig.Ask(EngineRig::MakeRequest(10, 50));
  Request request = EngineRig::MakeRequest(10, 50, 3);
  request.deadline = rig.clock.Now() + absl::Milliseconds(10);
  const Asked waiting = rig.Ask(std::move(request));
  rig.RunTurns(12);
  EXPECT_TRUE(absl::IsDeadlineExceeded(waiting.sink->status)) << waiting.sink->status;
  EXPECT_THAT(std::string(waiting.sink->status.message()), HasSubstr("in the queue"));
  EXPECT_EQ(waiting.sink->usage.queue_time, absl::Milliseconds(10));
  EXPECT_TRUE(rig.RunUntilIdle());
  ExpectWholeText(running);
}

TEST(EngineInterruptionTest, DeadlineWhileRunningEndsAtTheNextTurn) {
  EngineRig rig;
  Request request = EngineRig::MakeRequest(10, 50);
  request.deadline = rig.clock.Now() + absl::Milliseconds(10);
  const Asked asked = rig.Ask(std::move(request));
  rig.RunTurns(11);
  EXPECT_TRUE(absl::IsDeadlineExceeded(asked.sink->status)) << asked.sink->status;
  EXPECT_EQ(asked.sink->tokens, Prefix(asked.expected.tokens, 10));
  EXPECT_EQ(rig.observer.load.slots_used, 0);
}

TEST(EngineInterruptionTest, DeadlineWhilePausedEndsIt) {
  EngineRig rig;
  Request request = EngineRig::MakeRequest(10, 50);
  request.deadline = rig.clock.Now() + absl::Seconds(1);
  const Asked asked = rig.Ask(std::move(request), 1);
  EXPECT_TRUE(rig.RunUntilIdle());
  rig.clock.Advance(absl::Seconds(2));
  rig.RunTurns(1);
  EXPECT_TRUE(absl::IsDeadlineExceeded(asked.sink->status)) << asked.sink->status;
  EXPECT_EQ(rig.observer.load.slots_used, 0);
}

// --- Slow readers ---

TEST(EngineInterruptionTest, SlowReaderPausesAloneAndContinuesExactly) {
  EngineRig rig;
  const Asked slow = rig.Ask(EngineRig::MakeRequest(10, 30), 4);
  const Asked fast = rig.Ask(EngineRig::MakeRequest(10, 30, 3));
  EXPECT_TRUE(rig.RunUntilIdle());
  ExpectWholeText(fast);
  EXPECT_EQ(slow.sink->tokens.size(), 4u);
  EXPECT_EQ(rig.observer.load.num_paused, 1);
  EXPECT_EQ(rig.observer.load.slots_used, 1) << "it keeps its slot";
  while (slow.sink->finish_count == 0) {
    slow.sink->Read();
    rig.engine->Resume(*slow.ticket);
    EXPECT_TRUE(rig.RunUntilIdle());
  }
  ExpectWholeText(slow);
}

TEST(EngineInterruptionTest, ReaderThatStaysAwayEndsWithTheLimitsName) {
  EngineOptions options;
  options.slow_reader_timeout = absl::Seconds(3);
  EngineRig rig(options);
  const Asked asked = rig.Ask(EngineRig::MakeRequest(10, 30), 4);
  EXPECT_TRUE(rig.RunUntilIdle());
  rig.clock.Advance(absl::Milliseconds(2999));
  rig.RunTurns(1);
  EXPECT_EQ(asked.sink->finish_count, 0);
  rig.clock.Advance(absl::Milliseconds(1));
  rig.RunTurns(1);
  EXPECT_TRUE(absl::IsResourceExhausted(asked.sink->status)) << asked.sink->status;
  EXPECT_THAT(std::string(asked.sink->status.message()), HasSubstr("slow_reader_timeout 3s"));
  EXPECT_EQ(rig.observer.load.slots_used, 0);
}

// Reads and resumes from inside the call that says it is full: the resumption is in the inbox
// before the engine knows of the pause.
class HastyReader final : public TokenSink {
 public:
  SinkState OnToken(const TokenEvent&) override {
    ++num_tokens;
    engine->Resume(ticket);
    return SinkState::kFull;
  }
  SinkState OnScores(const ScoreEvent&) override { return SinkState::kReady; }
  void OnFinish(const absl::Status&, FinishReason, const Usage&) override { finished = true; }

  Engine* engine = nullptr;
  Ticket ticket = 0;
  int num_tokens = 0;
  bool finished = false;
};

TEST(EngineInterruptionTest, ResumeThatComesBeforeThePauseIsNotLost) {
  EngineRig rig;
  auto sink = std::make_shared<HastyReader>();
  sink->engine = rig.engine.get();
  const auto ticket = rig.engine->Submit(EngineRig::MakeRequest(10, 30), sink);
  ASSERT_TRUE(ticket.ok());
  sink->ticket = *ticket;
  rig.RunTurns(40);
  EXPECT_TRUE(sink->finished);
  EXPECT_EQ(sink->num_tokens, 30);
}

TEST(EngineInterruptionTest, FullSinkOnTheLastTokenDoesNotDelayTheEnd) {
  EngineRig rig;
  const Asked asked = rig.Ask(EngineRig::MakeRequest(10, 3), 3);
  EXPECT_TRUE(rig.RunUntilIdle());
  ExpectWholeText(asked);
}

// --- Drain ---

TEST(EngineInterruptionTest, DrainRefusesNewFinishesOldAndIsThenDone) {
  EngineRig rig;
  const Asked asked = rig.Ask(EngineRig::MakeRequest(10, 30));
  rig.RunTurns(2);
  rig.engine->Drain(rig.clock.Now() + absl::Hours(1));
  const Asked late = rig.Ask(EngineRig::MakeRequest(10, 30));
  EXPECT_TRUE(absl::IsUnavailable(late.ticket.status())) << late.ticket.status();
  EXPECT_TRUE(RetryAfter(late.ticket.status()).has_value());
  EXPECT_FALSE(rig.engine->Drained());
  EXPECT_TRUE(rig.RunUntilIdle());
  ExpectWholeText(asked);
  EXPECT_TRUE(rig.engine->Drained());
}

TEST(EngineInterruptionTest, DrainDeadlineEndsWhatRunsAndWhatWaits) {
  FakeWorkerOptions worker;
  worker.num_slots = 1;
  EngineRig rig({}, worker);
  const Asked running = rig.Ask(EngineRig::MakeRequest(10, 1000));
  const Asked waiting = rig.Ask(EngineRig::MakeRequest(10, 1000));
  rig.RunTurns(5);
  rig.engine->Drain(rig.clock.Now() + absl::Milliseconds(5));
  rig.RunTurns(6);
  for (const Asked* asked : {&running, &waiting}) {
    EXPECT_TRUE(absl::IsUnavailable(asked->sink->status)) << asked->sink->status;
    EXPECT_TRUE(RetryAfter(asked->sink->status).has_value());
  }
  EXPECT_EQ(running.sink->tokens, Prefix(running.expected.tokens, 10));
  EXPECT_TRUE(rig.engine->Drained());
  EXPECT_EQ(rig.observer.load.slots_used, 0);
}

TEST(EngineInterruptionTest, DestructionEndsWhatIsLeft) {
  EngineRig rig;
  const Asked running = rig.Ask(EngineRig::MakeRequest(10, 1000));
  rig.RunTurns(5);
  const Asked unseen = rig.Ask(EngineRig::MakeRequest(10, 1000));
  rig.engine.reset();
  EXPECT_TRUE(absl::IsUnavailable(running.sink->status));
  EXPECT_TRUE(absl::IsUnavailable(unseen.sink->status));
  EXPECT_EQ(running.sink->finish_count, 1);
  EXPECT_EQ(unseen.sink->finish_count, 1);
}

}  // namespace
}  // namespace ela
