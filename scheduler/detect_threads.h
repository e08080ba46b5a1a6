#ifndef ELA_SCHEDULER_DETECT_THREADS_H_
#define ELA_SCHEDULER_DETECT_THREADS_H_

#include <cstdint>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "scheduler/detect_batcher.h"

namespace ela {

// Runs a batcher on threads of its own until it is drained. Thread-compatible.
class DetectThreads {
 public:
  // `num_threads`: that of the batcher's options. Borrows the batcher.
  DetectThreads(DetectBatcher& batcher, int32_t num_threads);
  // Drains with a deadline of now, then joins.
  ~DetectThreads();

  // Drains: pictures that wait may be computed until `grace` has passed by the batcher's clock, the
  // rest end with kUnavailable. Returns when all threads have ended.
  void DrainAndJoin(absl::Duration grace);

 private:
  DetectBatcher& batcher_;
  std::vector<std::thread> threads_;
};

}  // namespace ela

#endif  // ELA_SCHEDULER_DETECT_THREADS_H_
