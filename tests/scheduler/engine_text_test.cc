// What is generated and what is scored, whatever else the engine does.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "scheduler/engine.h"
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

TEST(EngineTextTest, GeneratesExactlyTheTextOfItsPrompt) {
  EngineRig rig;
  const Asked asked = rig.Ask(EngineRig::MakeRequest(300, 40));
  EXPECT_TRUE(rig.RunUntilIdle());
  ExpectWholeText(asked);
  EXPECT_EQ(asked.sink->reason, FinishReason::kLength);
  EXPECT_EQ(asked.sink->positions.front(), 300);
  EXPECT_EQ(asked.sink->positions.back(), 339);
  EXPECT_EQ(rig.observer.load.slots_used, 0);
}

TEST(EngineTextTest, TextDoesNotDependOnNeighboursOrChunks) {
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

TEST(EngineTextTest, SampledTextFollowsSeedChoiceAndPosition) {
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

TEST(EngineTextTest, PenaltiesSeeTheLastTokensOfPromptAndText) {
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

TEST(EngineTextTest, NoNewTokensAbsorbsOnly) {
  EngineRig rig;
  const Asked asked = rig.Ask(EngineRig::MakeRequest(300, 0));
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_TRUE(asked.sink->tokens.empty());
  EXPECT_EQ(asked.sink->reason, FinishReason::kLength);
  EXPECT_TRUE(asked.sink->status.ok());
  EXPECT_EQ(rig.worker->position(0), 300);
}

TEST(EngineTextTest, FinalTokenIsDeliveredButNotAbsorbed) {
  EngineRig rig;
  const Asked asked = rig.Ask(EngineRig::MakeRequest(30, 5));
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_EQ(asked.sink->tokens.size(), 5u);
  EXPECT_EQ(rig.worker->position(0), 34);
}

TEST(EngineTextTest, LogprobsTopAndRoutingComeWithTokens) {
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

TEST(EngineTextTest, PluggableLobeChangesTheText) {
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

TEST(EngineTextTest, UnknownLobeEndsTheRequestAndFreesItsSlot) {
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

TEST(EngineTextTest, EndOfTextStopTokenAndIgnoreEosEndWhereTheySay) {
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

TEST(EngineTextTest, StopConditionIsAskedForEveryTokenAndEndsTheText) {
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

TEST(EngineTextTest, FailedItemEndsThatRequestAlone) {
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

TEST(EngineTextTest, SlotOfAFailedItemIsResetBeforeItsNextUse) {
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

// --- Scores ---

TEST(EngineTextTest, ScoresComeInOrderEachPositionOnce) {
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

TEST(EngineTextTest, ScoringPausesForASlowReader) {
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

TEST(EngineTextTest, ScoredPromptMayBeContinued) {
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

TEST(EngineTextTest, OneTokenHasNothingToScore) {
  EngineRig rig;
  Request request = EngineRig::MakeRequest(1, 0);
  request.score_prompt = true;
  const Asked asked = rig.Ask(std::move(request));
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_TRUE(asked.sink->status.ok());
  EXPECT_TRUE(asked.sink->scores.empty());
}

// --- Segments and passes ---

TEST(EngineTextTest, TwoPassesRunEachSegmentWholeBeforeItsOutput) {
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

TEST(EngineTextTest, CutsBetweenSegmentsMatterToTwoPassesOnly) {
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

TEST(EngineTextTest, TwoPassesScoreOnlyWhatTheModelHasNotSeen) {
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

TEST(EngineTextTest, SegmentLongerThanTheScratchIsRefused) {
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

}  // namespace
}  // namespace ela
