// The fake is trusted by every test of the engine, so it is tested too: that it sees each breach of
// the contract, and that its text depends on what it should and on nothing else.
#include "tests/fakes/fake_worker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ela {
namespace {

using ::testing::HasSubstr;

class FakeWorkerTest : public testing::Test {
 protected:
  FakeWorkerTest() { greedy_.temperature = 0; }

  static StepItem Chunk(int32_t slot, absl::Span<const TokenId> tokens, int64_t position,
                        Segment segment) {
    StepItem item;
    item.slot = slot;
    item.tokens = tokens;
    item.first_position = position;
    item.segment = segment;
    return item;
  }

  static StepOutput& RunOne(FakeWorker& worker, const StepItem& item) {
    worker.Enqueue({item});
    return worker.Wait().items[0];
  }

  // The one breach of `item`, which must come back as kInternal.
  static std::string Breach(FakeWorker& worker, const StepItem& item) {
    EXPECT_TRUE(absl::IsInternal(RunOne(worker, item).status));
    const std::vector<std::string> violations = worker.TakeViolations();
    return violations.size() == 1 ? violations[0] : "not exactly one";
  }

  const std::vector<TokenId> tokens_ = {1, 2, 3, 4, 5, 6, 7, 8};
  const Segment whole_{SegmentKind::kPrompt, 0, 8, 0};
  SamplingParams greedy_;
};

TEST_F(FakeWorkerTest, SeesASlotThatWasNotReset) {
  FakeWorker worker;
  EXPECT_THAT(Breach(worker, Chunk(0, tokens_, 0, whole_)), HasSubstr("rule 3"));
}

TEST_F(FakeWorkerTest, SeesAFailedSlotUsedAgainWithoutReset) {
  FakeWorker worker;
  ASSERT_TRUE(worker.ResetSlot(0, "").ok());
  worker.FailItem(0, absl::DataLossError("NaN"));
  EXPECT_TRUE(absl::IsDataLoss(RunOne(worker, Chunk(0, tokens_, 0, whole_)).status));
  EXPECT_THAT(Breach(worker, Chunk(0, tokens_, 0, whole_)), HasSubstr("rule 3"));
  ASSERT_TRUE(worker.ResetSlot(0, "").ok());
  EXPECT_TRUE(RunOne(worker, Chunk(0, tokens_, 0, whole_)).status.ok());
}

TEST_F(FakeWorkerTest, SeesASlotTwiceInAStep) {
  FakeWorker worker;
  ASSERT_TRUE(worker.ResetSlot(0, "").ok());
  worker.Enqueue({Chunk(0, tokens_, 0, whole_), Chunk(0, tokens_, 0, whole_)});
  EXPECT_TRUE(absl::IsInternal(worker.Wait().items[1].status));
  EXPECT_EQ(worker.TakeViolations().size(), 1u);
}

TEST_F(FakeWorkerTest, SeesAWrongPosition) {
  FakeWorker worker;
  ASSERT_TRUE(worker.ResetSlot(0, "").ok());
  EXPECT_THAT(Breach(worker, Chunk(0, tokens_, 1, {SegmentKind::kPrompt, 1, 8, 0})),
              HasSubstr("first_position 1, expected 0"));
}

TEST_F(FakeWorkerTest, SeesAChunkBeyondItsSegment) {
  FakeWorker worker;
  ASSERT_TRUE(worker.ResetSlot(0, "").ok());
  EXPECT_THAT(Breach(worker, Chunk(0, tokens_, 0, {SegmentKind::kPrompt, 0, 7, 0})),
              HasSubstr("rule 7"));
}

TEST_F(FakeWorkerTest, SeesAPassOutOfOrderAndAnOutputTooEarly) {
  FakeWorkerOptions options;
  options.segment_passes = 2;
  FakeWorker worker(options);
  Segment second = whole_;
  second.pass = 1;
  ASSERT_TRUE(worker.ResetSlot(0, "").ok());
  EXPECT_THAT(Breach(worker, Chunk(0, tokens_, 0, second)), HasSubstr("pass 1"));
  ASSERT_TRUE(worker.ResetSlot(0, "").ok());
  StepItem early = Chunk(0, tokens_, 0, whole_);
  early.output = OutputMode::kLast;
  EXPECT_THAT(Breach(worker, early), HasSubstr("output from pass 0"));
}

TEST_F(FakeWorkerTest, SeesAStepOverItsLimits) {
  FakeWorkerOptions options;
  options.max_step_tokens = 7;
  FakeWorker worker(options);
  ASSERT_TRUE(worker.ResetSlot(0, "").ok());
  EXPECT_THAT(Breach(worker, Chunk(0, tokens_, 0, whole_)), HasSubstr("8 tokens"));
}

TEST_F(FakeWorkerTest, SeesATokenOutOfRangeAndAnEmptyItemWithoutASample) {
  FakeWorkerOptions options;
  options.vocab_size = 8;
  FakeWorker worker(options);
  ASSERT_TRUE(worker.ResetSlot(0, "").ok());
  EXPECT_THAT(Breach(worker, Chunk(0, tokens_, 0, whole_)), HasSubstr("token 8"));
  ASSERT_TRUE(worker.ResetSlot(0, "").ok());
  EXPECT_THAT(Breach(worker, Chunk(0, {}, 0, whole_)), HasSubstr("rule 8"));
}

TEST_F(FakeWorkerTest, SeesASlotTouchedInsideAStep) {
  FakeWorker worker;
  ASSERT_TRUE(worker.ResetSlot(0, "").ok());
  const StepItem item = Chunk(0, tokens_, 0, whole_);
  worker.Enqueue({item});
  EXPECT_FALSE(worker.ResetSlot(0, "").ok());
  worker.Wait();
  EXPECT_THAT(worker.TakeViolations()[0], HasSubstr("rule 2"));
}

using FakeWorkerDeathTest = FakeWorkerTest;

TEST_F(FakeWorkerDeathTest, BreachThatNobodyTookEndsTheProcess) {
  EXPECT_DEATH(
      {
        FakeWorker worker;
        RunOne(worker, Chunk(0, tokens_, 0, whole_));
      },
      "rule 3");
}

TEST_F(FakeWorkerTest, AbsorbsTheSampledTokenWhenGivenNone) {
  FakeWorker worker;
  TokenId explicit_next = -1;
  for (const bool by_name : {true, false}) {
    ASSERT_TRUE(worker.ResetSlot(0, "").ok());
    StepItem item = Chunk(0, tokens_, 0, whole_);
    item.output = OutputMode::kLast;
    item.sampling = &greedy_;
    const TokenId first = RunOne(worker, item).sampled;
    item = Chunk(0, {}, 8, {SegmentKind::kGenerated, 8, 0, 0});
    if (by_name) item.tokens = absl::MakeConstSpan(&first, 1);
    item.output = OutputMode::kLast;
    item.sampling = &greedy_;
    const TokenId next = RunOne(worker, item).sampled;
    if (by_name) explicit_next = next;
    EXPECT_EQ(next, explicit_next);
  }
}

TEST_F(FakeWorkerTest, CopyRewindSaveAndLoadKeepTheText) {
  FakeWorker worker;
  const auto next_after = [&](int32_t slot, TokenId token) {
    StepItem item = Chunk(slot, absl::MakeConstSpan(&token, 1), worker.position(slot),
                          {SegmentKind::kGenerated, 8, 0, 0});
    item.output = OutputMode::kLast;
    item.sampling = &greedy_;
    StepOutput& output = RunOne(worker, item);
    EXPECT_TRUE(output.status.ok()) << output.status;
    return output.sampled;
  };
  ASSERT_TRUE(worker.ResetSlot(0, "").ok());
  ASSERT_TRUE(RunOne(worker, Chunk(0, tokens_, 0, whole_)).status.ok());
  std::string blob;
  ASSERT_TRUE(worker.BeginSave(0, &blob).ok());
  ASSERT_TRUE(worker.CopySlot(0, 1).ok());
  ASSERT_TRUE(worker.BeginLoad(2, blob).ok());

  const TokenId next = next_after(0, 9);
  EXPECT_EQ(next_after(1, 9), next);
  EXPECT_EQ(next_after(2, 9), next);
  EXPECT_NE(next_after(0, 8), next);
  ASSERT_TRUE(worker.RewindSlot(0, 8).ok());
  EXPECT_EQ(next_after(0, 9), next);
  EXPECT_TRUE(absl::IsOutOfRange(worker.RewindSlot(0, 100)));
  EXPECT_TRUE(absl::IsDataLoss(worker.BeginLoad(2, "ela-fake-state-1  x")));
  EXPECT_TRUE(absl::IsFailedPrecondition(worker.BeginLoad(2, "something else")));
}

TEST_F(FakeWorkerTest, ASnapshotKeepsTheTextInTheMiddleOfAPrompt) {
  FakeWorkerOptions options;
  options.lobes = {"poetry"};
  FakeWorker worker(options);
  const absl::Span<const TokenId> tokens = tokens_;
  std::vector<char> snapshot(worker.Info().state_bytes);
  ASSERT_TRUE(worker.ResetSlot(0, "poetry").ok());
  ASSERT_TRUE(RunOne(worker, Chunk(0, tokens.subspan(0, 3), 0, whole_)).status.ok());
  ASSERT_TRUE(worker.BeginCopyOut(0, absl::MakeSpan(snapshot)).ok());
  ASSERT_TRUE(worker.BeginCopyIn(1, snapshot).ok());
  StepItem rest = Chunk(0, tokens.subspan(3), 3, whole_);
  rest.output = OutputMode::kLast;
  rest.sampling = &greedy_;
  const TokenId next = RunOne(worker, rest).sampled;
  rest.slot = 1;
  EXPECT_EQ(RunOne(worker, rest).sampled, next);
  snapshot.pop_back();
  EXPECT_FALSE(worker.BeginCopyIn(2, snapshot).ok());
  EXPECT_THAT(worker.TakeViolations()[0], HasSubstr("no snapshot"));
}

TEST_F(FakeWorkerTest, LobesComeAndGoAndTheirStatesStayWhereTheyAre) {
  FakeWorker worker;
  std::string blob;
  std::vector<char> snapshot(worker.Info().state_bytes);
  EXPECT_TRUE(absl::IsNotFound(worker.ResetSlot(0, "poetry")));
  ASSERT_TRUE(worker.AddLobe("poetry", *worker.LoadLobe("a")).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(worker.AddLobe("poetry", *worker.LoadLobe("b"))));
  ASSERT_TRUE(worker.ResetSlot(0, "poetry").ok());
  EXPECT_EQ(worker.Lobes()[0].num_slots, 1);
  ASSERT_TRUE(worker.BeginSave(0, &blob).ok());
  ASSERT_TRUE(worker.BeginCopyOut(0, absl::MakeSpan(snapshot)).ok());
  ASSERT_TRUE(worker.RemoveLobe("poetry").ok());
  EXPECT_TRUE(absl::IsNotFound(worker.RemoveLobe("poetry")));
  EXPECT_TRUE(absl::IsNotFound(worker.ResetSlot(1, "poetry")));
  EXPECT_TRUE(absl::IsFailedPrecondition(worker.CopySlot(0, 1)));
  EXPECT_TRUE(absl::IsFailedPrecondition(worker.BeginLoad(1, blob)));
  EXPECT_TRUE(absl::IsFailedPrecondition(worker.BeginCopyIn(1, snapshot)));
  EXPECT_EQ(worker.Lobes()[0].name, "");
  EXPECT_TRUE(RunOne(worker, Chunk(0, tokens_, 0, whole_)).status.ok());

  // Another lobe of that name is another text; the same one of another name is the same.
  Request request;
  request.tokens = tokens_;
  request.max_new_tokens = 4;
  request.sampling = greedy_;
  request.lobe = "poetry";
  ASSERT_TRUE(worker.AddLobe("poetry", *worker.LoadLobe("b")).ok());
  const std::vector<TokenId> other = worker.Expected(request).tokens;
  ASSERT_TRUE(worker.AddLobe("verse", *worker.LoadLobe("a")).ok());
  request.lobe = "verse";
  EXPECT_NE(worker.Expected(request).tokens, other);
  EXPECT_TRUE(worker.BeginLoad(1, blob).ok());
  EXPECT_TRUE(worker.BeginCopyIn(2, snapshot).ok());
  ASSERT_TRUE(worker.ResetSlot(0, "").ok());
}

TEST_F(FakeWorkerTest, BetweenPassesNothingIsSavedOrCopied) {
  FakeWorkerOptions options;
  options.segment_passes = 2;
  FakeWorker worker(options);
  std::string blob;
  std::vector<char> snapshot(worker.Info().state_bytes);
  ASSERT_TRUE(worker.ResetSlot(0, "").ok());
  ASSERT_TRUE(RunOne(worker, Chunk(0, tokens_, 0, whole_)).status.ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(worker.BeginSave(0, &blob)));
  EXPECT_TRUE(absl::IsFailedPrecondition(worker.BeginCopyOut(0, absl::MakeSpan(snapshot))));
  EXPECT_TRUE(absl::IsFailedPrecondition(worker.CopySlot(0, 1)));
  EXPECT_TRUE(absl::IsFailedPrecondition(worker.RewindSlot(0, 0)));
}

TEST_F(FakeWorkerTest, ATransferTakesItsPollsAndKeepsItsSlotToItself) {
  FakeWorkerOptions options;
  options.transfer_polls = 2;
  FakeWorker worker(options);
  std::string blob = "early";
  ASSERT_TRUE(worker.ResetSlot(0, "").ok());
  ASSERT_TRUE(worker.BeginSave(0, &blob).ok());
  EXPECT_EQ(blob, "");
  EXPECT_FALSE(*worker.PollTransfer(0));
  EXPECT_THAT(Breach(worker, Chunk(0, tokens_, 0, whole_)), HasSubstr("rule 10"));
  EXPECT_FALSE(worker.ResetSlot(0, "").ok());
  EXPECT_THAT(worker.TakeViolations()[0], HasSubstr("rule 10"));
  EXPECT_FALSE(*worker.PollTransfer(0));
  EXPECT_TRUE(*worker.PollTransfer(0));
  EXPECT_TRUE(*worker.PollTransfer(0));
  EXPECT_TRUE(worker.ResetSlot(0, "").ok());
  ASSERT_TRUE(worker.BeginLoad(1, blob).ok());
  while (!*worker.PollTransfer(1)) continue;
  EXPECT_TRUE(RunOne(worker, Chunk(1, tokens_, 0, whole_)).status.ok());
}

}  // namespace
}  // namespace ela
