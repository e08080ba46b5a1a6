#ifndef ELA_SERVER_UNARY_CALL_H_
#define ELA_SERVER_UNARY_CALL_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <functional>
#include <utility>

#include "absl/status/status.h"
#include "server/delivery_thread.h"
#include "server/rpc_status.h"
#include "server/server_metrics.h"

namespace ela {

// A call that is answered by one function, at once or on another thread.
class UnaryCall : public grpc::ServerUnaryReactor, public Wakeable {
 public:
  // `thread` null: runs `answer` before Begin returns.
  static grpc::ServerUnaryReactor* Begin(ServerMetrics& metrics, Method method,
                                         DeliveryThread* thread,
                                         std::function<absl::Status()> answer) {
    auto* call = new UnaryCall(metrics, method, std::move(answer));  // OnDone deletes it
    if (thread != nullptr) {
      thread->Push(call);
    } else {
      call->OnWake();
    }
    return call;
  }

  void OnWake() override {
    const grpc::Status status = ToGrpcStatus(answer_(), "");
    metrics_.OnCall(method_, status.error_code(), absl::Now() - started_);
    Finish(status);
  }
  void OnDone() override { delete this; }

 private:
  UnaryCall(ServerMetrics& metrics, Method method, std::function<absl::Status()> answer)
      : metrics_(metrics), method_(method), answer_(std::move(answer)), started_(absl::Now()) {}

  ServerMetrics& metrics_;
  const Method method_;
  const std::function<absl::Status()> answer_;
  const absl::Time started_;
};

}  // namespace ela

#endif  // ELA_SERVER_UNARY_CALL_H_
