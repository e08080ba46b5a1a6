// What one request, or a few, live through in the engine. Named by behaviour.
#include "scheduler/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/fakes/engine_rig.h"

namespace ela {
namespace {

using ::testing::ElementsAre;
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

// --- Text ---

TEST(EngineTest, GeneratesExactlyTheTextOfItsPrompt) {
  EngineRig rig;
  const Asked asked = rig.Ask(EngineRig::MakeRequest(300, 40));
  EXPECT_TRUE(rig.RunUntilIdle());
  ExpectWholeText(asked);
  EXPECT_EQ(asked.sink->reason, FinishReason::kLength);
  EXPECT_EQ(asked.sink->positions.front(), 300);
  EXPECT_EQ(asked.sink->positions.back(), 339);
  EXPECT_EQ(rig.observer.load.slots_used, 0);
}

TEST(EngineTest, TextDoesNotDependOnNeighboursOrChunks) {
  const FakeText alone = FakeWorker().Expected(EngineRig::MakeRequest(200, 20));
  for (const int32_t chunk : {1, 7, 16, 64, 512}) {
    EngineOptions options;
    options.prefill_chunk = chunk;
    EngineRig rig(options);
    const Asked first = rig.Ask(EngineRig::MakeRequest(200, 20));
    const Asked second = rig.Ask(EngineRig::MakeRequest(77, 30, 5));
    const Asked third = rig.Ask(EngineRig::MakeRequest(1, 30, 9));
    EXPECT_TRUE(rig.RunUntilIdle());
    EXPECT_EQ(first.sink->tokens, alone.tokens) << "chunk " << chunk;
    ExpectWholeText(second);
    ExpectWholeText(third);
  }
}

TEST(EngineTest, SampledTextFollowsSeedChoiceAndPosition) {
  EngineRig rig;
  Request request = EngineRig::MakeRequest(10, 20);
  request.sampling.temperature = 1;
  request.sampling.seed = 7;
  request.choice = 3;
  const Asked asked = rig.Ask(std::move(request));
  const Asked greedy = rig.Ask(EngineRig::MakeRequest(10, 20));
  EXPECT_TRUE(rig.RunUntilIdle());
  ExpectWholeText(asked);
  EXPECT_NE(asked.sink->tokens, greedy.sink->tokens);
}

TEST(EngineTest, PenaltiesSeeTheLastTokensOfPromptAndText) {
  EngineRig rig;
  for (const int32_t window : {1, 5, 64}) {
    Request request = EngineRig::MakeRequest(20, 200);
    request.sampling.repetition_penalty = 1.1f;
    request.penalty_window = window;
    const Asked asked = rig.Ask(std::move(request));
    EXPECT_TRUE(rig.RunUntilIdle());
    ExpectWholeText(asked);
  }
}

TEST(EngineTest, NoNewTokensAbsorbsOnly) {
  EngineRig rig;
  const Asked asked = rig.Ask(EngineRig::MakeRequest(300, 0));
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_TRUE(asked.sink->tokens.empty());
  EXPECT_EQ(asked.sink->reason, FinishReason::kLength);
  EXPECT_TRUE(asked.sink->status.ok());
  EXPECT_EQ(rig.worker->position(0), 300);
}

TEST(EngineTest, FinalTokenIsDeliveredButNotAbsorbed) {
  EngineRig rig;
  const Asked asked = rig.Ask(EngineRig::MakeRequest(30, 5));
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_EQ(asked.sink->tokens.size(), 5u);
  EXPECT_EQ(rig.worker->position(0), 34);
}

TEST(EngineTest, LogprobsTopAndRoutingComeWithTokens) {
  EngineRig rig;
  Request request = EngineRig::MakeRequest(30, 4);
  request.top_logprobs = 3;
  request.routing = true;
  const Asked asked = rig.Ask(std::move(request));
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_EQ(asked.sink->top.size(), 12u);
  ASSERT_EQ(asked.sink->routing.size(), 4u);
  EXPECT_EQ(asked.sink->routing[0].experts.size(), 4u);
}

TEST(EngineTest, PluggableLobeChangesTheText) {
  FakeWorkerOptions worker;
  worker.lobes = {"medical"};
  EngineRig rig({}, worker);
  Request request = EngineRig::MakeRequest(30, 10);
  request.lobe = "medical";
  const Asked with = rig.Ask(std::move(request));
  const Asked without = rig.Ask(EngineRig::MakeRequest(30, 10));
  EXPECT_TRUE(rig.RunUntilIdle());
  ExpectWholeText(with);
  ExpectWholeText(without);
  EXPECT_NE(with.sink->tokens, without.sink->tokens);
}

TEST(EngineTest, UnknownLobeEndsTheRequestAndFreesItsSlot) {
  EngineRig rig;
  Request request = EngineRig::MakeRequest(30, 10);
  request.lobe = "none such";
  const Asked asked = rig.Ask(std::move(request));
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_TRUE(absl::IsNotFound(asked.sink->status)) << asked.sink->status;
  EXPECT_EQ(asked.sink->reason, FinishReason::kError);
  EXPECT_EQ(rig.observer.load.slots_used, 0);
}

// --- Ends ---

TEST(EngineTest, EndOfTextStopTokenAndIgnoreEosEndWhereTheySay) {
  const std::vector<TokenId> text = FakeWorker().Expected(EngineRig::MakeRequest(30, 20)).tokens;
  EngineOptions options;
  options.end_of_text = {text[5]};
  EngineRig rig(options);

  const Asked ends = rig.Ask(EngineRig::MakeRequest(30, 20));
  Request stops_earlier = EngineRig::MakeRequest(30, 20);
  stops_earlier.stop_tokens = {text[3]};
  const Asked stopped = rig.Ask(std::move(stops_earlier));
  Request ignores = EngineRig::MakeRequest(30, 20);
  ignores.ignore_eos = true;
  const Asked ignored = rig.Ask(std::move(ignores));
  EXPECT_TRUE(rig.RunUntilIdle());

  EXPECT_EQ(ends.sink->reason, FinishReason::kEndOfText);
  EXPECT_EQ(ends.sink->tokens, Prefix(text, 6));
  EXPECT_EQ(stopped.sink->reason, FinishReason::kStopToken);
  EXPECT_EQ(stopped.sink->tokens, Prefix(text, 4));
  EXPECT_EQ(ignored.sink->reason, FinishReason::kLength);
  EXPECT_EQ(ignored.sink->tokens, text);
}

class StopsAfterThree final : public StopCondition {
 public:
  explicit StopsAfterThree(std::vector<TokenId>* seen) : seen_(*seen) {}
  bool StopsAfter(TokenId token) override {
    seen_.push_back(token);
    return seen_.size() == 3;
  }

