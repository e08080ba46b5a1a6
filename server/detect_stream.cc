#include "server/detect_stream.h"

#include <utility>

#include "model/status_macros.h"
#include "scheduler/request.h"
#include "server/call_facts.h"
#include "server/rpc_status.h"
#include "server/stream_log.h"

namespace ela {
namespace {

// Frames that were dropped and are not yet told, beyond max_frames_in_flight: a few bytes each.
constexpr size_t kMaxUntoldDrops = 64;

absl::Status Invalid(absl::string_view field, absl::string_view sentence) {
  Violations violations;
  violations.Add(field, sentence);
  return violations.ToStatus();
}

}  // namespace

DetectStream::DetectStream(const DetectHouse& house, grpc::CallbackServerContext* context)
    : house_(house), context_(*context), started_(absl::Now()) {}

void DetectStream::Begin() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    reading_ = true;
  }
  StartRead(&request_);
  house_.streams.Add(this);
}

// --- News. ---

void DetectStream::OnReadDone(bool ok) {
  bool has_started;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    has_started = detector_ != nullptr;
  }
  absl::Status problem;
  std::unique_ptr<Frame> frame;
  if (ok && !has_started) {
    problem = Start(request_);
  } else if (ok) {
    auto made = MakeFrame(&request_);
    problem = made.status();
    if (made.ok()) frame = *std::move(made);
  }
  std::unique_lock<std::mutex> lock(mutex_);
  reading_ = false;
  if (!ok) half_closed_ = true;
  if (!problem.ok() && failure_.ok()) failure_ = problem;
  if (frame != nullptr && failure_.ok() && !Abandoned()) Enqueue(std::move(frame));
  Act(std::move(lock));
}

void DetectStream::OnWriteDone(bool ok) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (!writing_->response.has_dropped()) --num_kept_;
  writing_.reset();
  if (ok) {
    SubmitHeld();
  } else {
    Abandon();
  }
  Act(std::move(lock));
}

void DetectStream::OnCancel() {
  std::unique_lock<std::mutex> lock(mutex_);
  Abandon();
  Act(std::move(lock));
}

void DetectStream::OnDrain() {
  std::unique_lock<std::mutex> lock(mutex_);
  if (failure_.ok()) {
    failure_ =
        WithRetryAfter(absl::UnavailableError("the server is shutting down"), absl::Seconds(1));
  }
  Act(std::move(lock));
}

void DetectStream::OnPictureDone(uint64_t number, const absl::Status& status) {
  std::unique_lock<std::mutex> lock(mutex_);
  --num_submitted_;
  Frame& frame = FrameOf(number);
  frame.image = v1::DetectImage();
  frame.done = true;
  if (!status.ok()) {  // of the whole call
    if (failure_.ok()) failure_ = status;
    Abandon();
  }
  Act(std::move(lock));
}

void DetectStream::OnDone() {
  house_.streams.Remove(this);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    house_.metrics.OnCall(Method::kDetectStream, code_, absl::Now() - started_);
  }
  delete this;
}

// --- The reader. ---

absl::Status DetectStream::Start(const v1::DetectStreamRequest& message) {
  TakeRequestId(message.start().request_id());
  if (!message.has_start()) return Invalid("start", "is absent from the first message");
  const v1::StreamStart& start = message.start();
  ELA_ASSIGN_OR_RETURN(ServedDetector * detector, house_.detectors.Find(start.model()));
  const auto call = ReadCallFacts(context_, start.request_id(), request_id_, house_.tenants);
  const auto settings = ConvertStreamStart(start, detector->card());
  if (!call.ok() || !settings.ok()) {
    detector->metrics().OnInvalid();
    return call.ok() ? settings.status() : call.status();
  }
  settings_ = *settings;
  parts_.emplace(
      PictureParts{*this, detector->card(), settings_.detect, request_id_, call->deadline});
  caller_ = detector->batcher().NewCaller();
  std::lock_guard<std::mutex> lock(mutex_);
  detector_ = detector;
  return absl::OkStatus();
}

void DetectStream::TakeRequestId(const std::string& named) {
  std::lock_guard<std::mutex> lock(mutex_);
  request_id_ = RequestIdOf(named);
  // With a drain the headers may be on their way already.
  if (!finished_) context_.AddInitialMetadata("ela-request-id", request_id_);
}

absl::StatusOr<std::unique_ptr<DetectStream::Frame>> DetectStream::MakeFrame(
    v1::DetectStreamRequest* message) {
  if (!message->has_frame()) {
    detector_->metrics().OnInvalid();
    return Invalid("frame", "is absent: every message but the first is a frame");
  }
  auto frame = std::make_unique<Frame>();
  frame->response.set_frame_id(message->frame().frame_id());
  frame->image.Swap(message->mutable_frame()->mutable_image());
  const absl::StatusOr<PictureFacts> facts =
      ReadPictureFacts(frame->image, detector_->card().image);
  if (facts.ok()) {
    frame->facts = *facts;
  } else {
    detector_->metrics().OnBadImage(facts.status());
    SetError(facts.status(), request_id_, frame->response.mutable_result());
    frame->image = v1::DetectImage();
  }
  return frame;
}

