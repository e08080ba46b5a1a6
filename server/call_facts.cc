#include "server/call_facts.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <random>

#include "absl/strings/str_cat.h"
#include "server/rpc_status.h"

namespace ela {

std::string RequestIdOf(const std::string& named) {
  if (!named.empty() && CheckRequestId(named).ok()) return named;
  static const uint32_t process = std::random_device()();
  static std::atomic<uint64_t> next{1};
  return absl::StrCat(absl::Hex(process, absl::kZeroPad8), "-", next.fetch_add(1));
}

absl::StatusOr<CallFacts> ReadCallFacts(const grpc::CallbackServerContext& context,
                                        const std::string& named_id, const std::string& request_id,
                                        const std::vector<TenantOptions>& tenants) {
  if (absl::Status status = CheckRequestId(named_id); !status.ok()) return status;
  CallFacts facts;
  facts.request_id = request_id;
  const auto deadline = context.deadline();
  if (deadline != std::chrono::system_clock::time_point::max()) {
    facts.deadline = absl::FromChrono(deadline);
  }
  const auto found = context.client_metadata().find("ela-tenant");
  if (tenants.empty() || found == context.client_metadata().end()) return facts;
  facts.tenant.assign(found->second.data(), found->second.size());
  const bool known = std::any_of(tenants.begin(), tenants.end(), [&facts](const auto& tenant) {
    return tenant.name == facts.tenant;
  });
  if (known) return facts;
  Violations violations;
  violations.Add("metadata.ela-tenant", "is not a tenant of this server");
  return violations.ToStatus();
}

absl::Status WhyCancelled(const grpc::CallbackServerContext& context) {
  if (context.deadline() <= std::chrono::system_clock::now()) {
    return absl::DeadlineExceededError("the call's deadline passed while it ran");
  }
  return absl::CancelledError("the client ended the call");
}

}  // namespace ela
