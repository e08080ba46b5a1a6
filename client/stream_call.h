// One server-streaming call with the client's rules around it: sent again only while nothing has
// been received, cancelled from any thread, always finished before it is destroyed.
#ifndef ELA_CLIENT_STREAM_CALL_H_
#define ELA_CLIENT_STREAM_CALL_H_

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "client/connection.h"

namespace ela::client {

// One thread calls Read; Cancel may come from any.
template <typename Response>
class StreamCall {
 public:
  using Reader = std::unique_ptr<grpc::ClientReader<Response>>;
  using Open = std::function<Reader(Connection&, grpc::ClientContext*)>;

  // `open` starts an attempt; it is called once now and once per retry.
  StreamCall(std::shared_ptr<Connection> connection, std::optional<absl::Duration> timeout,
             Open open)
      : connection_(std::move(connection)),
        timeout_(timeout.value_or(connection_->options().timeout)),
        deadline_(connection_->DeadlineOf(timeout)),
        open_(std::move(open)),
        retry_(connection_->options(), deadline_) {
    Start();
  }

  ~StreamCall() {
    if (reader_ == nullptr) return;
    Cancel();
    Response ignored;
    while (reader_->Read(&ignored)) {
    }
    reader_->Finish();
  }

  // Blocks for the next message. False: the call has ended, status() says how.
  bool Read(Response* response) {
    while (reader_ != nullptr) {
      if (reader_->Read(response)) {
        received_ = true;
        return true;
      }
      status_ = ToStatus(reader_->Finish(), connection_->options().address, timeout_);
      reader_.reset();
      if (received_ || !PauseForRetry()) return false;
      status_ = absl::OkStatus();
      Start();
    }
    return false;
  }

  void Cancel() {
    absl::MutexLock lock(&mutex_);
    cancelled_ = true;
    if (context_ != nullptr) context_->TryCancel();
  }

  const absl::Status& status() const { return status_; }

  // First value of an initial metadata key; empty before the first message and where it is absent.
  std::string InitialMetadata(const std::string& key) const {
    return received_ ? client::InitialMetadata(*context_, key) : "";
  }

 private:
  void Start() {
    absl::MutexLock lock(&mutex_);
    context_ = connection_->NewContext(deadline_);
    reader_ = open_(*connection_, context_.get());
    if (cancelled_) context_->TryCancel();
  }

  // False: no further attempt. The pause ends early, and with it the call, when it is cancelled.
  bool PauseForRetry() {
    const std::optional<absl::Duration> pause = retry_.PauseAfter(status_, absl::Now());
    if (!pause.has_value()) return false;
    absl::MutexLock lock(&mutex_);
    if (!mutex_.AwaitWithTimeout(absl::Condition(&cancelled_), *pause)) return true;
    status_ = absl::CancelledError("cancelled by the caller while waiting to try again");
    return false;
  }

  const std::shared_ptr<Connection> connection_;  // shared with the Client, which may be gone
  const absl::Duration timeout_;
  const absl::Time deadline_;
  const Open open_;

  // The reading thread's.
  RetryRule retry_;
  Reader reader_;  // null: ended
  bool received_ = false;
  absl::Status status_;

  absl::Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  // Replaced under the mutex by the reading thread, which alone may read it without.
  std::unique_ptr<grpc::ClientContext> context_;
};

}  // namespace ela::client

#endif  // ELA_CLIENT_STREAM_CALL_H_
