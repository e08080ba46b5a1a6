// One picture on its way through detection, as the scheduler sees it: something that can be made
// ready for a network, and that wants to hear how it ended. What a picture is, only the server
// knows.
#ifndef ELA_SCHEDULER_DETECT_TASK_H_
#define ELA_SCHEDULER_DETECT_TASK_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "model/detector.h"

namespace ela {

// A picture as the detector takes it.
struct PreparedPicture {
  int32_t width = 0;
  int32_t height = 0;
  std::vector<uint8_t> pixels;  // [height, width, 3], RGB
};

// Where a picture's time went. Network and postprocess are those of its whole batch.
struct PictureTimes {
  absl::Duration prepare;  // decoding and fitting
  absl::Duration queue;    // waiting, before it was prepared and after
  absl::Duration network;
  absl::Duration postprocess;
};

// Known before anything of the picture's size is allocated.
struct DetectTaskFacts {
  int64_t bytes = 0;   // held while it waits
  int64_t pixels = 0;  // held, several bytes each, while it is prepared
  absl::Time deadline = absl::InfiniteFuture();
};

class DetectTask {
 public:
  virtual ~DetectTask() = default;

  virtual DetectTaskFacts Facts() const = 0;            // constant
  virtual const DetectionOptions& Options() const = 0;  // constant, checked

  // True: nobody wants the answer any more. Asked before each piece of work. Any thread.
  virtual bool Abandoned() const = 0;

  // Fills `picture`, whose size the detector takes; not OK: this picture cannot be read.
  // Milliseconds of computation on a worker thread; at most once.
  virtual absl::Status Prepare(PreparedPicture* picture) = 0;

  // The end, once, on a worker thread; the task is destroyed after it. `output` is borrowed and
  // holds detections only when `status` is OK. Errors: what Prepare or the detector said;
  // kDeadlineExceeded and kCancelled (before anything was computed), kUnavailable (shutdown).
  virtual void OnDone(const absl::Status& status, const DetectOutput& output,
                      const PictureTimes& times) = 0;
};

}  // namespace ela

#endif  // ELA_SCHEDULER_DETECT_TASK_H_
