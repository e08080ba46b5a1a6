// Sessions: a past that calls go on from, that can be copied, named, gone back in, taken away and
// brought back. Named by behaviour.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/fakes/session_model.h"

namespace ela {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// An engine with one session after another, each with its model beside it.
class SessionRig : public EngineRig {
 public:
  using EngineRig::EngineRig;

  SessionModel Make(const std::string& tenant = "") {
    CreateSession create;
    create.tenant = tenant;
    const auto made = Do(create);
    EXPECT_TRUE(made.ok()) << made.status();
    SessionModel model;
    model.id = made->id;
    model.tenant = tenant;
    return model;
  }

  // Submits a call of `prompt_tokens` and up to `max_new_tokens`, with what it must yield.
  Asked Call(const SessionModel& model, int64_t prompt_tokens, int64_t max_new_tokens,
             bool wait = false) {
    Request request = MakeRequest(prompt_tokens, max_new_tokens, 7);
    request.tenant = model.tenant;
    request.session = SessionUse{model.id, wait, std::nullopt};
    Asked asked;
    asked.expected = worker->Expected(model.Whole(request));
    asked.sink = std::make_shared<RecordingSink>();
    asked.ticket = engine->Submit(std::move(request), asked.sink);
    return asked;
  }

  // One call to its end; the model goes on.
  Asked Say(SessionModel& model, int64_t prompt_tokens, int64_t max_new_tokens) {
    Asked asked = Call(model, prompt_tokens, max_new_tokens);
    EXPECT_TRUE(RunUntilIdle());
    EXPECT_TRUE(asked.sink->status.ok()) << asked.sink->status;
    EXPECT_EQ(asked.sink->tokens, asked.expected.tokens);
    model.AppendPrompt(MakeRequest(prompt_tokens, 0, 7).tokens);
    model.AppendGenerated(asked.sink->tokens);
    return asked;
  }

  absl::StatusOr<SessionInfo> Get(const SessionModel& model, bool tokens = false) {
    GetSession get;
    get.tenant = model.tenant;
    get.id = model.id;
    get.tokens = tokens;
    return Do(get);
  }

  absl::StatusOr<SessionInfo> Update(const SessionModel& model, absl::Duration time_to_live,
                                     const std::string& label) {
    // On the heap: gcc with sanitizers loses track of an optional string on the stack.
    auto update = std::make_unique<UpdateSession>();
    update->tenant = model.tenant;
    update->id = model.id;
    update->time_to_live = time_to_live;
    update->label = label;
    return Do(std::move(*update));
  }

  absl::StatusOr<RewoundSession> Rewind(const SessionModel& model, int64_t position) {
    RewindSession rewind;
    rewind.tenant = model.tenant;
    rewind.id = model.id;
    rewind.position = position;
    return Do(rewind);
  }

  absl::StatusOr<SessionInfo> Checkpoint(const SessionModel& model, const std::string& name) {
    CheckpointSession checkpoint;
    checkpoint.tenant = model.tenant;
    checkpoint.id = model.id;
    checkpoint.name = name;
    return Do(checkpoint);
  }

  absl::StatusOr<SessionInfo> Fork(const SessionModel& model,
                                   std::optional<std::string> checkpoint = std::nullopt) {
    ForkSession fork;
    fork.tenant = model.tenant;
    fork.id = model.id;
    fork.checkpoint = std::move(checkpoint);
    return Do(fork);
  }
};

EngineOptions WithPlaces(int64_t num_places) {
  EngineOptions options;
  options.snapshot_bytes = num_places * FakeWorker().Info().state_bytes;
  return options;
}

FakeWorkerOptions WithPasses(int32_t passes) {
  FakeWorkerOptions options;
  options.segment_passes = passes;
  return options;
}

// --- Going on ---

TEST(EngineSessionTest, CallGoesOnWhereTheLastOneEnded) {
  SessionRig rig;
  SessionModel session = rig.Make();
  rig.Say(session, 40, 10);
  const int64_t before = rig.worker->num_tokens();
  const Asked second = rig.Say(session, 30, 10);
  EXPECT_EQ(rig.worker->num_tokens() - before, 1 + 30 + 9) << "the last token, the new ones";
  EXPECT_EQ(second.sink->positions.front(), 80);
  EXPECT_EQ(second.sink->usage.prompt_tokens, 30);
  EXPECT_EQ(second.sink->usage.session_tokens, 50);
  EXPECT_EQ(second.sink->usage.replayed_tokens, 0);
  const auto info = rig.Get(session, true);
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info->tokens, session.tokens);
  EXPECT_EQ(info->segments.size(), 4u);
  EXPECT_FALSE(info->busy);
}

