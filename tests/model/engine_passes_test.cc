// The engine drives a real worker whose lobe sees ahead: prompt segments in passes, several
// sequences amid theirs at once, and the same bits as the worker gives one sequence alone.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "scheduler/engine.h"
#include "scheduler/prompt_cursor.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/recording_observer.h"
#include "tests/fakes/recording_sink.h"
#include "tests/model/worker_rig.h"

namespace ela {
namespace {

LanguageConfig PrefixConfig(bool extended) {
  LanguageConfig config =
      extended ? SmallExtendedConfig(AttentionKernel::kHadamardExp) : SmallPaperConfig();
  config.memory_lobe->mode = LobeMode::kPrefix;
  return config;
}

struct Text {
  std::vector<TokenId> tokens;
  std::vector<float> logprobs;
  std::vector<int64_t> score_positions;
  std::vector<float> scores;
};

class EnginePassesTest : public testing::TestWithParam<bool> {
 protected:
  EnginePassesTest() : rig_(PrefixConfig(GetParam())) {
    rig_.options().num_slots = 6;
    rig_.options().max_step_tokens = 96;
  }

  // Prompts of all lengths; every third one cut as a conversation, every second one scored.
  Request MakeRequest(uint32_t number) const {
    Request request;
    const int64_t length = 5 + number * 37 % 150;
    request.tokens = rig_.Tokens(length, number);
    if (number % 3 == 0) {
      request.segment_lengths = {length / 3 + 1, length / 4 + 1};
      request.segment_lengths.push_back(length - request.segment_lengths[0] -
                                        request.segment_lengths[1]);
      request.segment_kinds = {SegmentKind::kPrompt, SegmentKind::kGenerated, SegmentKind::kPrompt};
    }
    request.score_prompt = number % 2 == 0;
    request.max_new_tokens = 5 + number % 40;
    request.sampling.temperature = 0.9f;
    request.sampling.seed = number;
    return request;
  }

  // The worker alone, each segment in one chunk per pass.
  Text Alone(Worker* worker, const Request& request) {
    Text text;
    EXPECT_TRUE(worker->ResetSlot(0, "").ok());
    const auto length = static_cast<int64_t>(request.tokens.size());
    PromptCursor cursor =
        *PromptCursor::Create(length, request.segment_lengths, request.segment_kinds,
                              worker->Info().segment_passes, worker->Info().max_segment_tokens);
    std::vector<TokenId> targets(request.tokens.begin() + 1, request.tokens.end());
    targets.push_back(-1);
    while (!cursor.done()) {
      const int64_t begin = cursor.position(), n = std::min<int64_t>(96, cursor.left_in_pass());
      StepItem item;
      item.tokens = absl::MakeConstSpan(request.tokens).subspan(begin, n);
      item.first_position = begin;
      item.segment = cursor.segment();
      const bool output = cursor.in_output_pass();
      if (output) {
        item.output = OutputMode::kEvery;
        item.targets = absl::MakeConstSpan(targets).subspan(begin, n);
      }
      if (cursor.EndsPromptAfter(n)) item.sampling = &request.sampling;
      const StepOutput result = RunItem(worker, item);
      EXPECT_TRUE(result.status.ok()) << result.status;
      for (int64_t i = 0; output && request.score_prompt && i < n; ++i) {
        // What its own prompt segment let the model see is not scored.
        const bool seen = cursor.sees_own_future() && begin + i + 1 < cursor.end();
        if (seen || item.targets[i] < 0) continue;
        text.score_positions.push_back(begin + i + 1);
        text.scores.push_back(result.target_logprobs[i]);
      }
      if (result.sampled >= 0) Add(result, &text);
      cursor.Advance(n);
    }
    while (static_cast<int64_t>(text.tokens.size()) < request.max_new_tokens) {
      StepItem item;
      item.tokens = absl::MakeConstSpan(&text.tokens.back(), 1);
      item.first_position = length + static_cast<int64_t>(text.tokens.size()) - 1;
      item.segment = {SegmentKind::kGenerated, length, 0, 0};
      item.output = OutputMode::kLast;
      item.sampling = &request.sampling;
      Add(RunItem(worker, item), &text);
    }
    return text;
  }
  static void Add(const StepOutput& output, Text* text) {
    ASSERT_TRUE(output.status.ok()) << output.status;
    text->tokens.push_back(output.sampled);
    text->logprobs.push_back(output.sampled_logprob);
  }

  WorkerRig rig_;
};

TEST_P(EnginePassesTest, TextAndScoresAreTheWorkersOwnBits) {
  constexpr uint32_t kRequests = 24;
  auto alone = rig_.Make();
  std::vector<Text> expected;
  for (uint32_t i = 0; i < kRequests; ++i) expected.push_back(Alone(alone.get(), MakeRequest(i)));
  for (const int32_t chunk : {5, 32, 96}) {
    auto worker = rig_.Make();
    FakeClock clock;
    RecordingObserver observer;
    EngineOptions options;
    options.step_token_budget = 96;
    options.prefill_chunk = chunk;
    auto engine = *Engine::Create(options, *worker, observer, clock);
    std::vector<std::shared_ptr<RecordingSink>> sinks;
    for (uint32_t i = 0; i < kRequests; ++i) {
      sinks.push_back(std::make_shared<RecordingSink>());
      ASSERT_TRUE(engine->Submit(MakeRequest(i), sinks.back()).ok());
    }
    while (engine->RunOnce()) continue;
    for (uint32_t i = 0; i < kRequests; ++i) {
      ASSERT_TRUE(sinks[i]->status.ok()) << sinks[i]->status;
      EXPECT_EQ(sinks[i]->tokens, expected[i].tokens) << "chunk " << chunk << ", request " << i;
      EXPECT_EQ(sinks[i]->logprobs, expected[i].logprobs);
      EXPECT_EQ(sinks[i]->score_positions, expected[i].score_positions);
      EXPECT_EQ(sinks[i]->scores, expected[i].scores);
    }
  }
}

TEST_P(EnginePassesTest, APromptBeyondTheSegmentLimitIsRefusedBeforeAnyCompute) {
  rig_.options().max_segment_tokens = 20;
  auto worker = rig_.Make();
  FakeClock clock;
  RecordingObserver observer;
  EngineOptions options;
  options.step_token_budget = 96;
  auto engine = *Engine::Create(options, *worker, observer, clock);
  Request request;
  request.tokens = rig_.Tokens(21, 1);
  const absl::Status status =
      engine->Submit(std::move(request), std::make_shared<RecordingSink>()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
}

INSTANTIATE_TEST_SUITE_P(Structures, EnginePassesTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "extended" : "paper"; });

}  // namespace
}  // namespace ela
