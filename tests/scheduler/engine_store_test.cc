// Durable sessions: an engine goes and another goes on where it was. The store is the fake, the
// writer and its threads are real.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "tests/fakes/fake_state_store.h"
#include "tests/fakes/session_model.h"

namespace ela {
namespace {

using ::testing::HasSubstr;

// One server: an engine, its worker and its writer over a store that outlives them.
class Server {
 public:
  explicit Server(StateStore& store, const std::string& owner = "server-a",
                  EngineOptions options = {}, FakeWorkerOptions worker = {})
      : writer_(store, MakeWriterOptions(), clock_, nullptr),
        rig(WithStore(std::move(options), &writer_, owner), std::move(worker)) {}

  static StoreWriterOptions MakeWriterOptions() {
    StoreWriterOptions options;
    options.keep_trying = absl::Milliseconds(50);
    options.retry_first = absl::Milliseconds(1);
    return options;
  }

  static EngineOptions WithStore(EngineOptions options, StoreWriter* writer,
                                 const std::string& owner) {
    options.store.writer = writer;
    options.store.owner = owner;
    options.store.model = "fake";
    // Ids of two servers never meet.
    options.new_session_id = [n = uint8_t{0},
                              first = static_cast<uint8_t>(owner.back())]() mutable {
      SessionId id;
      id.bytes[0] = first;
      id.bytes[1] = ++n;
      return id;
    };
    return options;
  }

  SessionModel Make(Durability durability = Durability::kEndOfCall) {
    CreateSession create;
    create.tenant = "acme";
    create.durability = durability;
    create.label = "kept";
    const auto made = rig.Do(create);
    EXPECT_TRUE(made.ok()) << made.status();
    SessionModel model;
    if (made.ok()) model.id = made->id;
    model.tenant = "acme";
    return model;
  }

  Asked Call(const SessionModel& model, int64_t prompt_tokens, int64_t max_new_tokens,
             const std::string& record = "") {
    Request request = EngineRig::MakeRequest(prompt_tokens, max_new_tokens, 7);
    request.tenant = model.tenant;
    request.session = SessionUse{model.id, false, std::nullopt};
    request.record = record;
    Asked asked;
    asked.expected = rig.worker->Expected(model.Whole(request));
    asked.sink = std::make_shared<RecordingSink>();
    asked.ticket = rig.engine->Submit(std::move(request), asked.sink);
    return asked;
  }

  Asked Say(SessionModel& model, int64_t prompt_tokens, int64_t max_new_tokens) {
    Asked asked = Call(model, prompt_tokens, max_new_tokens);
    EXPECT_TRUE(rig.RunUntil([&] { return asked.sink->finish_count > 0; }));
    EXPECT_TRUE(asked.sink->status.ok()) << asked.sink->status;
    EXPECT_EQ(asked.sink->tokens, asked.expected.tokens);
    model.AppendPrompt(EngineRig::MakeRequest(prompt_tokens, 0, 7).tokens);
    model.AppendGenerated(asked.sink->tokens);
    return asked;
  }

  absl::StatusOr<SessionInfo> Get(const SessionModel& model, bool tokens = false) {
    GetSession get;
    get.tenant = model.tenant;
    get.id = model.id;
    get.tokens = tokens;
    return rig.Do(get);
  }

 private:
  const RealClock clock_;
  StoreWriter writer_;