 private:
  std::vector<TokenId>& seen_;
};

TEST(EngineTest, StopConditionIsAskedForEveryTokenAndEndsTheText) {
  EngineRig rig;
  std::vector<TokenId> seen;
  Request request = EngineRig::MakeRequest(30, 20);
  request.stop_condition = std::make_unique<StopsAfterThree>(&seen);
  const Asked asked = rig.Ask(std::move(request));
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_EQ(asked.sink->reason, FinishReason::kStopString);
  EXPECT_EQ(asked.sink->tokens, Prefix(asked.expected.tokens, 3));
  EXPECT_EQ(seen, asked.sink->tokens);
  EXPECT_EQ(rig.worker->position(0), 32) << "the last token is not absorbed";
}

TEST(EngineTest, FailedItemEndsThatRequestAlone) {
  EngineRig rig;
  const Asked good = rig.Ask(EngineRig::MakeRequest(30, 20));
  const Asked bad = rig.Ask(EngineRig::MakeRequest(30, 20, 4));
  rig.RunTurns(3);
  rig.worker->FailItem(1, absl::DataLossError("NaN in the logits"));
  EXPECT_TRUE(rig.RunUntilIdle());
  ExpectWholeText(good);
  EXPECT_TRUE(absl::IsDataLoss(bad.sink->status)) << bad.sink->status;
  EXPECT_EQ(bad.sink->reason, FinishReason::kError);
  EXPECT_EQ(bad.sink->tokens, Prefix(bad.expected.tokens, 3));
}

TEST(EngineTest, SlotOfAFailedItemIsResetBeforeItsNextUse) {
  FakeWorkerOptions worker;
  worker.num_slots = 1;
  EngineRig rig({}, worker);
  rig.worker->FailItem(2, absl::InternalError("device fault"));
  const Asked bad = rig.Ask(EngineRig::MakeRequest(30, 20));
  const Asked next = rig.Ask(EngineRig::MakeRequest(30, 20, 4));
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_TRUE(absl::IsInternal(bad.sink->status));
  ExpectWholeText(next);
  EXPECT_TRUE(rig.worker->TakeViolations().empty());
}

// --- Cancellation ---

TEST(EngineTest, CancelInTheQueueSpendsNoCompute) {
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

TEST(EngineTest, CancelDuringPrefillFreesTheSlot) {
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

TEST(EngineTest, CancelDuringDecodeFreesTheSlotAndKeepsThePrefix) {
  EngineRig rig;
  const Asked asked = rig.Ask(EngineRig::MakeRequest(10, 1000));
  rig.RunTurns(20);
  rig.engine->Cancel(*asked.ticket, absl::CancelledError("gone"));
  rig.RunTurns(2);
  EXPECT_EQ(rig.observer.load.slots_used, 0);
  EXPECT_EQ(asked.sink->tokens, Prefix(asked.expected.tokens, 20));
  EXPECT_EQ(asked.sink->usage.generated_tokens, 20);
}

TEST(EngineTest, CancelWhilePausedFreesTheSlot) {
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

TEST(EngineTest, CancelOfAFinishedOrUnknownTicketIsIgnored) {
  EngineRig rig;
  const Asked asked = rig.Ask(EngineRig::MakeRequest(10, 3));
  EXPECT_TRUE(rig.RunUntilIdle());
  rig.engine->Cancel(*asked.ticket, absl::CancelledError("late"));
  rig.engine->Cancel(123456, absl::CancelledError("unknown"));
  rig.engine->Resume(*asked.ticket);
  rig.RunTurns(2);
  ExpectWholeText(asked);
}

TEST(EngineTest, CancelRightAfterSubmitWins) {
  EngineRig rig;
  const Asked asked = rig.Ask(EngineRig::MakeRequest(10, 3));
  rig.engine->Cancel(*asked.ticket, absl::OkStatus());
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_TRUE(absl::IsCancelled(asked.sink->status)) << "an OK status would be no reason";
  EXPECT_EQ(rig.worker->num_steps(), 0);
}

// --- Deadlines ---

TEST(EngineTest, DeadlineAlreadyPastIsRefusedWithoutCompute) {
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

TEST(EngineTest, DeadlineInTheQueueEndsTheWait) {
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

TEST(EngineTest, DeadlineWhileRunningEndsAtTheNextTurn) {
  EngineRig rig;
  Request request = EngineRig::MakeRequest(10, 50);
  request.deadline = rig.clock.Now() + absl::Milliseconds(10);
  const Asked asked = rig.Ask(std::move(request));
  rig.RunTurns(11);
  EXPECT_TRUE(absl::IsDeadlineExceeded(asked.sink->status)) << asked.sink->status;
  EXPECT_EQ(asked.sink->tokens, Prefix(asked.expected.tokens, 10));
  EXPECT_EQ(rig.observer.load.slots_used, 0);
}

TEST(EngineTest, DeadlineWhilePausedEndsIt) {
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

TEST(EngineTest, SlowReaderPausesAloneAndContinuesExactly) {
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

TEST(EngineTest, ReaderThatStaysAwayEndsWithTheLimitsName) {
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

TEST(EngineTest, ResumeThatComesBeforeThePauseIsNotLost) {
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

TEST(EngineTest, FullSinkOnTheLastTokenDoesNotDelayTheEnd) {
  EngineRig rig;
  const Asked asked = rig.Ask(EngineRig::MakeRequest(10, 3), 3);
  EXPECT_TRUE(rig.RunUntilIdle());
  ExpectWholeText(asked);
}

// --- Scores ---

TEST(EngineTest, ScoresComeInOrderEachPositionOnce) {
  for (const int32_t chunk : {1, 7, 128}) {
    EngineOptions options;
    options.prefill_chunk = chunk;
    EngineRig rig(options);
    Request request = EngineRig::MakeRequest(300, 0);
    request.score_prompt = true;
    const std::vector<float> expected = rig.worker->ExpectedScores(request);
    const Asked asked = rig.Ask(std::move(request));
    EXPECT_TRUE(rig.RunUntilIdle());
    EXPECT_TRUE(asked.sink->status.ok());
    EXPECT_EQ(asked.sink->scores, expected);
    std::vector<int64_t> positions(299);
    std::iota(positions.begin(), positions.end(), 1);
    EXPECT_EQ(asked.sink->score_positions, positions);
  }
}

TEST(EngineTest, ScoringPausesForASlowReader) {
  EngineOptions options;
  options.prefill_chunk = 16;
  EngineRig rig(options);
  Request request = EngineRig::MakeRequest(300, 0);
  request.score_prompt = true;
  const std::vector<float> expected = rig.worker->ExpectedScores(request);
  const Asked asked = rig.Ask(std::move(request), 2);
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_EQ(asked.sink->scores.size(), 32u);
  EXPECT_EQ(rig.observer.load.num_paused, 1);
  while (asked.sink->finish_count == 0) {
    asked.sink->Read();
    rig.engine->Resume(*asked.ticket);
    EXPECT_TRUE(rig.RunUntilIdle());
  }
  EXPECT_EQ(asked.sink->scores, expected);
}

TEST(EngineTest, ScoredPromptMayBeContinued) {
  EngineRig rig;
  Request request = EngineRig::MakeRequest(200, 10);
  request.score_prompt = true;
  request.logits = true;
  request.routing = true;
  request.top_logprobs = 2;
  const std::vector<float> expected = rig.worker->ExpectedScores(request);
  const Asked asked = rig.Ask(std::move(request));
  EXPECT_TRUE(rig.RunUntilIdle());
  ExpectWholeText(asked);
  EXPECT_EQ(asked.sink->scores, expected);
  EXPECT_EQ(asked.sink->score_logits.size(), 199u * 1000);
  EXPECT_EQ(asked.sink->score_top.size(), 199u * 2);
  EXPECT_EQ(asked.sink->score_routing.size(), 199u);
  EXPECT_EQ(asked.sink->top.size(), 20u);
  EXPECT_FLOAT_EQ(asked.sink->score_logits[7 * 1000 + 8], expected[7])
      << "row 7 is what was known before token 8";
}

TEST(EngineTest, OneTokenHasNothingToScore) {
  EngineRig rig;
  Request request = EngineRig::MakeRequest(1, 0);
  request.score_prompt = true;
  const Asked asked = rig.Ask(std::move(request));
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_TRUE(asked.sink->status.ok());
  EXPECT_TRUE(asked.sink->scores.empty());
}

// --- Segments and passes ---

TEST(EngineTest, TwoPassesRunEachSegmentWholeBeforeItsOutput) {
  FakeWorkerOptions worker;
  worker.segment_passes = 2;
  EngineOptions options;
  options.prefill_chunk = 32;
  EngineRig rig(options, worker);
  const Asked asked = rig.Ask(EngineRig::MakeRequest(100, 20));
  EXPECT_TRUE(rig.RunUntilIdle());
  ExpectWholeText(asked);
  EXPECT_EQ(rig.worker->num_tokens(), 2 * 100 + 19) << "generated tokens take one pass";
  EXPECT_TRUE(rig.worker->TakeViolations().empty());
}

TEST(EngineTest, CutsBetweenSegmentsMatterToTwoPassesOnly) {
  for (const int32_t passes : {1, 2}) {
    FakeWorkerOptions worker;
    worker.segment_passes = passes;
    EngineRig rig({}, worker);
    const Asked whole = rig.Ask(EngineRig::MakeRequest(100, 20));
    Request request = EngineRig::MakeRequest(100, 20);
    request.segment_lengths = {40, 10, 50};
    request.segment_kinds = {SegmentKind::kPrompt, SegmentKind::kGenerated, SegmentKind::kPrompt};
    const Asked cut = rig.Ask(std::move(request));
    EXPECT_TRUE(rig.RunUntilIdle());
    ExpectWholeText(whole);
    ExpectWholeText(cut);
    EXPECT_EQ(whole.sink->tokens == cut.sink->tokens, passes == 1);
  }
}

TEST(EngineTest, TwoPassesScoreOnlyWhatTheModelHasNotSeen) {
  FakeWorkerOptions worker;
  worker.segment_passes = 2;
  EngineRig rig({}, worker);
  Request request = EngineRig::MakeRequest(20, 0);
  request.segment_lengths = {10, 3, 7};
  request.segment_kinds = {SegmentKind::kPrompt, SegmentKind::kGenerated, SegmentKind::kPrompt};
  request.score_prompt = true;
  const Asked asked = rig.Ask(std::move(request));
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_TRUE(asked.sink->status.ok()) << asked.sink->status;
  EXPECT_THAT(asked.sink->score_positions, ElementsAre(10, 11, 12, 13));
}

TEST(EngineTest, SegmentLongerThanTheScratchIsRefused) {
  FakeWorkerOptions worker;
  worker.segment_passes = 2;
  worker.max_segment_tokens = 64;
  EngineRig rig({}, worker);
  const Asked asked = rig.Ask(EngineRig::MakeRequest(65, 20));
  EXPECT_TRUE(absl::IsInvalidArgument(asked.ticket.status()));
  EXPECT_THAT(std::string(asked.ticket.status().message()), HasSubstr("65 tokens"));
  EXPECT_TRUE(rig.Ask(EngineRig::MakeRequest(64, 20)).ticket.ok());
  EXPECT_TRUE(rig.RunUntilIdle());
}

// --- Queue ---

TEST(EngineTest, QueueFullByRequestsIsRefusedWithAHint) {
  EngineOptions options;
  options.max_queue = 3;
  EngineRig rig(options);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(rig.Ask(EngineRig::MakeRequest(10, 3)).ticket.ok());
  const Asked asked = rig.Ask(EngineRig::MakeRequest(10, 3));
  EXPECT_TRUE(absl::IsResourceExhausted(asked.ticket.status())) << asked.ticket.status();
  EXPECT_THAT(std::string(asked.ticket.status().message()), HasSubstr("allows 3"));
  EXPECT_EQ(RetryAfter(asked.ticket.status()), absl::Seconds(1)) << "nothing was measured yet";
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_TRUE(rig.Ask(EngineRig::MakeRequest(10, 3)).ticket.ok()) << "there is room again";
  EXPECT_TRUE(rig.RunUntilIdle());
}

TEST(EngineTest, QueueFullByTokensIsRefused) {
  EngineOptions options;
  options.max_queue_tokens = 100;
  EngineRig rig(options);
  EXPECT_TRUE(rig.Ask(EngineRig::MakeRequest(60, 3)).ticket.ok());
  EXPECT_TRUE(absl::IsResourceExhausted(rig.Ask(EngineRig::MakeRequest(41, 3)).ticket.status()));
  EXPECT_TRUE(rig.Ask(EngineRig::MakeRequest(40, 3)).ticket.ok());
  EXPECT_TRUE(absl::IsInvalidArgument(rig.Ask(EngineRig::MakeRequest(101, 3)).ticket.status()))
      << "no waiting would help";
  EXPECT_TRUE(rig.RunUntilIdle());
}

TEST(EngineTest, RetryHintFollowsTheMeasuredRate) {
  EngineOptions options;
  options.max_queue = 1;
  FakeWorkerOptions worker;
  worker.num_slots = 1;
  EngineRig rig(options, worker);
  const Asked running = rig.Ask(EngineRig::MakeRequest(1, 2000));
  rig.RunTurns(1000);  // one token per millisecond
  EXPECT_TRUE(rig.Ask(EngineRig::MakeRequest(500, 4500)).ticket.ok());
  const Asked refused = rig.Ask(EngineRig::MakeRequest(1, 1));
  const auto hint = RetryAfter(refused.ticket.status());
  ASSERT_TRUE(hint.has_value());
  EXPECT_GE(*hint, absl::Seconds(4.99));
  EXPECT_LE(*hint, absl::Seconds(5.01));
  EXPECT_TRUE(rig.RunUntilIdle());
}

TEST(EngineTest, HigherPriorityGoesFirst) {
  FakeWorkerOptions worker;
  worker.num_slots = 1;
  EngineRig rig({}, worker);
  const Asked running = rig.Ask(EngineRig::MakeRequest(10, 3));
  rig.RunTurns(1);
  const Asked low = rig.Ask(EngineRig::MakeRequest(10, 3, 1));
  Request urgent = EngineRig::MakeRequest(10, 3, 2);
  urgent.priority = 10;
  const Asked high = rig.Ask(std::move(urgent));
  while (high.sink->finish_count == 0) ASSERT_TRUE(rig.engine->RunOnce());
  EXPECT_EQ(low.sink->finish_count, 0);
  EXPECT_TRUE(rig.RunUntilIdle());
  ExpectWholeText(low);
}

TEST(EngineTest, ShortPromptDoesNotWaitForALongOne) {
  EngineRig rig;
  const Asked very_long = rig.Ask(EngineRig::MakeRequest(100000, 1));
  rig.RunTurns(5);
  const Asked brief = rig.Ask(EngineRig::MakeRequest(20, 1, 3));
  rig.RunTurns(2);
  EXPECT_EQ(brief.sink->finish_count, 1) << "two steps";
  EXPECT_EQ(very_long.sink->finish_count, 0);
  rig.engine->Cancel(*very_long.ticket, absl::CancelledError("enough"));
  EXPECT_TRUE(rig.RunUntilIdle());
}

TEST(EngineTest, DecodingGoesOnInEveryStepBesideALongPrefill) {
  EngineRig rig;
  const Asked talking = rig.Ask(EngineRig::MakeRequest(10, 100));
  rig.RunTurns(1);
  const Asked very_long = rig.Ask(EngineRig::MakeRequest(100000, 1));
  for (size_t n = 2; n <= 50; ++n) {
    rig.RunTurns(1);
    EXPECT_EQ(talking.sink->tokens.size(), n);
  }
  rig.engine->Cancel(*very_long.ticket, absl::CancelledError("enough"));
  EXPECT_TRUE(rig.RunUntilIdle());
}

// --- Bad requests ---

TEST(EngineTest, BadRequestsNameFieldValueAndLimit) {
  EngineRig rig;
  const auto refusal = [&rig](auto change) {
    Request request = EngineRig::MakeRequest(10, 3);
    change(request);
    const auto ticket = rig.engine->Submit(std::move(request), std::make_shared<RecordingSink>());
    EXPECT_TRUE(absl::IsInvalidArgument(ticket.status())) << ticket.status();
    return std::string(ticket.status().message());
  };
  EXPECT_THAT(refusal([](Request& r) { r.tokens.clear(); }), HasSubstr("tokens is empty"));
  EXPECT_THAT(refusal([](Request& r) { r.tokens[4] = 1000; }),
              HasSubstr("tokens[4] is 1000, must be in [0, 999]"));
  EXPECT_THAT(refusal([](Request& r) { r.tokens[0] = -1; }), HasSubstr("tokens[0] is -1"));
  EXPECT_THAT(refusal([](Request& r) { r.priority = 101; }),
              HasSubstr("priority is 101, must be in [-100, 100]"));
  EXPECT_THAT(refusal([](Request& r) { r.max_new_tokens = -1; }), HasSubstr("max_new_tokens"));
  EXPECT_THAT(refusal([](Request& r) { r.top_logprobs = 21; }), HasSubstr("top_logprobs is 21"));
  EXPECT_THAT(refusal([](Request& r) { r.penalty_window = -2; }), HasSubstr("penalty_window"));
  EXPECT_THAT(refusal([](Request& r) { r.segment_lengths = {10}; }), HasSubstr("segment_kinds"));
  EXPECT_THAT(refusal([](Request& r) {
                r.segment_lengths = {4, 7};
                r.segment_kinds.assign(2, SegmentKind::kPrompt);
              }),
              HasSubstr("segment_lengths[1] is 7, must be in [1, 6]"));
  EXPECT_THAT(refusal([](Request& r) {
                r.segment_lengths = {4};
                r.segment_kinds.assign(1, SegmentKind::kPrompt);
              }),
              HasSubstr("add up to 4"));
  EXPECT_EQ(rig.observer.num_rejected, 10);
}

TEST(EngineTest, OptionsThatCannotWorkAreRefused) {
  FakeWorker worker;
  FakeClock clock;
  RecordingObserver observer;
  const auto refusal = [&](auto change) {
    EngineOptions options;
    change(options);
    return std::string(Engine::Create(options, worker, observer, clock).status().message());
  };
  EXPECT_THAT(refusal([](EngineOptions& o) { o.max_queue = 0; }), HasSubstr("max_queue is 0"));
  EXPECT_THAT(refusal([](EngineOptions& o) { o.max_queue_tokens = -1; }),
              HasSubstr("max_queue_tokens is -1"));
  EXPECT_THAT(refusal([](EngineOptions& o) { o.prefill_chunk = 0; }), HasSubstr("prefill_chunk"));
  EXPECT_THAT(refusal([](EngineOptions& o) { o.step_token_budget = 3; }),
              HasSubstr("step_token_budget is 3, must be at least the number of slots, 4"));
  EXPECT_THAT(refusal([](EngineOptions& o) { o.slow_reader_timeout = absl::ZeroDuration(); }),
              HasSubstr("slow_reader_timeout"));
  EXPECT_THAT(refusal([](EngineOptions& o) { o.tenants = {{"a", 0}}; }), HasSubstr("\"a\" is 0"));
  EXPECT_THAT(refusal([](EngineOptions& o) {
                o.tenants = {{"a", 1}, {"a", 2}};
              }),
              HasSubstr("twice"));
}

// --- Drain ---

TEST(EngineTest, DrainRefusesNewFinishesOldAndIsThenDone) {
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

TEST(EngineTest, DrainDeadlineEndsWhatRunsAndWhatWaits) {
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

TEST(EngineTest, DestructionEndsWhatIsLeft) {
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

// --- Facts ---

TEST(EngineTest, UsageTellsWhereTheTimeWent) {
  EngineRig rig;
  Request request = EngineRig::MakeRequest(300, 11);  // chunks of 128, 128, 44
  const Asked asked = rig.Ask(std::move(request));
  rig.clock.Advance(absl::Milliseconds(7));
  EXPECT_TRUE(rig.RunUntilIdle());
  const Usage& usage = asked.sink->usage;
  EXPECT_EQ(usage.prompt_tokens, 300);
  EXPECT_EQ(usage.generated_tokens, 11);
  EXPECT_EQ(usage.queue_time, absl::Milliseconds(7));
  EXPECT_EQ(usage.prefill_time, absl::Milliseconds(3));
  EXPECT_EQ(usage.decode_time, absl::Milliseconds(10));
}

TEST(EngineTest, ObserverSeesStepsTokensAndLoad) {
  EngineRig rig;
  const Asked talking = rig.Ask(EngineRig::MakeRequest(10, 5));
  rig.RunTurns(1);
  EXPECT_EQ(rig.observer.last_first_token, absl::Milliseconds(1));
  const Asked other = rig.Ask(EngineRig::MakeRequest(200, 5, 3));
  rig.RunTurns(1);
  EXPECT_EQ(rig.observer.last_step.num_items, 2);
  EXPECT_EQ(rig.observer.last_step.decode_tokens, 1);
  EXPECT_EQ(rig.observer.last_step.prefill_tokens, 128);
  EXPECT_EQ(rig.observer.last_step.duration, absl::Milliseconds(1));
  EXPECT_EQ(rig.observer.last_interval, absl::Milliseconds(1));
  EXPECT_EQ(std::accumulate(rig.observer.expert_tokens.begin(), rig.observer.expert_tokens.end(),
                            int64_t{0}),
            129 * 2 * 2);
  EXPECT_EQ(rig.observer.load.num_running, 2);
  EXPECT_EQ(rig.observer.load.slots_total, 4);
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_EQ(rig.observer.num_first_tokens, 2);
  EXPECT_EQ(rig.observer.num_intervals, 8);
  EXPECT_EQ(rig.observer.num_finished, 2);
  EXPECT_EQ(rig.observer.generated_tokens, 10);
  EXPECT_EQ(rig.observer.load.num_running, 0);
}

TEST(EngineTest, IdleTurnDoesNothing) {
  EngineRig rig;
  const int64_t loads = rig.observer.num_loads;
  EXPECT_FALSE(rig.engine->RunOnce());
  EXPECT_EQ(rig.observer.num_loads, loads);
  EXPECT_EQ(rig.worker->num_steps(), 0);
}

}  // namespace
}  // namespace ela
