// A call whose message protobuf cannot read: truncated, garbage, or text that is not UTF-8. No
// service sees it, and gRPC's own answer is UNIMPLEMENTED without a word
// (grpcpp/impl/codegen/server_callback_handlers.h); the caller gets INVALID_ARGUMENT instead.
#ifndef ELA_SERVER_UNREADABLE_MESSAGE_H_
#define ELA_SERVER_UNREADABLE_MESSAGE_H_

#include <grpcpp/support/server_interceptor.h>

namespace ela {

// For ServerBuilder::experimental().SetInterceptorCreators. Looks at the methods of ela.v1 alone,
// and there at the status that ends a call.
class UnreadableMessageNamer : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  grpc::experimental::Interceptor* CreateServerInterceptor(
      grpc::experimental::ServerRpcInfo* info) override;
};

}  // namespace ela

#endif  // ELA_SERVER_UNREADABLE_MESSAGE_H_
