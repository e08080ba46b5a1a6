// A thread that does for streams what neither the engine's thread (detokenizing, writing) nor
// gRPC's few callback threads (tokenizing megabytes) may do.
#ifndef ELA_SERVER_DELIVERY_THREAD_H_
#define ELA_SERVER_DELIVERY_THREAD_H_

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"

namespace ela {

class Wakeable {
 public:
  virtual ~Wakeable() = default;
  // Does what there is to do and returns; called once per Push.
  virtual void OnWake() = 0;
};

// Thread-safe. The destructor does what was pushed before it, then joins.
class DeliveryThread {
 public:
  // After doing n things the thread rests until n times `pace` have passed since it began (at most
  // kLongestRest), so that it takes a bounded share of a core, and what comes meanwhile is done
  // together: with 64 streams each message carries a few tokens instead of one.
  explicit DeliveryThread(absl::Duration pace = absl::ZeroDuration());
  ~DeliveryThread();

  // `wakeable` lives until its OnWake has run. Costs a lock, and a wake-up if the thread sleeps.
  void Push(Wakeable* wakeable);

 private:
  static constexpr absl::Duration kLongestRest = absl::Milliseconds(20);

  void Run();

  const absl::Duration pace_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Wakeable*> pushed_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;  // last: starts when the rest is there
};

}  // namespace ela

#endif  // ELA_SERVER_DELIVERY_THREAD_H_
