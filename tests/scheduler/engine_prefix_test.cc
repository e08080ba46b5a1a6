// Prompts that begin with the tokens of an earlier one start from its state, and nobody could tell.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/fakes/engine_rig.h"

namespace ela {
namespace {

using ::testing::HasSubstr;

class PrefixRig : public EngineRig {
 public:
  using EngineRig::EngineRig;

  // Asks, waits, checks the text; returns the tokens that were not computed.
  int64_t Cached(Request request) {
    const int64_t before = worker->num_tokens();
    const Asked asked = Ask(std::move(request));
    EXPECT_TRUE(asked.ticket.ok()) << asked.ticket.status();
    EXPECT_TRUE(RunUntilIdle());
    EXPECT_TRUE(asked.sink->status.ok()) << asked.sink->status;
    EXPECT_EQ(asked.sink->tokens, asked.expected.tokens);
    const Usage& usage = asked.sink->usage;
    if (worker->Info().segment_passes == 1) {
      EXPECT_EQ(worker->num_tokens() - before,
                usage.prompt_tokens - usage.cached_tokens +
                    std::max<int64_t>(0, usage.generated_tokens - 1));
    }
    return usage.cached_tokens;
  }
};

Request Prompt(int64_t num_tokens, TokenId salt = 0) {
  return EngineRig::MakeRequest(num_tokens, 5, salt);
}

TEST(EnginePrefixTest, LongerPromptAbsorbsOnlyWhatIsNew) {
  for (const int64_t length : {65, 79, 80, 81, 100, 127, 128, 129}) {
    PrefixRig rig;
    EXPECT_EQ(rig.Cached(Prompt(length)), 0);
    EXPECT_EQ(rig.Cached(Prompt(300)), length % 16 == 0 ? length - 1 : length) << length;
  }
}

TEST(EnginePrefixTest, EqualPromptAbsorbsItsLastTokenAgain) {
  for (const int64_t length : {65, 79, 80, 81, 100, 127, 128, 129}) {
    PrefixRig rig;
    EXPECT_EQ(rig.Cached(Prompt(length)), 0);
    EXPECT_EQ(rig.Cached(Prompt(length)), length - 1) << length;
    EXPECT_EQ(rig.observer.load.num_prefixes, 1);
  }
}

TEST(EnginePrefixTest, PromptThatPartsWithinTheLastBlockSharesUpToThere) {
  PrefixRig rig;
  rig.Cached(Prompt(107));
  Request parts = Prompt(120);
  parts.tokens[101] = 999;
  EXPECT_EQ(rig.Cached(std::move(parts)), 101);
  Request earlier = Prompt(120);
  earlier.tokens[95] = 999;
  EXPECT_EQ(rig.Cached(std::move(earlier)), 0);
}

TEST(EnginePrefixTest, LongestMatchWins) {
  PrefixRig rig;
  rig.Cached(Prompt(70));
  rig.Cached(Prompt(150));
  rig.Cached(Prompt(110));
  EXPECT_EQ(rig.Cached(Prompt(140)), 110);
  EXPECT_EQ(rig.Cached(Prompt(200)), 150);
}

TEST(EnginePrefixTest, TenantsAndLobesDoNotMeet) {
  FakeWorkerOptions worker;
  worker.lobes = {"medical"};
  PrefixRig rig({}, worker);
  rig.Cached(Prompt(100));
  Request other = Prompt(100);
  other.tenant = "other";
  EXPECT_EQ(rig.Cached(std::move(other)), 0);
  Request lobe = Prompt(100);
  lobe.lobe = "medical";
  EXPECT_EQ(rig.Cached(std::move(lobe)), 0);
  EXPECT_EQ(rig.Cached(Prompt(100)), 99);
}

TEST(EnginePrefixTest, OptionsForbidReadingAndKeeping) {
  PrefixRig rig;
  Request keeps_nothing = Prompt(100);
  keeps_nothing.prefix.no_keeping = true;
  rig.Cached(std::move(keeps_nothing));
  EXPECT_EQ(rig.observer.load.num_prefixes, 0);
  rig.Cached(Prompt(100));
  Request reads_nothing = Prompt(100);
  reads_nothing.prefix.no_reading = true;
  EXPECT_EQ(rig.Cached(std::move(reads_nothing)), 0);
}

TEST(EnginePrefixTest, StatesAreKeptWhereTheRequestSays) {
  PrefixRig rig;
  Request request = Prompt(200);
  request.prefix.keep_at = {37, 120};
  rig.Cached(std::move(request));
  Request parts = Prompt(200);
  parts.tokens[121] = 999;
  EXPECT_EQ(rig.Cached(std::move(parts)), 120);
  Request earlier = Prompt(200);
  earlier.tokens[50] = 999;
  EXPECT_EQ(rig.Cached(std::move(earlier)), 37);
}

TEST(EnginePrefixTest, StatesAreKeptAtEverySoManyTokens) {
  EngineOptions options;
  options.prefix_every_tokens = 64;
  PrefixRig rig(options);
  rig.Cached(Prompt(1000));
  Request parts = Prompt(1000);
  parts.tokens[700] = 999;
  EXPECT_EQ(rig.Cached(std::move(parts)), 700) << "within the last block of the state at 703";
  Request earlier = Prompt(1000);
  earlier.tokens[680] = 999;
  EXPECT_EQ(rig.Cached(std::move(earlier)), 64 * 10 - 1);
}

TEST(EnginePrefixTest, BadPlacesNameFieldValueAndLimit) {
  PrefixRig rig;
  const auto refusal = [&rig](std::vector<int64_t> keep_at) {
    Request request = Prompt(100);
    request.prefix.keep_at = std::move(keep_at);
    return std::string(rig.Ask(std::move(request)).ticket.status().message());
  };
  EXPECT_THAT(refusal({0}), HasSubstr("keep_at[0] is 0, must be in [1, 100]"));
  EXPECT_THAT(refusal({5, 101}), HasSubstr("keep_at[1] is 101, must be in [6, 100]"));
  EXPECT_THAT(refusal({5, 5}), HasSubstr("keep_at[1] is 5, must be in [6, 100]"));
  EXPECT_THAT(refusal(std::vector<int64_t>(17, 1)), HasSubstr("keep_at has 17 entries"));
}

TEST(EnginePrefixTest, LeastRecentlyUsedGoesFirst) {
  EngineOptions options;
  options.snapshot_bytes = 2 * FakeWorker().Info().state_bytes;
  PrefixRig rig(options);
  rig.Cached(Prompt(100, 1));
  rig.Cached(Prompt(100, 2));
  EXPECT_EQ(rig.Cached(Prompt(100, 1)), 99);
  rig.Cached(Prompt(100, 3));
  EXPECT_EQ(rig.Cached(Prompt(100, 1)), 99);
  EXPECT_EQ(rig.Cached(Prompt(100, 2)), 0);
}

TEST(EnginePrefixTest, TokensOfPrefixesCountInTheLogsMemory) {
  EngineOptions options;
  options.log_bytes = 10'000;
  PrefixRig rig(options);
  for (TokenId salt = 0; salt < 20; ++salt) rig.Cached(Prompt(500, salt));
  EXPECT_LE(rig.observer.load.log_bytes, 10'000);
  EXPECT_GT(rig.observer.load.num_prefixes, 2);
  EXPECT_EQ(rig.Cached(Prompt(500, 19)), 499);
}

TEST(EnginePrefixTest, ScoringSeesEveryPosition) {
  PrefixRig rig;
  rig.Cached(Prompt(100));
  Request request = Prompt(100);
  request.score_prompt = true;
  const Asked asked = rig.Ask(std::move(request));
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_EQ(asked.sink->scores.size(), 99u);
  EXPECT_EQ(asked.sink->usage.cached_tokens, 0);
}

// --- Several segment passes ---

Request Cut(Request request, std::vector<int64_t> lengths) {
  request.segment_lengths = std::move(lengths);
  request.segment_kinds.assign(request.segment_lengths.size(), SegmentKind::kPrompt);
  return request;
}

class EnginePrefixLobeTest : public ::testing::Test {
 protected:
  static FakeWorkerOptions TwoPasses() {
    FakeWorkerOptions options;
    options.segment_passes = 2;
    return options;
  }
  PrefixRig rig_{{}, TwoPasses()};
};

TEST_F(EnginePrefixLobeTest, HitNeedsTheSameCuts) {
  rig_.Cached(Cut(Prompt(100), {70, 30}));
  EXPECT_EQ(rig_.Cached(Cut(Prompt(150), {70, 30, 50})), 100);
  EXPECT_EQ(rig_.Cached(Cut(Prompt(150), {70, 80})), 70);
  EXPECT_EQ(rig_.Cached(Cut(Prompt(150), {100, 50})), 0);
  EXPECT_EQ(rig_.Cached(Prompt(150)), 0);
  EXPECT_EQ(rig_.Cached(Cut(Prompt(100), {70, 30})), 70) << "its last segment is seen whole";
}

TEST_F(EnginePrefixLobeTest, PlacesInsideAPromptSegmentAreRefused) {
  Request request = Cut(Prompt(100), {70, 30});
  request.prefix.keep_at = {70, 80};
  const absl::Status status = rig_.Ask(std::move(request)).ticket.status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("keep_at[1] is 80"));
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("at segment ends and in generated text only"));
}

}  // namespace
}  // namespace ela
