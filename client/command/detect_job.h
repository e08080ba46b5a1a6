// Many pictures through one detector, several at a time, reported in their order.
#ifndef ELA_CLIENT_COMMAND_DETECT_JOB_H_
#define ELA_CLIENT_COMMAND_DETECT_JOB_H_

#include <cstdint>
#include <map>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "client/client.h"
#include "client/command/detect_report.h"
#include "client/command/exit_code.h"
#include "client/command/picture_list.h"
#include "client/command/progress.h"
#include "model/image/image.h"

namespace ela::client {

struct DetectJobOptions {
  DetectOptions detect;
  int concurrency = 8;  // pictures in flight
  bool json = false;
};

// Memory is bounded by the pictures in flight, not by how many there are: nobody starts a picture
// far ahead of the one that is printed next, and one picture at a time is decoded and drawn.
class DetectJob {
 public:
  // All are borrowed. `list.pictures` may be empty.
  DetectJob(Client& client, const DetectorDescription& detector, const PictureList& list,
            const DetectJobOptions& options);

  // Reads, sends, draws and prints all of it; what is wrong with one picture is told on stderr and
  // does not stop the others. Main thread, once.
  ExitCode Run();

 private:
  // Worker threads.
  void Work();
  bool Take(size_t* index);
  ImageResult Process(const Picture& picture);
  absl::StatusOr<ImageResult> Detect(const std::string& bytes);
  absl::Status Draw(const Picture& picture, const std::string& bytes,
                    const std::vector<DetectedObject>& objects);

  // Any thread. Ends what runs; the first reason stands.
  void Stop(absl::Status why);

  // The main thread.
  void WatchOver(size_t num_workers);
  void PrintReady(ProgressBar* bar, bool all);
  void PrintOne(const Picture& picture, const ImageResult& result);
  Progress CurrentProgress() const;
  void PrintSummary() const;

  Client& client_;
  const std::vector<Picture>& pictures_;
  const DetectJobOptions& options_;
  const ImageLimits limits_;
  const DetectTable table_;
  const absl::Time start_ = absl::Now();
  Cancellation cancellation_;

  // The main thread's.
  size_t num_done_ = 0;
  size_t num_failed_ = 0;
  size_t num_objects_ = 0;
  ExitCode worst_ = kExitOk;  // of the pictures: our fault or the server's counts more than theirs
  bool header_printed_ = false;

  absl::Mutex draw_mutex_;  // held while a picture is decoded and drawn

  mutable absl::Mutex mutex_;
  size_t next_ ABSL_GUARDED_BY(mutex_) = 0;                        // to be started
  size_t num_printed_ ABSL_GUARDED_BY(mutex_) = 0;                 // all before it are printed
  std::map<size_t, ImageResult> results_ ABSL_GUARDED_BY(mutex_);  // done, not yet printed
  size_t num_idle_ ABSL_GUARDED_BY(mutex_) = 0;                    // workers that have ended
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status stopped_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace ela::client

#endif  // ELA_CLIENT_COMMAND_DETECT_JOB_H_
