// Lobes come and go while requests and sessions use them.
#include <gtest/gtest.h>

#include "tests/fakes/session_model.h"

namespace ela {
namespace {

class LobeRig : public EngineRig {
 public:
  using EngineRig::EngineRig;

  // A lobe of the words in `directory`, under `name`.
  absl::Status Add(const std::string& name, const std::string& directory) {
    absl::Status added = absl::UnknownError("no answer");
    engine->Command(AddLobe{name, *worker->LoadLobe(directory),
                            [&added](absl::Status status) { added = std::move(status); }});
    RunTurns(1);
    return added;
  }

  absl::Status Remove(const std::string& name) {
    absl::Status removed = absl::UnknownError("no answer");
    engine->Command(
        RemoveLobe{name, [&removed](absl::Status status) { removed = std::move(status); }});
    RunTurns(1);
    return removed;
  }
};

Request Under(const std::string& lobe, int64_t num_tokens, int64_t max_new_tokens) {
  Request request = EngineRig::MakeRequest(num_tokens, max_new_tokens);
  request.lobe = lobe;
  return request;
}

TEST(EngineLobesTest, RequestRunsUnderALobeThatWasJustAdded) {
  LobeRig rig;
  ASSERT_TRUE(rig.Add("medical", "a").ok());
  EXPECT_TRUE(absl::IsAlreadyExists(rig.Add("medical", "b")));
  const Asked with = rig.Ask(Under("medical", 30, 10));
  const Asked without = rig.Ask(Under("", 30, 10));
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_EQ(with.sink->tokens, with.expected.tokens);
  EXPECT_NE(with.sink->tokens, without.sink->tokens);
  std::vector<LobeInfo> lobes;
  rig.engine->Command(ListLobes{[&lobes](auto listed) { lobes = *std::move(listed); }});
  rig.RunTurns(1);
  ASSERT_EQ(lobes.size(), 1u);
  EXPECT_EQ(lobes[0].name, "medical");
}

TEST(EngineLobesTest, WhatRunsUnderARemovedLobeGoesOnInItsSlotToItsEnd) {
  EngineOptions options;
  options.swap_quantum = 5;
  FakeWorkerOptions worker;
  worker.num_slots = 1;
  LobeRig rig(options, worker);
  ASSERT_TRUE(rig.Add("medical", "a").ok());
  const Asked asked = rig.Ask(Under("medical", 30, 50));
  rig.RunTurns(10);
  ASSERT_TRUE(rig.Remove("medical").ok());
  EXPECT_TRUE(absl::IsNotFound(rig.Remove("medical")));
  const Asked waits = rig.Ask(Under("", 30, 10));
  const Asked late = rig.Ask(Under("medical", 30, 10));
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_EQ(asked.sink->tokens, asked.expected.tokens);
  EXPECT_EQ(waits.sink->tokens, waits.expected.tokens);
  EXPECT_TRUE(absl::IsNotFound(late.sink->status)) << late.sink->status;
}

TEST(EngineLobesTest, KeptPrefixesGoWithTheName) {
  LobeRig rig;
  ASSERT_TRUE(rig.Add("medical", "a").ok());
  rig.Ask(Under("medical", 100, 5));
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_EQ(rig.observer.load.num_prefixes, 1);
  ASSERT_TRUE(rig.Remove("medical").ok());
  ASSERT_TRUE(rig.Add("medical", "b").ok());
  const Asked other = rig.Ask(Under("medical", 100, 5));
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_EQ(other.sink->usage.cached_tokens, 0);
  EXPECT_EQ(other.sink->tokens, other.expected.tokens);
}

TEST(EngineLobesTest, SessionGoesOnUnderAnEqualLobeAlone) {
  LobeRig rig;
  ASSERT_TRUE(rig.Add("medical", "a").ok());
  CreateSession create;
  create.lobe = "medical";
  SessionModel session;
  session.id = rig.Do(create)->id;
  const auto say = [&](int64_t prompt_tokens) {
    Request request = EngineRig::MakeRequest(prompt_tokens, 5);
    Request whole = session.Whole(request);
    whole.lobe = "medical";
    const FakeText expected = rig.worker->Expected(whole);
    request.session = SessionUse{session.id, false, std::nullopt};
    const auto sink = std::make_shared<RecordingSink>();
    EXPECT_TRUE(rig.engine->Submit(std::move(request), sink).ok());
    EXPECT_TRUE(rig.RunUntilIdle());
    if (!sink->status.ok()) return sink->status;
    EXPECT_EQ(sink->tokens, expected.tokens);
    session.AppendPrompt(EngineRig::MakeRequest(prompt_tokens, 0).tokens);
    session.AppendGenerated(sink->tokens);
    return absl::OkStatus();
  };
  EXPECT_TRUE(say(30).ok());
  ASSERT_TRUE(rig.Remove("medical").ok());
  EXPECT_FALSE(say(5).ok());
  ASSERT_TRUE(rig.Add("medical", "b").ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(say(5)));
  ASSERT_TRUE(rig.Remove("medical").ok());
  ASSERT_TRUE(rig.Add("medical", "a").ok());
  GetSession get;
  get.id = session.id;
  get.tokens = true;
  const std::vector<TokenId> log = rig.Do(get)->tokens;
  session.AppendPrompt({log.begin() + session.size(), log.end()});  // of the call that failed
  EXPECT_TRUE(say(5).ok());
}

}  // namespace
}  // namespace ela
