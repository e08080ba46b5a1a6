// Brings pictures of many calls to a detector. A picture takes two steps, prepare (decode and fit)
// and compute (the network), and one pool of worker threads does both: a worker takes a batch if
// there is one for a free lane, else it prepares the next picture and, if its batch is full then,
// computes it at once. On a CPU, with a lane for each worker and batches of one, a picture thus
// stays on one core from its first byte to its boxes, nothing waits, and there are never more busy
// threads than cores. With one lane that wants batches (a GPU) the other workers fill the next
// batch while one computes.
//
// Bounded: pictures and bytes from Submit to the end, pixels while preparing, prepared pictures.
#ifndef ELA_SCHEDULER_DETECT_BATCHER_H_
#define ELA_SCHEDULER_DETECT_BATCHER_H_

#include <atomic>
#include <cstdint>
#include <list>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "model/detector.h"
#include "scheduler/clock.h"
#include "scheduler/detect_observer.h"
#include "scheduler/detect_queue.h"
#include "scheduler/detect_task.h"

namespace ela {

struct DetectBatcherOptions {
  int32_t num_threads = 1;          // that will call RunOnce
  int32_t max_pictures = 256;       // waiting or under way
  int64_t max_bytes = 256 << 20;    // of those
  int64_t max_pixels = 40'000'000;  // being prepared at once; a larger picture goes alone
  absl::Duration max_wait = absl::Milliseconds(2);  // for a batch to fill; none with batches of 1
};

// Thread-safe. Borrows detector, observer and clock.
class DetectBatcher {
 public:
  // Errors: kInvalidArgument, names the option.
  static absl::StatusOr<std::unique_ptr<DetectBatcher>> Create(const DetectBatcherOptions& options,
                                                               Detector& detector,
                                                               DetectObserver& observer,
                                                               const Clock& clock);
  // REQUIRES: no picture is left; see Drain.
  ~DetectBatcher();

  // --- Any thread. ---

  // Who asks: pictures of one caller are computed in turns with those of others.
  uint64_t NewCaller() { return next_caller_.fetch_add(1, std::memory_order_relaxed); }

  // All of `tasks` or none; what is taken hears OnDone once, or comes back from Withdraw. On an
  // error nothing was moved. Errors: kUnavailable (draining), kResourceExhausted (names the limit
  // that is reached); both say when to come back (RetryAfter, scheduler/request.h).
  absl::Status Submit(uint64_t caller, absl::Span<std::unique_ptr<DetectTask>> tasks);

  // Submits one picture in the place of all that no worker has touched yet of this caller; those go
  // to `replaced` and hear nothing. Errors: as Submit; then nothing was moved.
  absl::Status Replace(uint64_t caller, std::unique_ptr<DetectTask>& task,
                       std::vector<std::unique_ptr<DetectTask>>* replaced);

  // Whether Replace would replace something, if no worker is quicker.
  bool HasWaiting(uint64_t caller) const;

  // Takes back what no worker has touched; those tasks hear nothing.
  std::vector<std::unique_ptr<DetectTask>> Withdraw(uint64_t caller);

  // Refuses new pictures; those that still wait at `deadline` end with kUnavailable. Of several
  // deadlines the earliest holds.
  void Drain(absl::Time deadline);
  // Draining, and no picture is left.
  bool Drained() const;

  const Clock& clock() const { return clock_; }
  const DetectorInfo& info() const { return info_; }

  // --- Worker threads, at most num_threads at once. ---

  // Does one piece of work, at most a picture's preparation and one batch; false: there is none
  // now.
  bool RunOnce();
  // Blocks until there may be work, the batcher is drained, or `limit` has passed.
  void WaitForWork(absl::Duration limit);

 private:
  struct Picture {
    DetectQueue::Waiting waiting;
    PreparedPicture prepared;
    PictureTimes times;
    absl::Time ready;
  };
  using Pictures = std::list<Picture>;
  // What a worker needs while it computes; taken and given back, so that vectors keep their room.
  struct Scratch {
    std::vector<DetectItem> items;
    std::vector<DetectOutput> outputs;
  };
  struct Batch {
    int32_t lane = -1;
    std::unique_ptr<Scratch> scratch;
    Pictures pictures;
  };

  DetectBatcher(const DetectBatcherOptions& options, Detector& detector, DetectObserver& observer,
                const Clock& clock);

  absl::Status CheckRoom(int32_t num_pictures, int64_t num_bytes) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Duration TimeToServe() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // When the batch that starts with this picture may be computed.
  absl::Time BatchTime(Pictures::const_iterator first) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool TakeBatch(absl::Time now, Batch* batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool CanPrepare() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // When a worker has something to do: in the past, later, or never.
  absl::Time NextWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // After every change: tells the load, wakes a worker if there is work. Whoever wakes does so
  // again.
  void Changed() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  void Prepare(Pictures picture);
  void Compute(Batch batch);
  void EndUnwanted(Pictures* pictures);
  void EndWaiting(std::vector<DetectQueue::Waiting> waiting);
  void End(Picture& picture, const absl::Status& status, const DetectOutput& output);
  absl::Status Wanted(const Picture& picture) const;
  void Leave(int64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Measured(absl::Duration of_a_picture);

  // Constant after construction.
  const DetectBatcherOptions options_;
  Detector& detector_;
  const DetectorInfo& info_;
  DetectObserver& observer_;
  const Clock& clock_;
  const int32_t batch_size_;
  const int32_t max_prepared_;

  std::atomic<uint64_t> next_caller_{1};
  std::atomic<double> seconds_per_picture_{0};  // of one worker, smoothed; 0: not measured

  mutable absl::Mutex mutex_;
  absl::CondVar changed_;
  DetectQueue queue_ ABSL_GUARDED_BY(mutex_);
  Pictures ready_ ABSL_GUARDED_BY(mutex_);  // in the order in which they became so
  std::vector<int32_t> free_lanes_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::unique_ptr<Scratch>> free_scratch_ ABSL_GUARDED_BY(mutex_);
  DetectLoad load_ ABSL_GUARDED_BY(mutex_);  // but for num_waiting and num_ready: see Changed
  int32_t num_pictures_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t num_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t preparing_pixels_ ABSL_GUARDED_BY(mutex_) = 0;
  int32_t num_idle_ ABSL_GUARDED_BY(mutex_) = 0;  // workers in WaitForWork
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Time drain_deadline_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
};

}  // namespace ela

#endif  // ELA_SCHEDULER_DETECT_BATCHER_H_
