#include "client/detect.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "client/detect_convert.h"
#include "client/detect_stream_impl.h"

namespace ela::client {

DetectStream::Impl::Impl(std::shared_ptr<Connection> connection, const DetectStreamParams& params)
    : connection_(std::move(connection)),
      timeout_(params.timeout.value_or(connection_->options().timeout)),
      context_(connection_->NewContext(connection_->DeadlineOf(params.timeout))),
      call_(connection_->detection().DetectStream(context_.get())) {
  ela::v1::DetectStreamRequest request;
  *request.mutable_start() = ToMessage(params, connection_->ModelOr(params.model));
  call_->Write(request);  // a failure shows when the stream is read
}

DetectStream::Impl::~Impl() {
  if (ended_) return;
  Cancel();
  ela::v1::DetectStreamResponse ignored;
  while (call_->Read(&ignored)) {
  }
  call_->Finish();
}

bool DetectStream::Impl::Write(uint64_t frame_id, DetectImage&& image) {
  if (writes_done_) return false;
  absl::StatusOr<ela::v1::DetectImage> message = ToMessage(std::move(image));
  if (!message.ok()) {
    Fail(absl::InvalidArgumentError(
        absl::StrCat("frame ", frame_id, ": ", message.status().message())));
    return false;
  }
  ela::v1::DetectStreamRequest request;
  request.mutable_frame()->set_frame_id(frame_id);
  *request.mutable_frame()->mutable_image() = *std::move(message);
  // Counted first: the answer may arrive before Write returns.
  ++num_in_flight_;
  if (call_->Write(request)) return true;
  --num_in_flight_;
  return false;
}

void DetectStream::Impl::WritesDone() {
  if (!std::exchange(writes_done_, true)) call_->WritesDone();
}

std::optional<FrameResult> DetectStream::Impl::Next() {
  if (ended_) return std::nullopt;
  ela::v1::DetectStreamResponse response;
  if (call_->Read(&response)) {
    received_ = true;
    --num_in_flight_;
    return FromMessage(std::move(response));
  }
  ended_ = true;
  status_ = ToStatus(call_->Finish(), connection_->options().address, timeout_);
  const absl::Status failed = FailedWith();
  if (!failed.ok()) {
    status_ = failed;
  } else if (const int64_t unanswered = num_in_flight(); status_.ok() && unanswered != 0) {
    status_ = absl::InternalError(
        absl::StrCat("the server ended the stream with ", unanswered, " frames unanswered"));
  }
  return std::nullopt;
}

void DetectStream::Impl::Fail(absl::Status why) {
  {
    absl::MutexLock lock(&mutex_);
    if (failed_.ok()) failed_ = std::move(why);
  }
  Cancel();
}

absl::Status DetectStream::Impl::FailedWith() const {
  absl::MutexLock lock(&mutex_);
  return failed_;
}

std::string DetectStream::Impl::request_id() const {
  return received_ ? InitialMetadata(*context_, "ela-request-id") : "";
}

DetectStream::DetectStream(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
DetectStream::DetectStream(DetectStream&&) noexcept = default;
DetectStream& DetectStream::operator=(DetectStream&&) noexcept = default;
DetectStream::~DetectStream() = default;

bool DetectStream::Write(uint64_t frame_id, DetectImage image) {
  return impl_->Write(frame_id, std::move(image));
}
void DetectStream::WritesDone() { impl_->WritesDone(); }
std::optional<FrameResult> DetectStream::Next() { return impl_->Next(); }
int64_t DetectStream::num_in_flight() const { return impl_->num_in_flight(); }
void DetectStream::Cancel() { impl_->Cancel(); }
absl::Status DetectStream::status() const { return impl_->status(); }
std::string DetectStream::request_id() const { return impl_->request_id(); }

const char* Name(DetectorFit fit) {
  switch (fit) {
    case DetectorFit::kLetterbox:
      return "letterbox";
    case DetectorFit::kStretch:
      return "stretch";
    case DetectorFit::kUnknown:
      break;
  }
  return "unknown";
}

}  // namespace ela::client
