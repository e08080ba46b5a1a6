// A server stream whose messages come from an engine: one reactor per call. Template over request
// and response; what a message holds is the subclass's.
//
// Life of a call: Begin (gRPC's thread) → Prepare, Engine::Submit → the outbox wakes the delivery
// thread, or a write is done → Fill, StartWrite → … → the last message with StartWriteAndFinish →
// OnDone. Only the outbox's writer runs these; OnCancel releases the slot at once, whoever writes.
#ifndef ELA_SERVER_ENGINE_STREAM_H_
#define ELA_SERVER_ENGINE_STREAM_H_

#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "model/status_macros.h"
#include "server/call_facts.h"
#include "server/delivery_thread.h"
#include "server/outbox.h"
#include "server/rpc_status.h"
#include "server/served_model.h"
#include "server/server_metrics.h"
#include "server/stream_log.h"

namespace ela {

// What all streams of a server share; all outlive them.
struct StreamHouse {
  const ModelMap& models;
  ServerMetrics& metrics;
  const std::vector<TenantOptions>& tenants;
  DeliveryThread& delivery;    // writes
  DeliveryThread& tokenizing;  // long texts
  size_t max_buffered_rows;
};

// Texts longer than this are tokenized off gRPC's few callback threads.
inline constexpr size_t kLongTextBytes = 16 << 10;

template <typename Message, typename Response>
class EngineStream : public grpc::ServerWriteReactor<Response>, public Wakeable {
 public:
  EngineStream(const StreamHouse& house, Method method, grpc::CallbackServerContext* context,
               const Message* message)
      : message_(*message),
        house_(house),
        method_(method),
        context_(*context),
        request_id_(RequestIdOf(message->request_id())),
        started_(absl::Now()),
        outbox_(std::make_shared<Outbox>(house.max_buffered_rows,
                                         [this] { house_.delivery.Push(this); })) {
    context->AddInitialMetadata("ela-request-id", request_id_);
  }

  // Once, by the service, before it returns the reactor.
  void Begin() {
    if (message_.text().size() > kLongTextBytes) {
      house_.tokenizing.Push(this);
    } else {
      OnWake();
    }
  }

  void OnWake() final {
    TakeOver();
    if (std::exchange(submitted_, true)) {
      Advance();
    } else {
      Submit();
    }
  }

  void OnWriteDone(bool ok) final {
    TakeOver();
    if (ok) {
      Advance();
    } else {
      CloseCancelled();
    }
  }

  void OnCancel() final {
    ReleaseSlot();
    if (!outbox_->Cancel()) return;
    TakeOver();
    CloseCancelled();
  }

  void OnDone() final {
    TakeOver();
    house_.metrics.OnCall(method_, code_, absl::Now() - started_);
    delete this;
  }

 protected:
  enum class Fill { kNothing, kMessage, kLastMessage };

  // Checks and converts the message. May run on the tokenizing thread.
  virtual absl::StatusOr<Request> Prepare(const ServedModel& model, const CallFacts& call) = 0;

  // Moves what `contents` holds, or a part of it, into the empty `response`. kLastMessage only once
  // `contents.finished`, with all rows used. Called again until kNothing.
  virtual Fill FillResponse(OutboxContents* contents, Response* response) = 0;

  const Message& message_;

 private:
  void Submit() {
    const absl::Status status = TrySubmit();
    if (status.ok()) {
      Advance();
    } else {
      PassOn();
      Close(status);
    }
  }

  absl::Status TrySubmit() {
    ELA_ASSIGN_OR_RETURN(ServedModel * model, house_.models.Find(message_.model()));
    absl::StatusOr<CallFacts> call =
        ReadCallFacts(context_, message_.request_id(), request_id_, house_.tenants);
    absl::StatusOr<Request> request =
        call.ok() ? Prepare(*model, *call) : absl::StatusOr<Request>(call.status());
    if (!request.ok()) {
      model->metrics().OnInvalid();
      return request.status();
    }
    model_ = model;
    ELA_ASSIGN_OR_RETURN(const Engine::Ticket ticket,
                         model->engine().Submit(*std::move(request), outbox_));
    std::lock_guard<std::mutex> lock(ticket_mutex_);
    ticket_ = ticket;
    return absl::OkStatus();
  }

  // Writes the next message, or lets go of the writer's role.
  void Advance() {
    for (;;) {
      response_.Clear();
      switch (FillResponse(&contents_, &response_)) {
        case Fill::kMessage:
          PassOn();
          this->StartWrite(&response_);
          return;
        case Fill::kLastMessage:
          LogEnd(absl::OkStatus());
          PassOn();
          this->StartWriteAndFinish(&response_, grpc::WriteOptions(), grpc::Status::OK);
          return;
        case Fill::kNothing:
          break;
      }
      if (contents_.finished) {  // not OK: an OK end has a last message
        const absl::Status status = SlowReaderNamed(contents_.status);
        PassOn();
        Close(status);
        return;
      }
      bool was_full = false;
      PassOn();
      const Outbox::Next next = outbox_->Take(&contents_, &was_full);
      if (next == Outbox::Next::kIdle) return;  // `this` may be gone
      if (next == Outbox::Next::kCancelled) return CloseCancelled();
      if (was_full) model_->engine().Resume(*ticket());
    }
  }

  // A queue that is full is told at Submit: later it is the reader.
  static absl::Status SlowReaderNamed(const absl::Status& status) {
    return absl::IsResourceExhausted(status) ? WithReason(status, "SLOW_READER") : status;
  }

  void CloseCancelled() {
    ReleaseSlot();
    PassOn();
    Close(WhyCancelled(context_));
  }

  void Close(const absl::Status& status) {
    code_ = static_cast<grpc::StatusCode>(ToGrpcStatus(status, request_id_).error_code());
    LogEnd(status);
    PassOn();
    this->Finish(ToGrpcStatus(status, request_id_));
  }

  void ReleaseSlot() {
    const std::optional<Engine::Ticket> known = ticket();
    if (known) model_->engine().Cancel(*known, WhyCancelled(context_));
  }

  std::optional<Engine::Ticket> ticket() {
    std::lock_guard<std::mutex> lock(ticket_mutex_);
    return ticket_;
  }

  void LogEnd(const absl::Status& status) {
    LogStreamEnd({request_id_, NameOf(method_), model_ ? model_->card().name : message_.model(),
                  status, contents_.usage, absl::Now() - started_});
  }

  // The writer's role goes from thread to thread through gRPC's and the outbox's own ordering;
  // said once more here in terms that a thread sanitizer sees through an uninstrumented gRPC.
  void PassOn() { role_.store(true, std::memory_order_release); }
  void TakeOver() { role_.load(std::memory_order_acquire); }

  // Constant after construction.
  const StreamHouse& house_;
  const Method method_;
  const grpc::CallbackServerContext& context_;
  const std::string request_id_;
  const absl::Time started_;
  const std::shared_ptr<Outbox> outbox_;  // shared: the engine may be done before or after the call

  // The writer's.
  std::atomic<bool> role_{false};
  bool submitted_ = false;
  ServedModel* model_ = nullptr;  // set before ticket_
  OutboxContents contents_;
  Response response_;
  grpc::StatusCode code_ = grpc::StatusCode::OK;

  std::mutex ticket_mutex_;
  std::optional<Engine::Ticket> ticket_ ABSL_GUARDED_BY(ticket_mutex_);
};

}  // namespace ela

#endif  // ELA_SERVER_ENGINE_STREAM_H_
