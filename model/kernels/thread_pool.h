// A small fork-join pool: Run splits a job into numbered tasks, helps with them, and returns when
// all are done. Work is split by rows, slots, heads and output columns, never inside a sum, so that
// the number of threads changes no bit.
#ifndef ELA_MODEL_KERNELS_THREAD_POOL_H_
#define ELA_MODEL_KERNELS_THREAD_POOL_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace ela {

// Run is called by one thread at a time. Idle threads spin for some microseconds, then block: a
// thread whose core was stolen must not stall the others.
class ThreadPool {
 public:
  // num_threads counts the caller: 1 starts no thread.
  explicit ThreadPool(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return static_cast<int>(threads_.size()) + 1; }

  // Calls body(task, thread) for every task in [0, tasks), with 0 <= thread < num_threads(). The
  // tasks' writes are visible when Run returns. Allocates nothing.
  template <class Body>
  void Run(int64_t tasks, Body&& body) {
    if (threads_.empty() || tasks <= 1) {
      for (int64_t i = 0; i < tasks; ++i) body(i, 0);
      return;
    }
    Start(
        tasks,
        [](void* context, int64_t task, int thread) {
          (*static_cast<std::remove_reference_t<Body>*>(context))(task, thread);
        },
        &body);
  }

 private:
  using Function = void (*)(void* context, int64_t task, int thread);

  void Start(int64_t tasks, Function function, void* context);
  void Work(int thread);
  // Runs tasks of the current job until none is left to take.
  void Help(int thread);

  std::vector<std::thread> threads_;

  // The job's number in the high 32 bits, its tasks not yet taken in the low. Taking one is one
  // compare-and-swap, so a thread that wakes up late takes nothing of a job that is over, and Run
  // waits for tasks, never for threads that are asleep.
  alignas(64) std::atomic<uint64_t> ticket_{0};
  // Of the current job; written while no task is open, so whoever took a task has read its own job.
  std::atomic<Function> function_{nullptr};
  std::atomic<void*> context_{nullptr};
  alignas(64) std::atomic<uint32_t> done_{0};  // finished tasks of the current job

  std::mutex mutex_;  // guards only the sleep on `wake_`
  std::condition_variable wake_;
  std::atomic<int> sleepers_{0};
  std::atomic<bool> stop_{false};
};

}  // namespace ela

#endif  // ELA_MODEL_KERNELS_THREAD_POOL_H_
