// Thousands of requests that come, go, stall, fail and run late at random, from one printed seed.
// Whatever happens: each text is exactly what the fake worker's hash says (a prefix of it where the
// request was cut short), each request ends exactly once, and every slot is free at the end.
//
// ELA_SEED=n runs that seed alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <random>

#include "tests/fakes/engine_rig.h"

namespace ela {
namespace {

class Storm {
 public:
  explicit Storm(uint32_t seed)
      : random_(seed), worker_options_(MakeWorkerOptions()), rig_(MakeOptions(), worker_options_) {
    if (OneIn(2)) {
      rig_.worker->FailWhen([this](const StepItem&) {
        if (!OneIn(400)) return absl::OkStatus();
        return OneIn(2) ? absl::DataLossError("NaN") : absl::InternalError("device fault");
      });
    }
  }

  void Run(int num_requests) {
    while (static_cast<int>(lives_.size()) < num_requests) {
      if (OneIn(3)) Arrive();
      Disturb();
      rig_.RunTurns(1);
    }
    for (int turn = 0; turn < 200000 && !AllEnded(); ++turn) {
      Disturb();
      rig_.RunTurns(1);
    }
  }

  void Check() {
    int64_t num_accepted = 0;
    for (size_t i = 0; i < lives_.size(); ++i) {
      SCOPED_TRACE(testing::Message() << "request " << i);
      const Life& life = lives_[i];
      const RecordingSink& sink = *life.asked.sink;
      if (!life.asked.ticket.ok()) {
        EXPECT_EQ(sink.finish_count, 0);
        continue;
      }
      ++num_accepted;
      ASSERT_EQ(sink.finish_count, 1);
      EXPECT_EQ(sink.calls_after_finish, 0);
      EXPECT_EQ(sink.usage.generated_tokens, static_cast<int64_t>(sink.tokens.size()));
      for (size_t k = 0; k < sink.positions.size(); ++k) {
        ASSERT_EQ(sink.positions[k], life.prompt_tokens + static_cast<int64_t>(k));
      }
      CheckText(life.asked);
      CheckScores(life);
      CheckReason(sink);
    }
    EXPECT_EQ(rig_.observer.num_finished, num_accepted);
    EXPECT_EQ(rig_.observer.load.slots_used, 0);
    EXPECT_EQ(rig_.observer.load.num_waiting, 0);
    EXPECT_EQ(rig_.observer.load.num_paused, 0);
    EXPECT_TRUE(rig_.worker->TakeViolations().empty());
  }

 private:
  struct Life {
    Asked asked;
    int64_t prompt_tokens = 0;
    std::vector<float> expected_scores;  // of each position from 1 on; empty: not asked for
  };

  uint32_t Below(uint32_t n) { return random_() % n; }
  bool OneIn(uint32_t n) { return Below(n) == 0; }

  FakeWorkerOptions MakeWorkerOptions() {
    FakeWorkerOptions options;
    options.num_slots = static_cast<int32_t>(1 + Below(8));
    options.vocab_size = 1000;
    options.segment_passes = static_cast<int32_t>(1 + Below(3));
    options.max_scratch_tokens = OneIn(2) ? 0 : 260;  // prompts have up to 200 tokens
    options.max_step_tokens = static_cast<int32_t>(options.num_slots + Below(300));
    options.lobes = {"lobe"};
    options.token_cost = absl::Microseconds(10);
    return options;
  }

  EngineOptions MakeOptions() {
    EngineOptions options;
    options.max_queue = static_cast<int32_t>(1 + Below(40));
    options.step_token_budget = static_cast<int32_t>(worker_options_.num_slots + Below(200));
    options.prefill_chunk = static_cast<int32_t>(1 + Below(100));
    options.slow_reader_timeout = absl::Milliseconds(1 + Below(300));
    options.tenants = {{"a", 1}, {"b", 2.5}};
    for (int i = 0; i < 10; ++i) options.end_of_text.push_back(static_cast<TokenId>(Below(1000)));
    return options;
  }

  Request MakeRequest() {
    Request request = EngineRig::MakeRequest(1 + Below(200), Below(60), Below(900));
    request.tenant = std::vector<std::string>{"", "a", "b", "other"}[Below(4)];
    request.priority = static_cast<int32_t>(Below(201)) - 100;
    if (OneIn(4)) {
      request.deadline = rig_.clock.Now() + absl::Milliseconds(static_cast<int>(Below(300)) - 5);
    }
    if (OneIn(3)) CutSegments(request);
    if (OneIn(4)) request.lobe = OneIn(10) ? "none such" : "lobe";
    if (OneIn(2)) request.sampling.temperature = 1;
    request.sampling.seed = Below(5);
    request.choice = Below(3);
    if (OneIn(3)) request.sampling.presence_penalty = 1;
    request.penalty_window = static_cast<int32_t>(Below(70));
    if (OneIn(4)) request.stop_tokens = {static_cast<TokenId>(Below(1000)), 5, 6};
    request.ignore_eos = OneIn(3);
    request.score_prompt = OneIn(4);
    request.top_logprobs = static_cast<int32_t>(Below(4));
    request.routing = OneIn(5);
    return request;
  }

