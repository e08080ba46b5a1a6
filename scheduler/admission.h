// Who gets the next free slot. Two rules:
//
// Between tenants: start-time fair queueing in tokens. Each tenant has a virtual time that grows by
// tokens / weight as it is served (its prompt when it is taken, each generated token as it comes);
// the waiting tenant with the smallest is next. A tenant whose queue was empty starts at the
// virtual time of the one taken last, so that nobody saves up credit by being idle. Tenants that
// keep requests waiting thus get tokens in proportion to their weights, however many requests one
// of them floods in.
//
// Who was swapped out for another queues up again as of that moment, having paid for its prompt.
//
// Within a tenant: higher priority first, and one level of priority is worth one second of waiting.
// So a request can only be passed by requests that came less than (their priority - its own)
// seconds after it, at most 200 s: low priority waits longer, and starves never.
#ifndef ELA_SCHEDULER_ADMISSION_H_
#define ELA_SCHEDULER_ADMISSION_H_

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

namespace ela {

struct TenantOptions {
  std::string name;
  double weight = 1.0;  // > 0: its share of tokens when several tenants wait
};

// Engine thread only, but for TenantOf. Take costs O(tenants + log waiting), the rest O(log
// waiting).
class Admission {
 public:
  // What it needs to know of a waiting request.
  struct Entry {
    uint64_t ticket = 0;
    int32_t tenant = 0;
    int32_t priority = 0;
    absl::Time submitted;       // or, of one that was swapped out, when it came back to the queue
    int64_t prompt_tokens = 0;  // not paid for yet
  };

  // Errors: kInvalidArgument (a weight that is not positive and finite, a name given twice).
  static absl::StatusOr<Admission> Create(absl::Span<const TenantOptions> tenants);

  // The index of the tenant `name`; unknown names share the anonymous one. Thread-safe.
  int32_t TenantOf(const std::string& name) const;

  void Add(const Entry& entry);
  // REQUIRES: the entry was added and neither taken nor removed.
  void Remove(const Entry& entry);
  // The ticket that goes next, out of the queue and charged for its prompt; none: nobody waits.
  std::optional<uint64_t> Take();
  // Somebody waits who would be taken before `entry`, were it added. O(tenants).
  bool WouldPass(const Entry& entry) const;
  // `tenant` was served `num_tokens` beyond its prompts.
  void Charge(int32_t tenant, int64_t num_tokens);

  int32_t num_waiting() const { return num_waiting_; }

 private:
  struct Place {
    absl::Time rank;  // submitted - priority seconds: the order never changes while it waits
    uint64_t ticket;
    int64_t prompt_tokens;
    bool operator<(const Place& other) const {
      return rank != other.rank ? rank < other.rank : ticket < other.ticket;
    }
  };
  struct Tenant {
    std::string name;
    double weight = 1;
    double virtual_time = 0;  // tokens / weight
    std::set<Place> waiting;
  };

  explicit Admission(std::vector<Tenant> tenants) : tenants_(std::move(tenants)) {}
  static Place PlaceOf(const Entry& entry);
  // The tenant whose turn it is; tenants_.size(): nobody waits.
  size_t NextTenant() const;

  std::vector<Tenant> tenants_;  // [0]: the anonymous one; names and weights are constant
  double virtual_time_ = 0;      // of the tenant taken last, when it was taken
  int32_t num_waiting_ = 0;
};

}  // namespace ela

#endif  // ELA_SCHEDULER_ADMISSION_H_
