#include "server/unreadable_message.h"

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "server/rpc_status.h"

namespace ela {
namespace {

using grpc::experimental::InterceptionHookPoints;

class Namer : public grpc::experimental::Interceptor {
 public:
  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) {
      const grpc::Status status = methods->GetSendStatus();
      // Our own services have no such status: a method that is not there is not registered.
      if (status.error_code() == grpc::UNIMPLEMENTED && status.error_message().empty()) {
        methods->ModifySendStatus(ToGrpcStatus(
            absl::InvalidArgumentError("the request is not a message of this method: its bytes "
                                       "are cut off or damaged, or a text is not UTF-8"),
            ""));
      }
    }
    methods->Proceed();
  }
};

}  // namespace

grpc::experimental::Interceptor* UnreadableMessageNamer::CreateServerInterceptor(
    grpc::experimental::ServerRpcInfo* info) {
  return absl::StartsWith(info->method(), "/ela.v1.") ? new Namer : nullptr;
}

}  // namespace ela
