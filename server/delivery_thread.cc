#include "server/delivery_thread.h"

#include <algorithm>
#include <chrono>

namespace ela {

DeliveryThread::DeliveryThread(absl::Duration pace) : pace_(pace), thread_([this] { Run(); }) {}

DeliveryThread::~DeliveryThread() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void DeliveryThread::Push(Wakeable* wakeable) {
  bool was_empty;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    was_empty = pushed_.empty();
    pushed_.push_back(wakeable);
  }
  if (was_empty) changed_.notify_one();
}

void DeliveryThread::Run() {
  std::vector<Wakeable*> batch;
  auto rest_until = std::chrono::steady_clock::now();
  for (;;) {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait_until(lock, rest_until, [this] { return stopping_; });
      changed_.wait(lock, [this] { return stopping_ || !pushed_.empty(); });
      if (pushed_.empty()) return;
      batch.clear();
      batch.swap(pushed_);
    }
    const absl::Duration rest = std::min(pace_ * batch.size(), kLongestRest);
    rest_until = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(rest);
    for (Wakeable* wakeable : batch) wakeable->OnWake();
  }
}

}  // namespace ela
