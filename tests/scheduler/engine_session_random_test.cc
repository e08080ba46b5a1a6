// Random operations on many sessions, from one printed seed, against a trivial model: a session is
// the list of its tokens. Slots are few, memory for states is short, copies take turns, calls are
// cancelled and collide, servers go and come; every text and every log must be what the list says.
//
// ELA_SEED=n runs that seed alone.
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <random>

#include "absl/strings/str_cat.h"
#include "tests/fakes/fake_state_store.h"
#include "tests/fakes/session_model.h"

namespace ela {
namespace {

class SessionStorm {
 public:
  explicit SessionStorm(uint32_t seed)
      : random_(seed),
        worker_options_(MakeWorkerOptions()),
        engine_options_(MakeOptions()),
        stored_(OneIn(3)) {
    Start();
  }

  ~SessionStorm() { Stop(); }

  // An engine, and with a store the writer that brings what it keeps there.
  void Start() {
    if (stored_) {
      StoreWriterOptions options;
      options.retry_first = absl::Milliseconds(1);
      writer_ = std::make_unique<StoreWriter>(store_, options, real_clock_, nullptr);
      engine_options_.store.writer = writer_.get();
      engine_options_.store.owner = absl::StrCat("server ", ++num_starts_);
    }
    rig_ = std::make_unique<EngineRig>(engine_options_, worker_options_);
    fails_ = OneIn(3);
    rig_->worker->FailWhen([this](const StepItem&) {
      return fails_ && OneIn(600) ? absl::DataLossError("NaN") : absl::OkStatus();
    });
  }

  void Stop() {
    rig_ = nullptr;
    writer_ = nullptr;
  }

  void Run(int num_operations) {
    for (int i = 0; i < num_operations && !testing::Test::HasFailure(); ++i) {
      Operate();
      rig_->RunTurns(Below(12));
      Collect();
    }
    Calm();
    for (auto& model : models_) CheckLog(*model);
    while (!models_.empty() && !testing::Test::HasFailure())
      Delete(*models_[Below(models_.size())]);
    EXPECT_TRUE(rig_->RunUntilIdle());
    EXPECT_EQ(rig_->observer.load.num_sessions, 0);
    EXPECT_EQ(rig_->observer.load.slots_used, 0);
    EXPECT_EQ(rig_->observer.load.num_swapped, 0);
    EXPECT_TRUE(rig_->worker->TakeViolations().empty());
  }

  // All calls come to their ends.
  void Calm() {
    rig_->RunUntil([this] {
      Collect();
      for (Call* call : InFlight()) Wake(*call);
      return calls_.empty();
    });
    EXPECT_TRUE(InFlight().empty());
  }

  int64_t num_checked = 0;

 private:
  struct Call {
    SessionModel* model;  // null: a plain request
    std::vector<TokenId> prompt;
    FakeText expected;
    int64_t past = 0;
    bool cancelled = false;
    Asked asked;
  };

  uint32_t Below(uint32_t n) { return random_() % n; }
  bool OneIn(uint32_t n) { return Below(n) == 0; }

  FakeWorkerOptions MakeWorkerOptions() {
    FakeWorkerOptions options;
    options.num_slots = static_cast<int32_t>(1 + Below(4));
    options.segment_passes = static_cast<int32_t>(OneIn(2) ? 1 : 1 + Below(3));
    options.max_scratch_tokens = OneIn(2) ? 0 : 260;  // prompts have up to 200 tokens
    options.transfer_polls = static_cast<int32_t>(OneIn(2) ? 0 : Below(4));
    options.lobes = {"lobe"};
    return options;
  }

  EngineOptions MakeOptions() {
    EngineOptions options;
    options.prefill_chunk = static_cast<int32_t>(1 + Below(60));
    options.swap_quantum = static_cast<int32_t>(Below(20));
    options.prefix_min_tokens = static_cast<int32_t>(1 + Below(40));
    options.prefix_every_tokens = 16 * static_cast<int32_t>(Below(3));
    options.session_every_tokens = 16 * static_cast<int32_t>(Below(5));
    const int64_t state_bytes = FakeWorker().Info().state_bytes;
    options.snapshot_bytes = state_bytes * (16 + (OneIn(2) ? Below(10) : 1000));
    options.slow_reader_timeout = absl::Hours(10);
    options.store_state_every = static_cast<int32_t>(1 + Below(100));
    options.new_session_id = [this] {
      SessionId id;
      for (uint8_t& byte : id.bytes) byte = static_cast<uint8_t>(Below(256));
      return id;
    };
    for (int i = 0; i < 10; ++i) options.end_of_text.push_back(static_cast<TokenId>(Below(1000)));
    end_of_text_ = options.end_of_text;
    return options;
  }