TEST(EngineSessionTest, EmptyPromptGoesOnWithTheText) {
  for (const int32_t passes : {1, 3}) {
    SessionRig rig({}, WithPasses(passes));
    SessionModel session = rig.Make();
    rig.Say(session, 40, 10);
    rig.Say(session, 0, 10);
    rig.Say(session, 40, 0);
    rig.Say(session, 0, 5);
    rig.Say(session, 0, 1);
    rig.Say(session, 3, 1);
    rig.Say(session, 0, 5);
  }
}

TEST(EngineSessionTest, EmptyPromptForAnEmptySessionIsRefused) {
  SessionRig rig;
  const SessionModel session = rig.Make();
  const Asked asked = rig.Call(session, 0, 5);
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_TRUE(absl::IsInvalidArgument(asked.sink->status)) << asked.sink->status;
  EXPECT_FALSE(rig.Get(session)->busy);
}

TEST(EngineSessionTest, FirstScoreOfAPromptIsThatBehindThePast) {
  SessionRig rig;
  SessionModel session = rig.Make();
  rig.Say(session, 40, 10);
  Request request = EngineRig::MakeRequest(20, 0, 3);
  request.score_prompt = true;
  Request whole = session.Whole(request);
  const std::vector<float> expected = rig.worker->ExpectedScores(whole);
  request.session = SessionUse{session.id, false, std::nullopt};
  const auto sink = std::make_shared<RecordingSink>();
  ASSERT_TRUE(rig.engine->Submit(std::move(request), sink).ok());
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_EQ(sink->score_positions.front(), 50);
  EXPECT_EQ(sink->scores, std::vector<float>(expected.begin() + 49, expected.end()));
}

TEST(EngineSessionTest, PenaltiesLookBackIntoThePast) {
  SessionRig rig;
  SessionModel session = rig.Make();
  rig.Say(session, 40, 10);
  Request request = EngineRig::MakeRequest(5, 30, 3);
  request.sampling.repetition_penalty = 1.2f;
  request.penalty_window = 20;
  const FakeText expected = rig.worker->Expected(session.Whole(request));
  request.session = SessionUse{session.id, false, std::nullopt};
  const auto sink = std::make_shared<RecordingSink>();
  ASSERT_TRUE(rig.engine->Submit(std::move(request), sink).ok());
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_EQ(sink->tokens, expected.tokens);
}

TEST(EngineSessionTest, CancelledCallLeavesWhatWasDelivered) {
  SessionRig rig;
  SessionModel session = rig.Make();
  rig.Say(session, 40, 10);
  const Asked asked = rig.Call(session, 20, 1000);
  rig.RunTurns(10);
  rig.engine->Cancel(*asked.ticket, absl::CancelledError("enough"));
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_GT(asked.sink->tokens.size(), 3u);
  session.AppendPrompt(EngineRig::MakeRequest(20, 0, 7).tokens);
  session.AppendGenerated(asked.sink->tokens);
  EXPECT_EQ(rig.Get(session, true)->tokens, session.tokens);
  const Asked next = rig.Say(session, 0, 5);
  EXPECT_EQ(next.sink->usage.replayed_tokens, 0);
}

