#ifndef ELA_TESTS_FAKES_ENGINE_RIG_H_
#define ELA_TESTS_FAKES_ENGINE_RIG_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "model/status_macros.h"
#include "scheduler/engine.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_worker.h"
#include "tests/fakes/recording_observer.h"
#include "tests/fakes/recording_sink.h"

namespace ela {

// A request together with everything a test wants to know of it afterwards.
struct Asked {
  std::shared_ptr<RecordingSink> sink;
  FakeText expected;
  absl::StatusOr<Ticket> ticket = absl::UnknownError("not submitted");
};

// An engine over fakes, turned by hand. Every step takes a millisecond of the fake clock.
class EngineRig {
 public:
  explicit EngineRig(EngineOptions engine_options = {}, FakeWorkerOptions worker_options = {})
      : end_of_text_(engine_options.end_of_text) {
    worker_options.clock = &clock;
    if (worker_options.step_cost == absl::ZeroDuration()) {
      worker_options.step_cost = absl::Milliseconds(1);
    }
    if (engine_options.new_session_id == nullptr) {
      engine_options.new_session_id = [n = uint8_t{0}, m = uint8_t{0}]() mutable {
        SessionId id;  // in an order that is not that of their making
        if (++n == 0) ++m;
        id.bytes[0] = static_cast<uint8_t>(n * 101);
        id.bytes[1] = m;
        return id;
      };
    }
    worker = std::make_unique<FakeWorker>(worker_options);
    auto created = Engine::Create(engine_options, *worker, observer, clock);
    ELA_CHECK(created.ok(), "the rig's options are good");
    engine = *std::move(created);
  }

  // A prompt of `num_tokens` tokens that differ from those of another `salt`.
  static Request MakeRequest(int64_t num_tokens, int64_t max_new_tokens, TokenId salt = 0) {
    Request request;
    request.tokens.resize(num_tokens);
    std::iota(request.tokens.begin(), request.tokens.end(), salt);
    for (TokenId& token : request.tokens) token %= 997;
    request.max_new_tokens = max_new_tokens;
    request.sampling.temperature = 0;
    return request;
  }

  // Submits; the sink is full after `room` events.
  Asked Ask(Request request, int64_t room = std::numeric_limits<int64_t>::max()) {
    Asked asked;
    asked.sink = std::make_shared<RecordingSink>(room);
    asked.expected = worker->Expected(request, end_of_text_);
    asked.ticket = engine->Submit(std::move(request), asked.sink);
    return asked;
  }

  // Gives a command and turns the loop until it is answered.
  // `meanwhile` is called before each turn.
  template <typename Command>
  auto Do(
      Command command, const std::function<void()>& meanwhile = [] {}) {
    using Done = decltype(command.done);
    typename Done::argument_type answer = absl::UnknownError("no answer");
    int num_answers = 0;
    command.done = [&](typename Done::argument_type a) {
      answer = std::move(a);
      ++num_answers;
    };
    engine->Command(std::move(command));
    for (int turn = 0; turn < 100000 && num_answers == 0; ++turn) {
      meanwhile();
      if (!engine->RunOnce() && num_answers == 0) engine->WaitForWork(absl::Milliseconds(1));
    }
    ELA_CHECK(num_answers == 1, "a command is answered once");
    return answer;
  }

  // Turns the loop, and waits where it waits for other threads, until `done`.
  bool RunUntil(const std::function<bool()>& done) {
    for (int turn = 0; turn < 100'000 && !done(); ++turn) {
      if (!engine->RunOnce() && !done()) engine->WaitForWork(absl::Milliseconds(1));
    }
    return done();
  }

  // Turns the loop until it has nothing to do; false: it still had after `max_turns`.
  bool RunUntilIdle(int64_t max_turns = 100000) {
    while (max_turns-- > 0) {
      if (!engine->RunOnce()) return true;
    }
    return false;
  }

  void RunTurns(int64_t num_turns) {
    for (int64_t i = 0; i < num_turns; ++i) engine->RunOnce();
  }

  FakeClock clock;
  RecordingObserver observer;
  std::unique_ptr<FakeWorker> worker;
  std::unique_ptr<Engine> engine;

 private:
  const std::vector<TokenId> end_of_text_;
};

}  // namespace ela

#endif  // ELA_TESTS_FAKES_ENGINE_RIG_H_
