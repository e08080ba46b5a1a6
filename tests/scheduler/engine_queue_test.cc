// Who is let in, who goes first, and what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "scheduler/engine.h"
#include "tests/fakes/engine_rig.h"

namespace ela {
namespace {

using ::testing::HasSubstr;

void ExpectWholeText(const Asked& asked) {
  ASSERT_TRUE(asked.ticket.ok()) << asked.ticket.status();
  EXPECT_EQ(asked.sink->finish_count, 1);
  EXPECT_TRUE(asked.sink->status.ok()) << asked.sink->status;
  EXPECT_EQ(asked.sink->reason, asked.expected.reason);
  EXPECT_EQ(asked.sink->tokens, asked.expected.tokens);
}

// --- Queue ---

TEST(EngineQueueTest, QueueFullByRequestsIsRefusedWithAHint) {
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

TEST(EngineQueueTest, QueueFullByTokensIsRefused) {
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

TEST(EngineQueueTest, RetryHintFollowsTheMeasuredRate) {
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

TEST(EngineQueueTest, HigherPriorityGoesFirst) {
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

TEST(EngineQueueTest, ShortPromptDoesNotWaitForALongOne) {
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

TEST(EngineQueueTest, DecodingGoesOnInEveryStepBesideALongPrefill) {
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

TEST(EngineQueueTest, BadRequestsNameFieldValueAndLimit) {
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

TEST(EngineQueueTest, OptionsThatCannotWorkAreRefused) {
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

}  // namespace
}  // namespace ela