 public:
  EngineRig rig;  // ends before its writer
};

TEST(EngineStoreTest, AnotherServerGoesOnWithoutAbsorbingAgain) {
  for (const int32_t passes : {1, 3}) {
    FakeWorkerOptions worker;
    worker.segment_passes = passes;
    FakeStateStore store;
    SessionModel session;
    {
      Server server(store, "server-a", {}, worker);
      session = server.Make();
      server.Say(session, 300, 10);
      const Asked second = server.Say(session, 40, 10);
      EXPECT_EQ(second.sink->usage.durable_tokens, 360) << "the end is told when it is kept";
      EXPECT_EQ(store.tokens(session.id), session.tokens);
    }
    Server server(store, "server-b", {}, worker);
    const auto info = server.Get(session, true);
    ASSERT_TRUE(info.ok()) << info.status();
    EXPECT_EQ(info->place, SessionPlace::kStored);
    EXPECT_EQ(info->tokens, session.tokens);
    EXPECT_EQ(info->label, "kept");
    const Asked next = server.Say(session, 20, 10);
    EXPECT_LT(next.sink->usage.replayed_tokens, 256) << "behind the last stored state";
    const int64_t before = server.rig.worker->num_tokens();
    server.Say(session, 20, 10);
    EXPECT_EQ(server.rig.worker->num_tokens() - before, 1 + 20 * passes + 9);
  }
}

TEST(EngineStoreTest, StoredStateIsAtMostSoManyTokensBehind) {
  EngineOptions options;
  options.store_state_every = 1;
  FakeStateStore store;
  SessionModel session;
  {
    Server server(store, "server-a", options);
    session = server.Make();
    server.Say(session, 300, 10);
    server.Say(session, 40, 10);
  }
  Server server(store, "server-b", options);
  const Asked next = server.Say(session, 20, 10);
  EXPECT_EQ(next.sink->usage.replayed_tokens, 0);
  EXPECT_EQ(server.rig.worker->num_tokens(), 1 + 20 + 9);
}

TEST(EngineStoreTest, BrokenOffCallGoesOnWithTheSameText) {
  FakeStateStore store;
  SessionModel session;
  std::vector<TokenId> whole;
  {
    Server server(store);
    session = server.Make(Durability::kEveryMessage);
    const Asked asked = server.Call(session, 50, 20'000, "the request");
    whole = asked.expected.tokens;
    server.rig.RunUntil([&] { return asked.sink->durable_tokens >= 60; });
    const std::vector<TokenId>& read = asked.sink->tokens;
    EXPECT_LT(read.size(), 20'000u);
  }  // as good as killed: what was not acknowledged may be lost
  session.AppendPrompt(EngineRig::MakeRequest(50, 0, 7).tokens);
  Server server(store, "server-b");
  const auto info = server.Get(session, true);
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->last_call.record, "the request");
  EXPECT_EQ(info->last_call.prompt_end, 50);
  EXPECT_EQ(info->last_call.reason, FinishReason::kNone) << "it had not ended";
  ASSERT_GE(info->num_tokens, 60);
  std::vector<TokenId> text(info->tokens.begin() + 50, info->tokens.end());
  session.AppendGenerated(text);
  const Asked rest = server.Call(session, 0, 20'000 - static_cast<int64_t>(text.size()));
  EXPECT_TRUE(server.rig.RunUntil([&] { return rest.sink->finish_count > 0; }));
  text.insert(text.end(), rest.sink->tokens.begin(), rest.sink->tokens.end());
  EXPECT_EQ(text, whole);
}

TEST(EngineStoreTest, EveryCommandIsThereAfterARestart) {
  FakeStateStore store;
  SessionModel session;
  SessionModel child;
  {
    Server server(store);
    session = server.Make();
    server.Say(session, 40, 10);
    CheckpointSession checkpoint;
    checkpoint.tenant = "acme";
    checkpoint.id = session.id;
    checkpoint.name = "x";
    EXPECT_TRUE(server.rig.Do(checkpoint).ok());
    server.Say(session, 40, 10);
    RewindSession rewind;
    rewind.tenant = "acme";
    rewind.id = session.id;
    rewind.position = 70;
    EXPECT_TRUE(server.rig.Do(rewind).ok());
    session.Truncate(70);
    ForkSession fork;
    fork.tenant = "acme";
    fork.id = session.id;
    fork.checkpoint = "x";
    child = session;
    child.Truncate(50);
    child.id = server.rig.Do(fork)->id;
    server.Say(child, 5, 5);
  }
  Server server(store, "server-b");
  EXPECT_EQ(server.Get(session, true)->tokens, session.tokens);
  EXPECT_EQ(server.Get(child, true)->tokens, child.tokens);
  EXPECT_EQ(server.Get(session)->checkpoints.size(), 1u);
  server.Say(session, 0, 5);
  server.Say(child, 0, 5);
  RewindSession rewind;
  rewind.tenant = "acme";
  rewind.id = session.id;
  rewind.checkpoint = "x";
  EXPECT_TRUE(server.rig.Do(rewind).ok());
  session.Truncate(50);
  server.Say(session, 7, 5);
  EXPECT_EQ(store.tokens(session.id), session.tokens);
}

TEST(EngineStoreTest, TheServerThatWasTakenOverFromIsAborted) {
  FakeStateStore store;
  Server first(store, "server-a");
  SessionModel session = first.Make();
  first.Say(session, 40, 10);
  Server second(store, "server-b");
  SessionModel there = session;
  second.Say(there, 5, 5);
  const Asked late = first.Call(session, 10, 10);
  EXPECT_TRUE(first.rig.RunUntil([&] { return late.sink->finish_count > 0; }));
  EXPECT_TRUE(first.rig.RunUntil([&] { return first.rig.observer.load.num_sessions == 0; }));
  EXPECT_EQ(store.tokens(session.id), there.tokens) << "nothing of the loser's";
  second.Say(there, 5, 5);
  EXPECT_EQ(first.Get(there, true)->tokens, there.tokens);
}

TEST(EngineStoreTest, MemoryIsNoLimitForWhatTheStoreHas) {
  EngineOptions options;
  options.snapshot_bytes = 3 * FakeWorker().Info().state_bytes;
  options.store_state_every = 1;
  FakeStateStore store;
  Server server(store, "server-a", options);
  std::vector<SessionModel> sessions;
  for (int i = 0; i < 12; ++i) {
    sessions.push_back(server.Make());
    server.Say(sessions.back(), 30 + i, 5);
  }
  EXPECT_LE(server.rig.observer.load.num_sessions, 3);
  for (int round = 0; round < 3; ++round) {
    for (SessionModel& session : sessions) {
      const Asked next = server.Say(session, 10, 5);
      EXPECT_EQ(next.sink->usage.replayed_tokens, 0);
    }
  }
  ListSessions list;
  list.tenant = "acme";
  list.limit = 5;
  size_t listed = 0;
  for (bool more = true; more;) {
    const auto page = server.rig.Do(list);
    ASSERT_TRUE(page.ok()) << page.status();
    listed += page->sessions.size();
    more = page->more;
    list.after = page->sessions.back().id;
  }
  EXPECT_EQ(listed, sessions.size());
}

TEST(EngineStoreTest, StoreThatIsGoneIsToldAndNothingIsLostWhenItIsBack) {
  FakeStateStore store;
  SessionModel session;
  {
    Server server(store);
    session = server.Make();
    server.Say(session, 40, 10);
    std::atomic<bool> gone{true};
    store.FailWhen([&gone](absl::string_view) {
      return FakeStateStore::Fault{gone ? absl::UnavailableError("no route") : absl::OkStatus(),
                                   false};
    });
    const Asked meanwhile = server.Say(session, 10, 10);
    EXPECT_EQ(meanwhile.sink->usage.durable_tokens, 50) << "generation goes on, and says so";
    CreateSession create;
    create.durability = Durability::kEndOfCall;
    EXPECT_TRUE(absl::IsUnavailable(server.rig.Do(create).status()));
    EXPECT_EQ(server.rig.observer.load.num_sessions, 1);
    gone = false;
    const Asked after = server.Say(session, 10, 10);
    EXPECT_EQ(after.sink->usage.durable_tokens, 90);
    EXPECT_EQ(store.tokens(session.id), session.tokens);
    store.FailWhen(nullptr);
  }
  Server server(store, "server-b");
  server.Say(session, 5, 5);
}

TEST(EngineStoreTest, DeletedSessionIsGoneFromTheStore) {
  FakeStateStore store;
  Server server(store);
  SessionModel session = server.Make();
  server.Say(session, 40, 10);
  DeleteSession remove;
  remove.tenant = "acme";
  remove.id = session.id;
  EXPECT_TRUE(server.rig.Do(remove).ok());
  EXPECT_TRUE(absl::IsNotFound(server.Get(session).status()));
  EXPECT_TRUE(absl::IsNotFound(store.Read(session.id).status()));
}

TEST(EngineStoreTest, StoredSessionOfAnotherTenantIsNotFound) {
  FakeStateStore store;
  SessionModel session;
  {
    Server server(store);
    session = server.Make();
    server.Say(session, 40, 10);
  }
  Server server(store, "server-b");
  session.tenant = "other";
  EXPECT_TRUE(absl::IsNotFound(server.Get(session).status()));
  const Asked asked = server.Call(session, 5, 5);
  EXPECT_TRUE(server.rig.RunUntil([&] { return asked.sink->finish_count > 0; }));
  EXPECT_TRUE(absl::IsNotFound(asked.sink->status)) << asked.sink->status;
  EXPECT_EQ(store.Read(session.id)->owner, "server-a") << "it was not taken over";
}

TEST(EngineStoreTest, DrainKeepsWhatRunsAndSaysThatItBrokeOff) {
  FakeStateStore store;
  SessionModel session;
  {
    Server server(store);
    session = server.Make();
    const Asked asked = server.Call(session, 50, 10'000, "the request");
    server.rig.RunTurns(30);
    server.rig.engine->Drain(server.rig.clock.Now());
    EXPECT_TRUE(server.rig.RunUntil([&] { return server.rig.engine->Drained(); }));
    EXPECT_TRUE(absl::IsUnavailable(asked.sink->status)) << asked.sink->status;
    session.AppendPrompt(EngineRig::MakeRequest(50, 0, 7).tokens);
    session.AppendGenerated(asked.sink->tokens);
    EXPECT_EQ(asked.sink->usage.durable_tokens, session.size());
  }
  Server server(store, "server-b");
  const auto info = server.Get(session, true);
  EXPECT_EQ(info->tokens, session.tokens);
  EXPECT_EQ(info->last_call.reason, FinishReason::kNone);
  const Asked rest = server.Say(session, 0, 10);
  EXPECT_EQ(rest.sink->usage.replayed_tokens, 0);
}

TEST(EngineStoreTest, WithoutAStoreNothingIsDurable) {
  EngineRig rig;
  CreateSession create;
  create.durability = Durability::kEndOfCall;
  const auto refused = rig.Do(create);
  EXPECT_TRUE(absl::IsFailedPrecondition(refused.status())) << refused.status();
}

TEST(EngineStoreTest, DamagedDetailsAreDataLoss) {
  SessionDetails details;
  details.segments = {{SegmentKind::kPrompt, 0, 300, 0}, {SegmentKind::kGenerated, 300, 5, 0}};
  details.label = "x";
  details.used = absl::FromUnixSeconds(1'700'000'000);
  details.last_call = {"record", 300, FinishReason::kLength};
  const std::string good = EncodeDetails(details);
  const auto read = DecodeDetails(good);
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(EncodeDetails(*read), good);
  EXPECT_EQ(read->segments[1].begin, 300);
  for (size_t n = 0; n < good.size(); ++n) {
    EXPECT_TRUE(absl::IsDataLoss(DecodeDetails(good.substr(0, n)).status())) << n;
  }
  EXPECT_TRUE(absl::IsDataLoss(DecodeDetails(good + "x").status()));
}

}  // namespace
}  // namespace ela