// --- The line. ---

void DetectStream::Enqueue(std::unique_ptr<Frame> frame) {
  Frame& its = *frame;
  its.number = num_taken_++;
  line_.push_back(std::move(frame));
  if (!its.facts) {
    its.done = true;
    ++num_kept_;
  } else if (!settings_.drop_stale) {
    ++num_kept_;
    Submit(its);
  } else {
    if (held_ != nullptr) Drop(*held_);
    held_ = &its;
    SubmitHeld();
  }
}

// A held frame goes to the batcher once the reader of the results keeps up, or in the place of one
// that waits there.
void DetectStream::SubmitHeld() {
  if (held_ == nullptr || Abandoned()) return;
  if (num_kept_ >= settings_.max_frames_in_flight && !detector_->batcher().HasWaiting(caller_)) {
    return;
  }
  Frame& frame = *std::exchange(held_, nullptr);
  ++num_kept_;
  Submit(frame);
}

void DetectStream::Submit(Frame& frame) {
  std::unique_ptr<DetectTask> task = std::make_unique<DetectPicture>(
      *parts_, frame.number, *frame.facts, frame.image, *frame.response.mutable_result());
  std::vector<std::unique_ptr<DetectTask>> overtaken;
  DetectBatcher& batcher = detector_->batcher();
  const absl::Status status = settings_.drop_stale
                                  ? batcher.Replace(caller_, task, &overtaken)
                                  : batcher.Submit(caller_, absl::MakeSpan(&task, 1));
  for (const auto& old : overtaken) {
    --num_submitted_;
    --num_kept_;
    Drop(FrameOf(static_cast<const DetectPicture&>(*old).number()));
  }
  if (status.ok()) {
    ++num_submitted_;
    return;
  }
  if (absl::IsUnavailable(status) && failure_.ok()) failure_ = status;
  SetError(status, request_id_, frame.response.mutable_result());
  frame.image = v1::DetectImage();
  frame.done = true;
}

void DetectStream::Drop(Frame& frame) {
  frame.response.mutable_dropped();  // clears the result
  frame.image = v1::DetectImage();
  frame.done = true;
  if (held_ == &frame) held_ = nullptr;
  detector_->metrics().OnDropped();
}

DetectStream::Frame& DetectStream::FrameOf(uint64_t number) {
  const uint64_t place = number - line_.front()->number;
  ELA_CHECK(place < line_.size(), "a frame came back that is not in the line");
  return *line_[place];
}

void DetectStream::Abandon() {
  cancelled_.store(true, std::memory_order_relaxed);
  if (detector_ == nullptr) return;
  num_submitted_ -= static_cast<int32_t>(detector_->batcher().Withdraw(caller_).size());
}

// --- The actor. ---

bool DetectStream::HasRoom() const {
  const size_t length = line_.size() + (writing_ != nullptr ? 1 : 0);
  return length < settings_.max_frames_in_flight + (settings_.drop_stale ? kMaxUntoldDrops : 0);
}

DetectStream::Action DetectStream::NextAction() {
  if (finished_) return Action::kNone;
  if (writing_ == nullptr) {
    if (!Abandoned() && !line_.empty() && line_.front()->done) {
      writing_ = std::move(line_.front());
      line_.pop_front();
      if (writing_->response.has_dropped()) ++num_dropped_;
      writing_->response.set_num_dropped(num_dropped_);
      return Action::kWrite;
    }
    const bool over =
        Abandoned() ? num_submitted_ == 0 : line_.empty() && (half_closed_ || !failure_.ok());
    if (over) {
      finished_ = true;
      return Action::kFinish;
    }
  }
  if (!reading_ && !half_closed_ && failure_.ok() && !Abandoned() && HasRoom()) {
    reading_ = true;
    return Action::kRead;
  }
  return Action::kNone;
}

void DetectStream::Act(std::unique_lock<std::mutex> lock) {
  if (acting_) return;  // the actor looks again before it leaves
  acting_ = true;
  for (;;) {
    const Action action = NextAction();
    if (action == Action::kNone) break;
    const grpc::Status status = action == Action::kFinish ? EndStatus() : grpc::Status::OK;
    const v1::DetectStreamResponse* response = writing_ ? &writing_->response : nullptr;
    lock.unlock();  // the actor alone can end the call, so `this` stays while it acts
    switch (action) {
      case Action::kRead:
        StartRead(&request_);
        break;
      case Action::kWrite:
        StartWrite(response);
        break;
      default:
        Finish(status);
        return;  // `this` may be gone
    }
    lock.lock();
  }
  acting_ = false;
}

grpc::Status DetectStream::EndStatus() {
  absl::Status status = failure_;
  if (Abandoned() && status.ok()) status = WhyCancelled(context_);
  LogDetectEnd({request_id_, NameOf(Method::kDetectStream), detector_ ? detector_->card().name : "",
                status, static_cast<int64_t>(num_taken_), absl::Now() - started_});
  const grpc::Status wire = ToGrpcStatus(status, request_id_);
  code_ = wire.error_code();
  return wire;
}

}  // namespace ela
