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
  void Help(int thread);

  std::vector<std::thread> threads_;

  // The job: written by Run before `round_` is raised, read after it was seen.
  Function function_ = nullptr;
  void* context_ = nullptr;
  int64_t tasks_ = 0;
  alignas(64) std::atomic<int64_t> next_{0};
  alignas(64) std::atomic<uint64_t> round_{0};
  alignas(64) std::atomic<int> busy_{0};  // threads that have not finished this round

  std::mutex mutex_;  // guards only the sleep on `wake_`
  std::condition_variable wake_;
  std::atomic<int> sleepers_{0};
  std::atomic<bool> stop_{false};
};

}  // namespace ela

#endif  // ELA_MODEL_KERNELS_THREAD_POOL_H_
