#include "scheduler/engine_thread.h"

#include "scheduler/clock.h"

namespace ela {
namespace {

// Messages wake the engine at once and it keeps its own deadlines; this only bounds how long a
// clock that jumps goes unnoticed.
constexpr absl::Duration kLongestWait = absl::Milliseconds(100);

void Run(Engine& engine) {
  while (!engine.Drained()) {
    if (!engine.RunOnce()) engine.WaitForWork(kLongestWait);
  }
}

}  // namespace

EngineThread::EngineThread(Engine& engine) : engine_(engine), thread_([&engine] { Run(engine); }) {}

EngineThread::~EngineThread() { DrainAndJoin(absl::ZeroDuration()); }

void EngineThread::DrainAndJoin(absl::Duration grace) {
  if (!thread_.joinable()) return;
  engine_.Drain(engine_.clock().Now() + grace);
  thread_.join();
}

}  // namespace ela
