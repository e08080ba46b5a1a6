// The detection streams that are open, so that a drain can end them: a camera would send for ever.
#ifndef ELA_SERVER_OPEN_STREAMS_H_
#define ELA_SERVER_OPEN_STREAMS_H_

#include <mutex>
#include <unordered_set>

#include "absl/base/thread_annotations.h"

namespace ela {

class DrainableStream {
 public:
  virtual ~DrainableStream() = default;
  // Takes no more frames, answers those it has taken, then ends with UNAVAILABLE.
  virtual void OnDrain() = 0;
};

// Thread-safe.
class OpenStreams {
 public:
  // A stream that comes after EndAll is told at once.
  void Add(DrainableStream* stream) {
    std::lock_guard<std::mutex> lock(mutex_);
    streams_.insert(stream);
    if (draining_) stream->OnDrain();
  }
  void Remove(DrainableStream* stream) {
    std::lock_guard<std::mutex> lock(mutex_);
    streams_.erase(stream);
  }
  void EndAll() {
    std::lock_guard<std::mutex> lock(mutex_);
    draining_ = true;
    for (DrainableStream* stream : streams_) stream->OnDrain();
  }

 private:
  // Held across OnDrain: a stream leaves with Remove before it is deleted, so it lives that long;
  // OnDrain calls nothing of this.
  std::mutex mutex_;
  std::unordered_set<DrainableStream*> streams_ ABSL_GUARDED_BY(mutex_);
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace ela

#endif  // ELA_SERVER_OPEN_STREAMS_H_
