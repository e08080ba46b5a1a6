#include "model/kernels/thread_pool.h"

#include "model/kernels/flush_to_zero.h"

namespace ela {
namespace {

// About 20 microseconds: longer than the gap between two jobs of a step, shorter than a time slice.
constexpr int kSpins = 2000;

inline void Pause() { _mm_pause(); }

}  // namespace

ThreadPool::ThreadPool(int num_threads) {
  for (int i = 1; i < num_threads; ++i) threads_.emplace_back([this, i] { Work(i); });
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_.store(true);
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::Start(int64_t tasks, Function function, void* context) {
  function_.store(function, std::memory_order_relaxed);
  context_.store(context, std::memory_order_relaxed);
  done_.store(0, std::memory_order_relaxed);
  // Opens the job.
  ticket_.store(((ticket_.load() >> 32) + 1) << 32 | static_cast<uint64_t>(tasks));
  if (sleepers_.load() > 0) {  // both sequentially consistent: a thread that goes to sleep sees us
    std::lock_guard<std::mutex> lock(mutex_);
    wake_.notify_all();
  }
  Help(0);
  for (int spins = 0; done_.load(std::memory_order_acquire) < tasks; ++spins) {
    if (spins < kSpins) {
      Pause();
    } else {
      std::this_thread::yield();  // a worker has lost its core in mid-task: give it ours
    }
  }
}

void ThreadPool::Help(int thread) {
  uint64_t ticket = ticket_.load(std::memory_order_acquire);
  while (static_cast<uint32_t>(ticket) > 0) {
    const Function function = function_.load(std::memory_order_relaxed);
    void* const context = context_.load(std::memory_order_relaxed);
    // Success means that the job was still open, so it is the one that we have just read.
    if (ticket_.compare_exchange_weak(ticket, ticket - 1, std::memory_order_acq_rel,
                                      std::memory_order_acquire)) {
      function(context, static_cast<uint32_t>(ticket) - 1, thread);
      done_.fetch_add(1, std::memory_order_release);
      ticket = ticket_.load(std::memory_order_acquire);
    }
  }
}

void ThreadPool::Work(int thread) {
  ScopedFlushToZero flush;
  uint64_t seen = 0;  // number of the last job that we helped with
  while (!stop_.load(std::memory_order_relaxed)) {
    int spins = 0;
    while (spins < kSpins && ticket_.load(std::memory_order_acquire) >> 32 == seen) {
      Pause();
      ++spins;
    }
    if (spins == kSpins) {
      std::unique_lock<std::mutex> lock(mutex_);
      sleepers_.fetch_add(1);
      wake_.wait(lock, [&] { return stop_.load() || ticket_.load() >> 32 != seen; });
      sleepers_.fetch_sub(1);
      continue;
    }
    seen = ticket_.load(std::memory_order_acquire) >> 32;
    Help(thread);
  }
}

}  // namespace ela
