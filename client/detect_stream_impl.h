// What stands behind DetectStream. Not installed.
#ifndef ELA_CLIENT_DETECT_STREAM_IMPL_H_
#define ELA_CLIENT_DETECT_STREAM_IMPL_H_

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "client/connection.h"
#include "client/detect.h"

namespace ela::client {

class DetectStream::Impl {
 public:
  Impl(std::shared_ptr<Connection> connection, const DetectStreamParams& params);
  ~Impl();

  // The writing thread.
  bool Write(uint64_t frame_id, DetectImage&& image);
  void WritesDone();

  // The reading thread.
  std::optional<FrameResult> Next();
  const absl::Status& status() const { return status_; }
  std::string request_id() const;

  // Any thread.
  int64_t num_in_flight() const { return num_in_flight_.load(); }
  void Cancel() { context_->TryCancel(); }

 private:
  using Call =
      grpc::ClientReaderWriter<ela::v1::DetectStreamRequest, ela::v1::DetectStreamResponse>;

  // Cancels the call, which then ends with `why`: the first reason stands.
  void Fail(absl::Status why);
  absl::Status FailedWith() const;

  const std::shared_ptr<Connection> connection_;  // shared with the Client, which may be gone
  const absl::Duration timeout_;
  const std::unique_ptr<grpc::ClientContext> context_;
  const std::unique_ptr<Call> call_;
  std::atomic<int64_t> num_in_flight_{0};

  // The writing thread's.
  bool writes_done_ = false;

  // The reading thread's.
  bool received_ = false;
  bool ended_ = false;
  absl::Status status_;

  mutable absl::Mutex mutex_;
  absl::Status failed_ ABSL_GUARDED_BY(mutex_);  // what this side found wrong
};

}  // namespace ela::client

#endif  // ELA_CLIENT_DETECT_STREAM_IMPL_H_
