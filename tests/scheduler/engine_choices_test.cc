// Several continuations of one prompt, which is absorbed once.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "tests/fakes/engine_rig.h"

namespace ela {
namespace {

using ::testing::HasSubstr;

class ChoiceSink final : public TokenSink {
 public:
  SinkState OnToken(const TokenEvent& event) override {
    texts[event.choice].push_back(event.token);
    return SinkState::kReady;
  }
  SinkState OnScores(const ScoreEvent&) override { return SinkState::kReady; }
  void OnChoiceFinish(uint32_t choice, FinishReason reason) override { reasons[choice] = reason; }
  void OnFinish(const absl::Status& s, FinishReason, const Usage& u) override {
    ++num_finished;
    status = s;
    usage = u;
  }

  std::map<uint32_t, std::vector<TokenId>> texts;
  std::map<uint32_t, FinishReason> reasons;
  int num_finished = 0;
  absl::Status status = absl::UnknownError("not finished");
  Usage usage;
};

Request Choices(int64_t prompt_tokens, int64_t max_new_tokens, int32_t num_choices) {
  Request request = EngineRig::MakeRequest(prompt_tokens, max_new_tokens);
  request.sampling.temperature = 1;
  request.sampling.seed = 3;
  request.num_choices = num_choices;
  return request;
}

std::vector<TokenId> Expected(const EngineRig& rig, int64_t prompt, int64_t n, uint32_t choice) {
  Request alone = Choices(prompt, n, 1);
  alone.choice = choice;
  return rig.worker->Expected(alone).tokens;
}

TEST(EngineChoicesTest, EachChoiceIsTheTextOfItsOwnRandomNumbers) {
  for (const int32_t polls : {0, 2}) {
    for (const int64_t prompt : {1, 5, 16, 100, 128}) {
      FakeWorkerOptions worker;
      worker.transfer_polls = polls;
      EngineRig rig({}, worker);
      const auto sink = std::make_shared<ChoiceSink>();
      ASSERT_TRUE(rig.engine->Submit(Choices(prompt, 20, 7), sink).ok());
      EXPECT_TRUE(rig.RunUntilIdle());
      EXPECT_TRUE(sink->status.ok()) << sink->status;
      EXPECT_EQ(sink->num_finished, 1);
      EXPECT_EQ(sink->reasons.size(), 7u);
      for (uint32_t choice = 0; choice < 7; ++choice) {
        EXPECT_EQ(sink->texts[choice], Expected(rig, prompt, 20, choice)) << choice;
      }
      EXPECT_EQ(sink->usage.prompt_tokens, prompt);
      EXPECT_EQ(sink->usage.generated_tokens, 7 * 20);
      const int64_t last_again = prompt == 1 ? 6 : 6;
      EXPECT_EQ(rig.worker->num_tokens(), prompt + last_again + 7 * 19);
      EXPECT_EQ(rig.observer.num_finished, 1);
    }
  }
}

TEST(EngineChoicesTest, WithoutMemoryEachAbsorbsThePromptItself) {
  EngineOptions options;
  options.snapshot_bytes = 0;
  EngineRig rig(options);
  const auto sink = std::make_shared<ChoiceSink>();
  ASSERT_TRUE(rig.engine->Submit(Choices(100, 20, 3), sink).ok());
  EXPECT_TRUE(rig.RunUntilIdle());
  for (uint32_t choice = 0; choice < 3; ++choice) {
    EXPECT_EQ(sink->texts[choice], Expected(rig, 100, 20, choice)) << choice;
  }
}

TEST(EngineChoicesTest, SecondTimeTheKeptPrefixServesThemAll) {
  for (const int64_t prompt : {100, 128}) {
    EngineRig rig;
    const auto first = std::make_shared<ChoiceSink>();
    ASSERT_TRUE(rig.engine->Submit(Choices(prompt, 20, 3), first).ok());
    EXPECT_TRUE(rig.RunUntilIdle());
    const auto second = std::make_shared<ChoiceSink>();
    ASSERT_TRUE(rig.engine->Submit(Choices(prompt, 20, 3), second).ok());
    EXPECT_TRUE(rig.RunUntilIdle());
    EXPECT_EQ(second->texts, first->texts);
    EXPECT_EQ(second->usage.cached_tokens, prompt - 1);
  }
}

TEST(EngineChoicesTest, PrefixLobeSharesAllButTheLastPromptSegment) {
  for (const std::vector<int64_t>& cuts : {std::vector<int64_t>{100}, {60, 40}}) {
    FakeWorkerOptions worker;
    worker.segment_passes = 3;
    EngineRig rig({}, worker);
    Request request = Choices(100, 20, 4);
    request.segment_lengths = cuts;
    request.segment_kinds.assign(cuts.size(), SegmentKind::kPrompt);
    std::vector<std::vector<TokenId>> expected;
    for (uint32_t choice = 0; choice < 4; ++choice) {
      request.choice = choice;
      expected.push_back(rig.worker->Expected(request).tokens);
    }
    request.choice = 0;
    const auto sink = std::make_shared<ChoiceSink>();
    ASSERT_TRUE(rig.engine->Submit(std::move(request), sink).ok());
    EXPECT_TRUE(rig.RunUntilIdle());
    for (uint32_t choice = 0; choice < 4; ++choice) {
      EXPECT_EQ(sink->texts[choice], expected[choice]);
    }
    const int64_t shared = cuts.size() == 1 ? 0 : 60;
    EXPECT_EQ(rig.worker->num_tokens(), 3 * (shared + 4 * (100 - shared)) + 4 * 19);
  }
}

TEST(EngineChoicesTest, CancelEndsThemAll) {
  EngineRig rig;
  const auto sink = std::make_shared<ChoiceSink>();
  const auto ticket = rig.engine->Submit(Choices(50, 1000, 6), sink);
  rig.RunTurns(30);
  rig.engine->Cancel(*ticket, absl::CancelledError("enough"));
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_TRUE(absl::IsCancelled(sink->status)) << sink->status;
  EXPECT_EQ(sink->num_finished, 1);
  EXPECT_EQ(rig.observer.load.slots_used, 0);
  EXPECT_EQ(rig.observer.num_finished, 1);
}

TEST(EngineChoicesTest, CancelBeforeTheOthersAreThereEndsTheRequest) {
  EngineRig rig;
  const auto sink = std::make_shared<ChoiceSink>();
  const auto ticket = rig.engine->Submit(Choices(5000, 10, 6), sink);
  rig.RunTurns(3);
  rig.engine->Cancel(*ticket, absl::CancelledError("enough"));
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_TRUE(absl::IsCancelled(sink->status));
  EXPECT_EQ(sink->num_finished, 1);
}

TEST(EngineChoicesTest, FailureOfOneEndsThemAll) {
  EngineRig rig;
  const auto sink = std::make_shared<ChoiceSink>();
  ASSERT_TRUE(rig.engine->Submit(Choices(50, 100, 3), sink).ok());
  rig.RunTurns(10);
  rig.worker->FailItem(1, absl::DataLossError("NaN"));
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_TRUE(absl::IsDataLoss(sink->status)) << sink->status;
  EXPECT_EQ(sink->num_finished, 1);
  EXPECT_EQ(rig.observer.load.slots_used, 0);
}

TEST(EngineChoicesTest, NumberIsCheckedAndNoneGoWithASession) {
  EngineRig rig;
  const auto refusal = [&rig](Request request) {
    return std::string(
        rig.engine->Submit(std::move(request), std::make_shared<ChoiceSink>()).status().message());
  };
  EXPECT_THAT(refusal(Choices(5, 5, 0)), HasSubstr("num_choices is 0, must be in [1, 16]"));
  EXPECT_THAT(refusal(Choices(5, 5, 17)), HasSubstr("num_choices is 17"));
  Request request = Choices(5, 5, 2);
  request.session = SessionUse();
  EXPECT_THAT(refusal(std::move(request)), HasSubstr("num_choices is 2, must be in [1, 1]"));
}

}  // namespace
}  // namespace ela