  // Readers that stay away for ever would keep their slots for as long.
  template <typename Command>
  auto Do(Command command) {
    return rig_->Do(std::move(command), [this] {
      for (Call* call : InFlight()) Wake(*call);
    });
  }

  // With a store a session may have to come back into memory that others claim.
  bool Full(const absl::Status& status) const {
    return stored_ && absl::IsResourceExhausted(status);
  }

  std::string Tenant() { return OneIn(2) ? "a" : "b"; }

  SessionModel* Idle() {
    std::vector<SessionModel*> idle;
    for (auto& model : models_) {
      const bool busy = std::any_of(calls_.begin(), calls_.end(),
                                    [&](auto& call) { return call->model == model.get(); });
      if (!busy) idle.push_back(model.get());
    }
    return idle.empty() ? nullptr : idle[Below(idle.size())];
  }

  void Operate() {
    if (models_.size() < 2 || (OneIn(6) && models_.size() < 8)) return Create();
    if (OneIn(6)) return Generate(nullptr);
    SessionModel* model = Idle();
    if (model == nullptr) return Disturb();
    switch (Below(12)) {
      case 0:
        return Fork(*model);
      case 1:
        return Checkpoint(*model);
      case 2:
        return Rewind(*model);
      case 3:
        return OneIn(3) ? Delete(*model) : CheckLog(*model);
      case 4:
        return ExportAndImport(*model);
      case 5:
        return Disturb();
      default:
        return Generate(model);
    }
  }

  // What was told to be kept is there.
  void Restart() {
    Calm();
    Stop();
    Start();
  }

  void Create() {
    CreateSession create;
    if (stored_) create.durability = OneIn(2) ? Durability::kEndOfCall : Durability::kEveryMessage;
    create.tenant = Tenant();
    if (OneIn(3)) create.lobe = "lobe";
    const auto made = Do(create);
    if (!made.ok()) {
      ASSERT_TRUE(absl::IsResourceExhausted(made.status())) << made.status();
      return;
    }
    models_.push_back(std::make_unique<SessionModel>());
    models_.back()->id = made->id;
    models_.back()->tenant = create.tenant;
    lobes_[made->id] = create.lobe;
  }

  void Generate(SessionModel* model) {
    static const SessionModel kNone;
    const SessionModel& past = model == nullptr ? kNone : *model;
    const uint32_t length = Below(OneIn(4) ? 200 : 40) + (past.size() == 0 ? 1 : 0);
    // Few beginnings, so that prefixes are met again.
    Request request = EngineRig::MakeRequest(length, Below(40), static_cast<TokenId>(Below(3)));
    if (request.tokens.size() > 20 && OneIn(2)) request.tokens.back() = 998;
    if (OneIn(3)) request.sampling.temperature = 1;
    if (OneIn(3)) request.sampling.presence_penalty = 1;
    request.penalty_window = static_cast<int32_t>(Below(70));
    request.sampling.seed = Below(5);
    request.ignore_eos = OneIn(2);
    request.prefix.no_reading = OneIn(5);
    request.prefix.no_keeping = OneIn(5);
    request.tenant = model == nullptr ? Tenant() : model->tenant;
    auto call = std::make_unique<Call>();
    call->model = model;
    call->prompt = request.tokens;
    call->past = past.size();
    Request whole = past.Whole(request);
    if (model != nullptr) whole.lobe = lobes_.at(model->id);
    call->expected = rig_->worker->Expected(whole, end_of_text_);
    if (model != nullptr) {
      request.session = SessionUse{model->id, OneIn(2), past.size()};
      if (OneIn(5)) return Miscount(std::move(request));
    }
    call->asked.sink = OneIn(4) ? std::make_shared<RecordingSink>(1 + Below(9))
                                : std::make_shared<RecordingSink>();
    call->asked.ticket = rig_->engine->Submit(std::move(request), call->asked.sink);
    ASSERT_TRUE(call->asked.ticket.ok()) << call->asked.ticket.status();
    calls_.push_back(std::move(call));
    if (model != nullptr && OneIn(4)) Collide(*model);
  }

  void Miscount(Request request) {
    request.session->num_tokens = *request.session->num_tokens + 1;
    const auto sink = std::make_shared<RecordingSink>();
    ASSERT_TRUE(rig_->engine->Submit(std::move(request), sink).ok());
    rig_->RunUntil([&sink] { return sink->finish_count > 0; });
    EXPECT_TRUE(absl::IsAborted(sink->status) || Full(sink->status)) << sink->status;
  }