TEST(EngineSessionTest, FailedItemCostsAReplayAndNoToken) {
  SessionRig rig;
  SessionModel session = rig.Make();
  rig.Say(session, 40, 10);
  const Asked asked = rig.Call(session, 20, 1000);
  rig.RunTurns(6);
  rig.worker->FailItem(0, absl::DataLossError("NaN"));
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_TRUE(absl::IsDataLoss(asked.sink->status)) << asked.sink->status;
  session.AppendPrompt(EngineRig::MakeRequest(20, 0, 7).tokens);
  session.AppendGenerated(asked.sink->tokens);
  const Asked next = rig.Say(session, 5, 5);
  EXPECT_EQ(next.sink->usage.replayed_tokens, session.size() - 10 - 1 - 49);
}

// --- Two calls at once ---

TEST(EngineSessionTest, SecondCallIsAborted) {
  SessionRig rig;
  SessionModel session = rig.Make();
  const Asked first = rig.Call(session, 40, 100);
  rig.RunTurns(3);
  EXPECT_TRUE(rig.Get(session)->busy);
  const Asked second = rig.Call(session, 1, 1);
  rig.RunTurns(2);
  EXPECT_TRUE(absl::IsAborted(second.sink->status)) << second.sink->status;
  EXPECT_TRUE(absl::IsAborted(rig.Fork(session).status()));
  EXPECT_TRUE(absl::IsAborted(rig.Checkpoint(session, "x").status()));
  EXPECT_TRUE(absl::IsAborted(rig.Rewind(session, 0).status()));
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_EQ(first.sink->tokens, first.expected.tokens);
}

TEST(EngineSessionTest, CallsThatWaitGoInTheirOrder) {
  SessionRig rig;
  SessionModel session = rig.Make();
  const Asked first = rig.Call(session, 40, 20);
  session.AppendPrompt(EngineRig::MakeRequest(40, 0, 7).tokens);
  session.AppendGenerated(first.expected.tokens);
  const Asked second = rig.Call(session, 10, 20, true);
  const Asked cancelled = rig.Call(session, 10, 20, true);
  session.AppendPrompt(EngineRig::MakeRequest(10, 0, 7).tokens);
  session.AppendGenerated(second.expected.tokens);
  const Asked third = rig.Call(session, 0, 20, true);
  rig.RunTurns(2);
  rig.engine->Cancel(*cancelled.ticket, absl::CancelledError("gone"));
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_EQ(first.sink->tokens, first.expected.tokens);
  EXPECT_EQ(second.sink->tokens, second.expected.tokens);
  EXPECT_EQ(third.sink->tokens, third.expected.tokens);
  EXPECT_TRUE(absl::IsCancelled(cancelled.sink->status));
}

TEST(EngineSessionTest, CallThatWaitsKeepsItsDeadline) {
  SessionRig rig;
  SessionModel session = rig.Make();
  const Asked first = rig.Call(session, 40, 100);
  Request request = EngineRig::MakeRequest(5, 5);
  request.session = SessionUse{session.id, true, std::nullopt};
  request.deadline = rig.clock.Now() + absl::Milliseconds(20);
  const auto sink = std::make_shared<RecordingSink>();
  ASSERT_TRUE(rig.engine->Submit(std::move(request), sink).ok());
  rig.RunTurns(30);
  EXPECT_TRUE(absl::IsDeadlineExceeded(sink->status)) << sink->status;
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_EQ(first.sink->tokens, first.expected.tokens);
}

TEST(EngineSessionTest, LogOfAnotherLengthIsAborted) {
  SessionRig rig;
  SessionModel session = rig.Make();
  rig.Say(session, 40, 10);
  Request request = EngineRig::MakeRequest(5, 5);
  request.session = SessionUse{session.id, false, 40};
  const auto sink = std::make_shared<RecordingSink>();
  ASSERT_TRUE(rig.engine->Submit(std::move(request), sink).ok());
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_TRUE(absl::IsAborted(sink->status));
  EXPECT_THAT(std::string(sink->status.message()), HasSubstr("has 50 tokens, the call expects 40"));
  EXPECT_EQ(rig.Get(session)->num_tokens, 50);
}

// --- Whose ---

