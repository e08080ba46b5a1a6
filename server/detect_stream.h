// One DetectStream call: frames in, results out, in the order of the frames.
//
// Frames stand in a line from the moment they are read until their result is being written. Three
// threads bring news (a message was read, a message was written, a worker has finished a frame);
// each notes it under the mutex, and then one of them, the actor, does what is due: write the
// front of the line, read on, or end the call. Back-pressure: no reading while the line is full.
//
// With drop_stale at most one frame of the stream waits in the batcher; a newer one takes its place
// there, and the older one's result says so.
#ifndef ELA_SERVER_DETECT_STREAM_H_
#define ELA_SERVER_DETECT_STREAM_H_

#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "ela/v1/detection.pb.h"
#include "server/detect_house.h"
#include "server/detect_picture.h"

namespace ela {

class DetectStream final
    : public grpc::ServerBidiReactor<v1::DetectStreamRequest, v1::DetectStreamResponse>,
      public PictureOwner,
      public DrainableStream {
 public:
  // OnDone deletes it.
  DetectStream(const DetectHouse& house, grpc::CallbackServerContext* context);

  // Once, by the service, before it returns the reactor.
  void Begin();

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  bool Abandoned() const override { return cancelled_.load(std::memory_order_relaxed); }
  void OnPictureDone(uint64_t number, const absl::Status& status) override;
  void OnDrain() override;

 private:
  struct Frame {
    uint64_t number = 0;  // counts the stream's frames
    v1::DetectImage image;
    std::optional<PictureFacts> facts;  // absent: its header was refused, the error is in response
    v1::DetectStreamResponse response;
    bool done = false;  // the response is complete
  };
  enum class Action { kNone, kRead, kWrite, kFinish };

  // --- The reader, between OnReadDone and the next StartRead. ---
  absl::Status Start(const v1::DetectStreamRequest& message);
  void TakeRequestId(const std::string& named);
  absl::StatusOr<std::unique_ptr<Frame>> MakeFrame(v1::DetectStreamRequest* message);

  // --- Any thread, with the mutex. ---
  void Enqueue(std::unique_ptr<Frame> frame) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Submit(Frame& frame) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SubmitHeld() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Drop(Frame& frame) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Frame& FrameOf(uint64_t number) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Abandon() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool HasRoom() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Action NextAction() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Does what is due, or leaves it to the thread that is at it. Afterwards `this` may be gone.
  void Act(std::unique_lock<std::mutex> lock);
  grpc::Status EndStatus() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Constant once the first message has been read; until then request_id_ and detector_ are under
  // the mutex.
  const DetectHouse& house_;
  grpc::CallbackServerContext& context_;
  const absl::Time started_;
  std::string request_id_;
  ServedDetector* detector_ = nullptr;
  StreamSettings settings_;
  std::optional<PictureParts> parts_;
  uint64_t caller_ = 0;

  // The reader's.
  v1::DetectStreamRequest request_;

  std::atomic<bool> cancelled_{false};
  std::mutex mutex_;
  std::deque<std::unique_ptr<Frame>> line_ ABSL_GUARDED_BY(mutex_);  // numbers are consecutive
  uint64_t num_taken_ ABSL_GUARDED_BY(mutex_) = 0;  // frames that have come into the line
  std::unique_ptr<Frame> writing_ ABSL_GUARDED_BY(mutex_);
  Frame* held_ ABSL_GUARDED_BY(mutex_) = nullptr;  // drop_stale: in the line, not yet submitted
  int32_t num_kept_ ABSL_GUARDED_BY(mutex_) = 0;  // in line_ and writing_, neither dropped nor held
  int32_t num_submitted_ ABSL_GUARDED_BY(mutex_) = 0;  // that the batcher still has
  uint64_t num_dropped_ ABSL_GUARDED_BY(mutex_) = 0;   // written
  bool reading_ ABSL_GUARDED_BY(mutex_) = false;
  bool half_closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool acting_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);  // not OK: take no more, answer what is in, end
  grpc::StatusCode code_ = grpc::StatusCode::OK;  // set before Finish
};

}  // namespace ela

#endif  // ELA_SERVER_DETECT_STREAM_H_