  // The session is in use, or was until just now.
  void Collide(SessionModel& model) {
    Request request = EngineRig::MakeRequest(3, 3);
    request.tenant = model.tenant;
    request.session = SessionUse{model.id, false, -1};
    const auto sink = std::make_shared<RecordingSink>();
    ASSERT_TRUE(rig_->engine->Submit(std::move(request), sink).ok());
    rig_->RunUntil([&sink] { return sink->finish_count > 0; });
    EXPECT_TRUE(absl::IsAborted(sink->status) || Full(sink->status)) << sink->status;
  }

  void Fork(SessionModel& model) {
    ForkSession fork;
    fork.tenant = model.tenant;
    fork.id = model.id;
    int64_t position = model.size();
    if (!model.checkpoints.empty() && OneIn(2)) {
      fork.checkpoint = model.checkpoints.begin()->first;
      position = model.checkpoints.begin()->second;
    }
    const auto made = Do(fork);
    if (!made.ok()) {
      ASSERT_TRUE(absl::IsResourceExhausted(made.status())) << made.status();
      return;
    }
    auto child = std::make_unique<SessionModel>(model);
    child->id = made->id;
    child->Truncate(position);
    child->checkpoints.clear();
    lobes_[made->id] = lobes_.at(model.id);
    models_.push_back(std::move(child));
  }

  void Checkpoint(SessionModel& model) {
    CheckpointSession keep;
    keep.tenant = model.tenant;
    keep.id = model.id;
    keep.name = OneIn(2) ? "x" : "y";
    const auto kept = Do(keep);
    if (kept.ok()) {
      model.checkpoints[keep.name] = model.size();
    } else {
      ASSERT_TRUE(absl::IsResourceExhausted(kept.status())) << kept.status();
    }
    if (model.checkpoints.empty() || !OneIn(3)) return;
    DeleteCheckpoint remove;
    remove.tenant = model.tenant;
    remove.id = model.id;
    remove.name = model.checkpoints.begin()->first;
    const auto removed = Do(remove);
    if (Full(removed.status())) return;
    EXPECT_TRUE(removed.ok()) << removed.status();
    model.checkpoints.erase(model.checkpoints.begin());
  }

  void Rewind(SessionModel& model) {
    RewindSession rewind;
    rewind.tenant = model.tenant;
    rewind.id = model.id;
    int64_t position = Below(static_cast<uint32_t>(model.size()) + 1);
    if (!model.checkpoints.empty() && OneIn(2)) {
      rewind.checkpoint = model.checkpoints.begin()->first;
      position = model.checkpoints.begin()->second;
    } else {
      rewind.position = position;
    }
    const auto rewound = Do(rewind);
    if (Full(rewound.status())) return;
    if (worker_options_.segment_passes > 1 && !model.CanStandAt(position)) {
      EXPECT_TRUE(absl::IsFailedPrecondition(rewound.status())) << rewound.status();
      return;
    }
    ASSERT_TRUE(rewound.ok() || fails_) << rewound.status();
    model.Truncate(position);
    EXPECT_TRUE(!rewound.ok() || rewound->info.num_tokens == position);
  }

  void ExportAndImport(SessionModel& model) {
    ExportSession give;
    give.tenant = model.tenant;
    give.id = model.id;
    auto image = Do(give);
    if (Full(image.status())) return;
    ASSERT_TRUE(image.ok()) << image.status();
    EXPECT_EQ(image->tokens, model.tokens);
    ImportSession take;
    take.tenant = Tenant();
    if (stored_) take.durability = Durability::kEndOfCall;
    take.image = *std::move(image);
    const auto made = Do(take);
    if (!made.ok()) {
      ASSERT_TRUE(absl::IsResourceExhausted(made.status())) << made.status();
      return;
    }
    auto copy = std::make_unique<SessionModel>(model);
    copy->id = made->id;
    copy->tenant = take.tenant;
    copy->checkpoints.clear();
    lobes_[made->id] = lobes_.at(model.id);
    models_.push_back(std::move(copy));
  }

  void Delete(SessionModel& model) {
    DeleteSession remove;
    remove.tenant = model.tenant;
    remove.id = model.id;
    const auto removed = Do(remove);
    if (Full(removed.status())) return;
    EXPECT_TRUE(removed.ok()) << removed.status();
    EXPECT_TRUE(absl::IsNotFound(Do(remove).status()));
    models_.erase(
        std::find_if(models_.begin(), models_.end(), [&](auto& m) { return m.get() == &model; }));
  }