TEST(EngineSessionTest, SessionOfAnotherTenantIsNotFound) {
  SessionRig rig;
  SessionModel session = rig.Make("a");
  rig.Say(session, 40, 10);
  session.tenant = "b";
  EXPECT_TRUE(absl::IsNotFound(rig.Get(session).status()));
  EXPECT_TRUE(absl::IsNotFound(rig.Fork(session).status()));
  EXPECT_TRUE(absl::IsNotFound(rig.Rewind(session, 0).status()));
  const Asked asked = rig.Call(session, 5, 5);
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_TRUE(absl::IsNotFound(asked.sink->status)) << asked.sink->status;
}

TEST(EngineSessionTest, AnotherLobeIsRefused) {
  FakeWorkerOptions worker;
  worker.lobes = {"medical"};
  SessionRig rig({}, worker);
  SessionModel session = rig.Make();
  Request request = EngineRig::MakeRequest(5, 5);
  request.session = SessionUse{session.id, false, std::nullopt};
  request.lobe = "medical";
  const auto sink = std::make_shared<RecordingSink>();
  ASSERT_TRUE(rig.engine->Submit(std::move(request), sink).ok());
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_TRUE(absl::IsFailedPrecondition(sink->status)) << sink->status;
}

TEST(EngineSessionTest, ListIsTheTenantsOwnInPages) {
  SessionRig rig;
  std::vector<SessionId> own;
  for (int i = 0; i < 7; ++i) {
    own.push_back(rig.Make("a").id);
    rig.Make("b");
  }
  std::sort(own.begin(), own.end());
  std::vector<SessionId> listed;
  ListSessions list;
  list.tenant = "a";
  list.limit = 3;
  for (bool more = true; more;) {
    const auto page = rig.Do(list);
    ASSERT_TRUE(page.ok());
    for (const SessionInfo& info : page->sessions) listed.push_back(info.id);
    more = page->more;
    EXPECT_EQ(page->sessions.size(), more ? 3u : 1u);
    list.after = listed.back();
  }
  EXPECT_EQ(listed, own);
  list.tenant = "nobody";
  EXPECT_TRUE(rig.Do(list)->sessions.empty());
}

// --- Forks, checkpoints, rewinds ---

TEST(EngineSessionTest, ForkGoesOnIndependentlyWithoutAbsorbingAgain) {
  SessionRig rig;
  SessionModel parent = rig.Make();
  rig.Say(parent, 400, 10);
  SessionModel child = parent;
  child.id = rig.Fork(parent)->id;
  EXPECT_EQ(rig.observer.load.num_sessions, 2);
  EXPECT_EQ(rig.Get(child)->num_tokens, 410);
  const int64_t before = rig.worker->num_tokens();
  rig.Say(parent, 20, 10);
  rig.Say(child, 30, 10);
  EXPECT_EQ(rig.worker->num_tokens() - before, 1 + 20 + 9 + 1 + 30 + 9);
  EXPECT_EQ(rig.Get(parent, true)->tokens, parent.tokens);
  EXPECT_EQ(rig.Get(child, true)->tokens, child.tokens);
}

TEST(EngineSessionTest, CheckpointIsGoneBackToAndForkedFromWhileInUse) {
  SessionRig rig;
  SessionModel session = rig.Make();
  rig.Say(session, 40, 10);
  const SessionModel early = session;
  ASSERT_TRUE(rig.Checkpoint(session, "early").ok());
  rig.Say(session, 30, 10);
  const Asked running = rig.Call(session, 5, 100);
  rig.RunTurns(3);
  const auto forked = rig.Fork(session, "early");
  ASSERT_TRUE(forked.ok()) << forked.status();
  EXPECT_EQ(forked->num_tokens, 50);
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_EQ(running.sink->tokens, running.expected.tokens);

  RewindSession rewind;
  rewind.id = session.id;
  rewind.checkpoint = "early";
  const auto rewound = rig.Do(rewind);
  ASSERT_TRUE(rewound.ok()) << rewound.status();
  EXPECT_EQ(rewound->replayed_tokens, 0);
  EXPECT_EQ(rewound->info.num_tokens, 50);
  session = early;
  rig.Say(session, 10, 10);
  rewind.checkpoint = "no such";
  EXPECT_TRUE(absl::IsNotFound(rig.Do(rewind).status()));
}

