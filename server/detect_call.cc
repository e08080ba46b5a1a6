#include "server/detect_call.h"

#include <utility>

#include "model/status_macros.h"
#include "server/call_facts.h"
#include "server/rpc_status.h"
#include "server/stream_log.h"

namespace ela {

DetectCall::DetectCall(const DetectHouse& house, grpc::CallbackServerContext* context,
                       const v1::DetectRequest* request, v1::DetectResponse* response)
    : house_(house),
      context_(*context),
      request_(*request),
      response_(*response),
      request_id_(RequestIdOf(request->request_id())),
      started_(absl::Now()) {
  context->AddInitialMetadata("ela-request-id", request_id_);
}

void DetectCall::Begin() {
  remaining_.store(1, std::memory_order_release);  // held until all pictures are counted
  const absl::Status status = Submit();
  if (!status.ok()) {
    std::lock_guard<std::mutex> lock(mutex_);
    failure_ = status;
  }
  Account(1);
}

absl::Status DetectCall::Submit() {
  ELA_ASSIGN_OR_RETURN(detector_, house_.detectors.Find(request_.model()));
  auto pictures = MakePictures();
  if (!pictures.ok()) {
    detector_->metrics().OnInvalid();
    return pictures.status();
  }
  response_.set_model(detector_->card().name);
  response_.set_fingerprint(detector_->card().info.model_fingerprint);
  if (pictures->empty()) return absl::OkStatus();
  const int64_t count = static_cast<int64_t>(pictures->size());
  caller_ = detector_->batcher().NewCaller();
  remaining_.fetch_add(count, std::memory_order_acq_rel);
  const absl::Status status = detector_->batcher().Submit(caller_, absl::MakeSpan(*pictures));
  if (!status.ok()) remaining_.fetch_sub(count, std::memory_order_acq_rel);  // not the last: Begin
  return status;
}

absl::StatusOr<std::vector<std::unique_ptr<DetectTask>>> DetectCall::MakePictures() {
  const DetectorCard& card = detector_->card();
  ELA_ASSIGN_OR_RETURN(const CallFacts call,
                       ReadCallFacts(context_, request_.request_id(), request_id_, house_.tenants));
  ELA_ASSIGN_OR_RETURN(settings_, ConvertDetect(request_, card));
  parts_.emplace(PictureParts{*this, card, settings_, request_id_, call.deadline});
  std::vector<std::unique_ptr<DetectTask>> pictures;
  int64_t num_pixels = 0;
  for (int i = 0; i < request_.images_size(); ++i) {
    v1::ImageResult* result = response_.add_results();
    const absl::StatusOr<PictureFacts> facts = ReadPictureFacts(request_.images(i), card.image);
    if (!facts.ok()) {
      detector_->metrics().OnBadImage(facts.status());
      SetError(facts.status(), request_id_, result);
      continue;
    }
    num_pixels += facts->pixels();
    pictures.push_back(
        std::make_unique<DetectPicture>(*parts_, i, *facts, request_.images(i), *result));
  }
  ELA_RETURN_IF_ERROR(CheckRequestPixels(num_pixels, card));
  return pictures;
}

void DetectCall::OnPictureDone(uint64_t, const absl::Status& status) {
  if (!status.ok()) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (failure_.ok()) failure_ = status;
  }
  Account(1);
}

void DetectCall::OnCancel() {
  if (remaining_.load(std::memory_order_acquire) == 0) return;  // the end is on its way
  cancelled_.store(true, std::memory_order_relaxed);
  const size_t count = detector_->batcher().Withdraw(caller_).size();
  if (count > 0) Account(static_cast<int64_t>(count));
}

void DetectCall::Account(int64_t count) {
  if (remaining_.fetch_sub(count, std::memory_order_acq_rel) > count) return;
  absl::Status status;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    status = failure_;
  }
  if (cancelled_.load(std::memory_order_relaxed)) status = WhyCancelled(context_);
  Close(status);
}

void DetectCall::Close(const absl::Status& status) {
  const grpc::Status wire = ToGrpcStatus(status, request_id_);
  code_ = wire.error_code();
  LogDetectEnd({request_id_, NameOf(Method::kDetect),
                detector_ ? detector_->card().name : request_.model(), status,
                request_.images_size(), absl::Now() - started_});
  remaining_.store(0, std::memory_order_release);
  Finish(wire);
}

void DetectCall::OnDone() {
  remaining_.load(std::memory_order_acquire);
  house_.metrics.OnCall(Method::kDetect, code_, absl::Now() - started_);
  delete this;
}

}  // namespace ela