  void CheckLog(SessionModel& model) {
    GetSession get;
    get.tenant = model.tenant;
    get.id = model.id;
    get.tokens = true;
    const auto info = Do(get);
    ASSERT_TRUE(info.ok()) << info.status();
    EXPECT_EQ(info->tokens, model.tokens);
    EXPECT_EQ(info->segments.size(), model.segments.size());
    EXPECT_EQ(info->checkpoints.size(), model.checkpoints.size());
    get.tenant = "another";
    EXPECT_TRUE(absl::IsNotFound(Do(get).status()));
  }

  std::vector<Call*> InFlight() {
    std::vector<Call*> calls;
    for (auto& call : calls_) calls.push_back(call.get());
    return calls;
  }

  void Wake(Call& call) {
    call.asked.sink->Read();
    rig_->engine->Resume(*call.asked.ticket);
  }

  void Disturb() {
    for (Call* call : InFlight()) {
      if (OneIn(3)) Wake(*call);
      if (OneIn(8)) {
        call->cancelled = true;
        rig_->engine->Cancel(*call->asked.ticket, absl::CancelledError("enough"));
      }
    }
  }

  // What has ended is compared, and the model goes on.
  void Collect() {
    for (size_t i = 0; i < calls_.size();) {
      if (calls_[i]->asked.sink->finish_count == 0) {
        ++i;
        continue;
      }
      const std::unique_ptr<Call> call = std::move(calls_[i]);
      calls_[i] = std::move(calls_.back());
      calls_.pop_back();
      Compare(*call);
    }
  }

  void Compare(const Call& call) {
    const RecordingSink& sink = *call.asked.sink;
    ++num_checked;
    const std::vector<TokenId>& expected = call.expected.tokens;
    ASSERT_LE(sink.tokens.size(), expected.size());
    ASSERT_TRUE(std::equal(sink.tokens.begin(), sink.tokens.end(), expected.begin()));
    for (size_t k = 0; k < sink.positions.size(); ++k) {
      ASSERT_EQ(sink.positions[k],
                call.past + static_cast<int64_t>(call.prompt.size()) + static_cast<int64_t>(k));
    }
    EXPECT_EQ(sink.calls_after_finish, 0);
    if (sink.status.ok()) {
      EXPECT_EQ(sink.tokens.size(), expected.size());
      EXPECT_EQ(sink.reason, call.expected.reason);
    } else {
      EXPECT_TRUE(call.cancelled || fails_ || Full(sink.status)) << sink.status;
    }
    if (call.model == nullptr) return;
    SessionModel& model = *call.model;
    if (!sink.status.ok() && sink.tokens.empty()) {
      GetSession get;  // it was cancelled before or after its prompt joined the log
      get.tenant = model.tenant;
      get.id = model.id;
      const auto info = Do(get);
      ASSERT_TRUE(info.ok());
      if (info->num_tokens == model.size()) return;
    }
    EXPECT_EQ(sink.usage.session_tokens, call.past);
    model.AppendPrompt(call.prompt);
    model.AppendGenerated(sink.tokens);
  }

  std::mt19937 random_;
  std::vector<TokenId> end_of_text_;
  const FakeWorkerOptions worker_options_;
  EngineOptions engine_options_;
  const bool stored_;
  const RealClock real_clock_;
  FakeStateStore store_;
  std::unique_ptr<StoreWriter> writer_;
  std::unique_ptr<EngineRig> rig_;
  int num_starts_ = 0;
  bool fails_ = false;
  std::vector<std::unique_ptr<SessionModel>> models_;
  std::map<SessionId, std::string> lobes_;
  std::vector<std::unique_ptr<Call>> calls_;
};

TEST(EngineSessionRandomTest, EveryTextAndEveryLogIsThatOfTheList) {
  uint32_t first = 1;
  uint32_t last = 60;
  if (const char* seed = std::getenv("ELA_SEED")) first = last = std::atoi(seed);
  int64_t num_checked = 0;
  for (uint32_t seed = first; seed <= last; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed << " (ELA_SEED=" << seed << ")");
    SessionStorm storm(seed);
    storm.Run(300);
    num_checked += storm.num_checked;
    if (HasFailure()) return;
  }
  EXPECT_GT(num_checked, 20 * (last - first + 1));
}

}  // namespace
}  // namespace ela
