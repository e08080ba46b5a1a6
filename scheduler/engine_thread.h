#ifndef ELA_SCHEDULER_ENGINE_THREAD_H_
#define ELA_SCHEDULER_ENGINE_THREAD_H_

#include <thread>

#include "absl/time/time.h"
#include "scheduler/engine.h"

namespace ela {

// Runs an engine on a thread of its own until it is drained. Thread-compatible.
class EngineThread {
 public:
  explicit EngineThread(Engine& engine);
  // Drains with a deadline of now, then joins.
  ~EngineThread();

  // Drains: running requests may finish until `grace` has passed by the engine's clock, the rest
  // end with kUnavailable. Returns when the engine's thread has ended.
  void DrainAndJoin(absl::Duration grace);

 private:
  Engine& engine_;
  std::thread thread_;
};

}  // namespace ela

#endif  // ELA_SCHEDULER_ENGINE_THREAD_H_