TEST(EngineSessionTest, RewindToAnyTokenSaysWhatItComputedAgain) {
  EngineOptions options;
  options.session_every_tokens = 64;
  options.prefix_min_tokens = 10'000;
  SessionRig rig(options);
  for (const int64_t position : {0, 1, 15, 16, 17, 63, 64, 65, 127, 128, 200, 299, 300, 301, 309}) {
    SessionModel session = rig.Make();
    rig.Say(session, 300, 10);
    const auto rewound = rig.Rewind(session, position);
    ASSERT_TRUE(rewound.ok()) << rewound.status();
    EXPECT_EQ(rewound->info.num_tokens, position);
    EXPECT_LT(rewound->replayed_tokens, 64);
    session.Truncate(position);
    EXPECT_EQ(rig.Get(session, true)->tokens, session.tokens);
    const Asked next = rig.Say(session, position == 0 ? 5 : 0, 10);
    EXPECT_LE(next.sink->usage.replayed_tokens, 1) << "position " << position;
  }
}

TEST(EngineSessionTest, RewindOutsideOfTheLogIsOutOfRange) {
  SessionRig rig;
  SessionModel session = rig.Make();
  rig.Say(session, 40, 10);
  EXPECT_TRUE(absl::IsOutOfRange(rig.Rewind(session, 51).status()));
  EXPECT_TRUE(absl::IsOutOfRange(rig.Rewind(session, -1).status()));
  EXPECT_EQ(rig.Get(session)->num_tokens, 50);
}

TEST(EngineSessionTest, RewindTakesTheCheckpointsBehindItAlong) {
  SessionRig rig;
  SessionModel session = rig.Make();
  rig.Say(session, 40, 10);
  ASSERT_TRUE(rig.Checkpoint(session, "a").ok());
  rig.Say(session, 40, 10);
  ASSERT_TRUE(rig.Checkpoint(session, "b").ok());
  const auto rewound = rig.Rewind(session, 60);
  ASSERT_TRUE(rewound.ok());
  ASSERT_EQ(rewound->info.checkpoints.size(), 1u);
  EXPECT_EQ(rewound->info.checkpoints[0].name, "a");
  EXPECT_EQ(rewound->info.checkpoints[0].position, 50);
}

TEST(EngineSessionTest, ReplayDoesNotHoldUpOthers) {
  EngineOptions options;
  options.session_every_tokens = 0;
  SessionRig rig(options);
  SessionModel session = rig.Make();
  rig.Say(session, 5000, 10);
  rig.Say(session, 10, 10);
  rig.Say(session, 10, 10);
  const Asked talking = rig.Ask(EngineRig::MakeRequest(10, 30));
  rig.RunTurns(2);
  const int64_t tokens = static_cast<int64_t>(talking.sink->tokens.size());
  RewindSession rewind;
  rewind.id = session.id;
  rewind.position = 4000;
  bool rewound = false;
  rewind.done = [&](absl::StatusOr<RewoundSession> answer) {
    rewound = true;
    EXPECT_EQ(answer->replayed_tokens, 3999);
  };
  rig.engine->Command(std::move(rewind));
  rig.RunTurns(10);
  EXPECT_FALSE(rewound);
  EXPECT_EQ(static_cast<int64_t>(talking.sink->tokens.size()), tokens + 10);
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_TRUE(rewound);
}

