#include "server/delivery_thread.h"

namespace ela {

DeliveryThread::DeliveryThread() : thread_([this] { Run(); }) {}

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
  for (;;) {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait(lock, [this] { return stopping_ || !pushed_.empty(); });
      if (pushed_.empty()) return;
      batch.clear();
      batch.swap(pushed_);
    }
    for (Wakeable* wakeable : batch) wakeable->OnWake();
  }
}

}  // namespace ela
