// What a call says beside its message: deadline, tenant, request id.
#ifndef ELA_SERVER_CALL_FACTS_H_
#define ELA_SERVER_CALL_FACTS_H_

#include <grpcpp/server_context.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "scheduler/engine.h"
#include "server/convert.h"

namespace ela {

// The id that the request names if it may be used as one, else a new one that no other request of
// this process has.
std::string RequestIdOf(const std::string& named);

// Metadata `ela-tenant` counts only when tenants are configured. Errors: kInvalidArgument (an
// unknown tenant, a request id that may not be used).
absl::StatusOr<CallFacts> ReadCallFacts(const grpc::CallbackServerContext& context,
                                        const std::string& named_id, const std::string& request_id,
                                        const std::vector<TenantOptions>& tenants);

// CANCELLED, or DEADLINE_EXCEEDED when that is why.
absl::Status WhyCancelled(const grpc::CallbackServerContext& context);

}  // namespace ela

#endif  // ELA_SERVER_CALL_FACTS_H_