TEST(EngineSessionTest, PrefixLobeIsGoneBackInAtSegmentEndsAndInTextAlone) {
  SessionRig rig({}, WithPasses(3));
  SessionModel session = rig.Make();
  rig.Say(session, 40, 20);
  rig.Say(session, 30, 20);
  const auto inside = rig.Rewind(session, 75);
  EXPECT_TRUE(absl::IsFailedPrecondition(inside.status())) << inside.status();
  EXPECT_THAT(std::string(inside.status().message()),
              HasSubstr("position 75 lies inside the prompt segment [60, 90)"));
  EXPECT_THAT(std::string(inside.status().message()),
              HasSubstr("at segment ends and in generated text only"));
  for (const int64_t position : {100, 90, 60, 55, 40}) {
    const auto rewound = rig.Rewind(session, position);
    ASSERT_TRUE(rewound.ok()) << rewound.status();
    session.Truncate(position);
    SessionModel child = session;
    child.id = rig.Fork(session)->id;
    rig.Say(child, 10, 10);
    SessionModel other = session;
    other.id = rig.Fork(session)->id;
    rig.Say(other, 0, 10);
  }
}

// --- Away and back ---

TEST(EngineSessionTest, ImageGoesOnInAnotherEngineWithoutAbsorbing) {
  for (const int32_t polls : {0, 3}) {
    FakeWorkerOptions worker;
    worker.transfer_polls = polls;
    SessionRig from({}, worker);
    SessionModel session = from.Make();
    from.Say(session, 40, 10);
    ExportSession give;
    give.id = session.id;
    const auto image = from.Do(give);
    ASSERT_TRUE(image.ok()) << image.status();
    EXPECT_EQ(image->tokens, session.tokens);
    EXPECT_EQ(image->state_position, 49);

    SessionRig to({}, worker);
    ImportSession take;
    take.tenant = "a";
    take.label = "came from afar";
    take.image = *image;
    const auto made = to.Do(take);
    ASSERT_TRUE(made.ok()) << made.status();
    EXPECT_EQ(made->label, "came from afar");
    session.id = made->id;
    session.tenant = "a";
    const Asked next = to.Say(session, 10, 10);
    EXPECT_EQ(next.sink->usage.replayed_tokens, 0);
    EXPECT_EQ(to.worker->num_tokens(), 1 + 10 + 9);
    EXPECT_EQ(to.observer.num_finished, 1) << "errands are no requests";
  }
}

TEST(EngineSessionTest, BadImagesLeaveNothingBehind) {
  SessionRig rig;
  SessionModel session = rig.Make();
  rig.Say(session, 40, 10);
  ExportSession give;
  give.id = session.id;
  const SessionImage good = *rig.Do(give);
  const auto refusal = [&](auto change) {
    ImportSession take;
    take.image = good;
    change(take.image);
    const auto made = rig.Do(take);
    EXPECT_EQ(rig.observer.load.num_sessions, 1);
    return made.status().code();
  };
  using Code = absl::StatusCode;
  EXPECT_EQ(refusal([](auto& i) { i.state = "foreign"; }), Code::kFailedPrecondition);
  EXPECT_EQ(refusal([](auto& i) { i.state.resize(20); }), Code::kDataLoss);
  EXPECT_EQ(refusal([](auto& i) { i.state_position = 20; }), Code::kDataLoss);
  EXPECT_EQ(refusal([](auto& i) { i.state_position = 51; }), Code::kInvalidArgument);
  EXPECT_EQ(refusal([](auto& i) { i.tokens[3] = 1000; }), Code::kInvalidArgument);
  EXPECT_EQ(refusal([](auto& i) { i.segments.pop_back(); }), Code::kInvalidArgument);
}

TEST(EngineSessionTest, ImageWithoutAStateIsAbsorbedAgain) {
  SessionRig rig;
  SessionModel session = rig.Make();
  rig.Say(session, 40, 10);
  ExportSession give;
  give.id = session.id;
  ImportSession take;
  take.image = *rig.Do(give);
  take.image.state.clear();
  take.image.state_position = 0;
  session.id = rig.Do(take)->id;
  rig.Say(session, 10, 10);
}

// --- Time and memory ---