  void CutSegments(Request& request) {
    auto left = static_cast<int64_t>(request.tokens.size());
    while (left > 0) {
      const int64_t length = std::min<int64_t>(left, 1 + Below(80));
      request.segment_lengths.push_back(length);
      request.segment_kinds.push_back(OneIn(2) ? SegmentKind::kPrompt : SegmentKind::kGenerated);
      left -= length;
    }
  }

  void Arrive() {
    Request request = MakeRequest();
    Life life;
    life.prompt_tokens = static_cast<int64_t>(request.tokens.size());
    if (request.score_prompt) life.expected_scores = rig_.worker->ExpectedScores(request);
    life.asked =
        OneIn(3) ? rig_.Ask(std::move(request), 1 + Below(10)) : rig_.Ask(std::move(request));
    lives_.push_back(std::move(life));
    alive_.push_back(lives_.size() - 1);
  }

  // Somebody cancels, somebody reads, somebody resumes for no reason, time jumps.
  void Disturb() {
    if (OneIn(50)) rig_.clock.Advance(absl::Milliseconds(Below(100)));
    for (size_t i = 0; i < alive_.size();) {
      const Life& life = lives_[alive_[i]];
      if (!life.asked.ticket.ok() || life.asked.sink->finish_count > 0) {
        if (life.asked.ticket.ok() && OneIn(10)) rig_.engine->Resume(*life.asked.ticket);
        alive_[i] = alive_.back();
        alive_.pop_back();
        continue;
      }
      if (OneIn(8)) {
        life.asked.sink->Read();
        rig_.engine->Resume(*life.asked.ticket);
      }
      if (OneIn(500)) rig_.engine->Cancel(*life.asked.ticket, absl::CancelledError("gone"));
      ++i;
    }
  }

  bool AllEnded() const { return alive_.empty(); }

  static void CheckText(const Asked& asked) {
    const std::vector<TokenId>& text = asked.sink->tokens;
    const std::vector<TokenId>& expected = asked.expected.tokens;
    ASSERT_LE(text.size(), expected.size());
    EXPECT_TRUE(std::equal(text.begin(), text.end(), expected.begin()));
    if (!asked.sink->status.ok()) return;
    EXPECT_EQ(text.size(), expected.size());
    EXPECT_EQ(asked.sink->reason, asked.expected.reason);
  }

  void CheckScores(const Life& life) const {
    const RecordingSink& sink = *life.asked.sink;
    int64_t last = 0;
    for (size_t k = 0; k < sink.scores.size(); ++k) {
      const int64_t position = sink.score_positions[k];
      ASSERT_GT(position, last);
      ASSERT_LE(position, static_cast<int64_t>(life.expected_scores.size()));
      ASSERT_EQ(sink.scores[k], life.expected_scores[position - 1]) << "position " << position;
      last = position;
    }
    if (sink.status.ok() && worker_options_.segment_passes == 1) {
      EXPECT_EQ(sink.scores.size(), life.expected_scores.size());
    }
  }

  static void CheckReason(const RecordingSink& sink) {
    const bool cut_short =
        sink.reason == FinishReason::kCancelled || sink.reason == FinishReason::kError;
    EXPECT_NE(sink.reason, FinishReason::kNone);
    EXPECT_EQ(sink.status.ok(), !cut_short) << sink.status;
  }

  std::mt19937 random_;
  const FakeWorkerOptions worker_options_;
  EngineRig rig_;
  std::vector<Life> lives_;
  std::vector<size_t> alive_;  // indices of lives that may go on
};

TEST(EngineRandomTest, EveryTextIsExactWhateverHappens) {
  uint32_t first = 1;
  uint32_t last = 25;
  if (const char* seed = std::getenv("ELA_SEED")) first = last = std::atoi(seed);
  for (uint32_t seed = first; seed <= last; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed << " (ELA_SEED=" << seed << ")");
    Storm storm(seed);
    storm.Run(120);
    storm.Check();
    if (HasFailure()) return;
  }
}

// The longer one: ten times the requests, so that queues fill and slots turn over many times.
TEST(EngineRandomTest, StressOfThousandsOfRequests) {
  for (uint32_t seed = 1001; seed <= 1012; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Storm storm(seed);
    storm.Run(1000);
    storm.Check();
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace ela
