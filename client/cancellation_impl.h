// What stands behind Cancellation. Not installed.
#ifndef ELA_CLIENT_CANCELLATION_IMPL_H_
#define ELA_CLIENT_CANCELLATION_IMPL_H_

#include <grpcpp/grpcpp.h>

#include <set>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "client/cancellation.h"

namespace ela::client {

// Thread-safe.
class Cancellation::Impl {
 public:
  void Cancel() {
    absl::MutexLock lock(&mutex_);
    cancelled_ = true;
    for (grpc::ClientContext* context : contexts_) context->TryCancel();
  }
  bool cancelled() const {
    absl::MutexLock lock(&mutex_);
    return cancelled_;
  }

  // The call of `context` ends when the switch is thrown, until Remove.
  void Add(grpc::ClientContext* context) {
    absl::MutexLock lock(&mutex_);
    contexts_.insert(context);
    if (cancelled_) context->TryCancel();
  }
  void Remove(grpc::ClientContext* context) {
    absl::MutexLock lock(&mutex_);
    contexts_.erase(context);
  }

  // Blocks for `pause`, or less: true when the switch is thrown.
  bool Wait(absl::Duration pause) {
    absl::MutexLock lock(&mutex_);
    return mutex_.AwaitWithTimeout(absl::Condition(&cancelled_), pause);
  }

 private:
  mutable absl::Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  std::set<grpc::ClientContext*> contexts_ ABSL_GUARDED_BY(mutex_);  // of calls that run
};

}  // namespace ela::client

#endif  // ELA_CLIENT_CANCELLATION_IMPL_H_