TEST(EngineSessionTest, SessionExpiresAfterItsLastUse) {
  SessionRig rig;
  SessionModel session = rig.Make();
  EXPECT_EQ(rig.Update(session, absl::Seconds(10), "short-lived")->label, "short-lived");
  rig.clock.Advance(absl::Seconds(9));
  rig.Say(session, 40, 10);
  rig.clock.Advance(absl::Seconds(9));
  const auto info = rig.Get(session);
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info->expires, info->used + absl::Seconds(10));
  rig.clock.Advance(absl::Seconds(2));
  EXPECT_TRUE(absl::IsNotFound(rig.Get(session).status()));
  EXPECT_EQ(rig.observer.load.num_sessions, 0);
}

TEST(EngineSessionTest, SessionInUseDoesNotExpire) {
  SessionRig rig;
  SessionModel session = rig.Make();
  ASSERT_TRUE(rig.Update(session, absl::Milliseconds(10), "").ok());
  rig.Say(session, 40, 100);
  EXPECT_TRUE(rig.Get(session).ok());
}

TEST(EngineSessionTest, MemoryForStatesIsGivenToSessionsAndRefusedByName) {
  SessionRig rig(WithPlaces(3));
  SessionModel a = rig.Make();
  SessionModel b = rig.Make();
  rig.Say(a, 40, 10);
  ASSERT_TRUE(rig.Checkpoint(a, "x").ok());
  CreateSession create;
  const auto refused = rig.Do(create);
  EXPECT_TRUE(absl::IsResourceExhausted(refused.status())) << refused.status();
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("snapshot_bytes"));
  EXPECT_TRUE(RetryAfter(refused.status()).has_value());
  EXPECT_TRUE(absl::IsResourceExhausted(rig.Fork(a).status()));
  EXPECT_TRUE(absl::IsResourceExhausted(rig.Checkpoint(b, "y").status()));
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(rig.Say(a, 40, 10).sink->usage.replayed_tokens, 0);
    EXPECT_EQ(rig.Say(b, 40, 10).sink->usage.replayed_tokens, 0);
  }
  EXPECT_LE(rig.observer.load.snapshot_bytes, 3 * rig.worker->Info().state_bytes);
  DeleteCheckpoint remove;
  remove.id = a.id;
  remove.name = "x";
  ASSERT_TRUE(rig.Do(remove).ok());
  EXPECT_TRUE(rig.Do(create).ok());
}

TEST(EngineSessionTest, MemoryForLogsIsRefusedByNameBeforeTheCall) {
  EngineOptions options;
  options.log_bytes = 20'000;
  SessionRig rig(options);
  SessionModel session = rig.Make();
  const Asked refused = rig.Call(session, 40, 100'000);
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_TRUE(absl::IsResourceExhausted(refused.sink->status)) << refused.sink->status;
  EXPECT_THAT(std::string(refused.sink->status.message()), HasSubstr("log_bytes 20000"));
  for (int i = 0; i < 40; ++i) rig.Say(session, 40, 10);
  DeleteSession remove;
  remove.id = session.id;
  EXPECT_TRUE(rig.Do(remove).ok());
  EXPECT_LT(rig.observer.load.log_bytes, 20'000);
}

TEST(EngineSessionTest, WithoutMemoryOrIdsThereAreNoSessions) {
  SessionRig rig(WithPlaces(0));
  EXPECT_TRUE(absl::IsResourceExhausted(rig.Do(CreateSession()).status()));
}

// --- The end of the engine ---

TEST(EngineSessionTest, DrainRefusesCommandsAndDestructionAnswersThem) {
  SessionRig rig;
  const SessionModel session = rig.Make();
  rig.engine->Drain(absl::InfiniteFuture());
  EXPECT_TRUE(absl::IsUnavailable(rig.Get(session).status()));

  SessionRig other;
  SessionModel long_one = other.Make();
  other.Say(long_one, 3000, 10);
  RewindSession rewind;
  rewind.id = long_one.id;
  rewind.position = 2000;
  absl::Status answer = absl::OkStatus();
  rewind.done = [&answer](absl::StatusOr<RewoundSession> a) { answer = a.status(); };
  other.engine->Command(std::move(rewind));
  other.RunTurns(2);
  other.engine.reset();
  EXPECT_TRUE(absl::IsUnavailable(answer)) << answer;
}

}  // namespace
}  // namespace ela
