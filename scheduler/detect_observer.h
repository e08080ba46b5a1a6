// Facts about detection as they happen, for metrics. The server implements this on lock-free
// counters.
#ifndef ELA_SCHEDULER_DETECT_OBSERVER_H_
#define ELA_SCHEDULER_DETECT_OBSERVER_H_

#include <cstdint>

#include "absl/status/status.h"
#include "scheduler/detect_task.h"

namespace ela {

struct DetectLoad {
  int32_t num_waiting = 0;    // not yet looked at
  int32_t num_preparing = 0;  // being decoded and fitted
  int32_t num_ready = 0;      // prepared, waiting for a lane or for their batch to fill
  int32_t num_computing = 0;  // in the network
};

// Any worker thread, several at once (OnRejected: any thread). A call costs nanoseconds, never
// blocks and never calls back: OnLoad comes with the batcher's mutex held, so that the last load is
// the true one.
class DetectObserver {
 public:
  virtual ~DetectObserver() = default;
  virtual void OnLoad(const DetectLoad& load) = 0;
  virtual void OnBatch(int32_t num_pictures, const DetectTimes& times) = 0;
  // A picture ended by itself or by its deadline; those withdrawn are not told.
  virtual void OnPicture(const absl::Status& status, const DetectOutput& output,
                         const PictureTimes& times) = 0;
  virtual void OnRejected(const absl::Status& status) = 0;  // pictures that were never queued
};

}  // namespace ela

#endif  // ELA_SCHEDULER_DETECT_OBSERVER_H_
