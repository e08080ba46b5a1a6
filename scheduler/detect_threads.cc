#include "scheduler/detect_threads.h"

namespace ela {
namespace {

// Changes wake a worker at once and it keeps its own times; this only bounds how long a clock that
// jumps goes unnoticed.
constexpr absl::Duration kLongestWait = absl::Milliseconds(100);

void Run(DetectBatcher& batcher) {
  while (!batcher.Drained()) {
    if (!batcher.RunOnce()) batcher.WaitForWork(kLongestWait);
  }
}

}  // namespace

DetectThreads::DetectThreads(DetectBatcher& batcher, int32_t num_threads) : batcher_(batcher) {
  for (int32_t i = 0; i < num_threads; ++i) threads_.emplace_back([this] { Run(batcher_); });
}

DetectThreads::~DetectThreads() { DrainAndJoin(absl::ZeroDuration()); }

void DetectThreads::DrainAndJoin(absl::Duration grace) {
  if (threads_.empty()) return;
  batcher_.Drain(batcher_.clock().Now() + grace);
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

}  // namespace ela
