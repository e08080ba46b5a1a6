#include "scheduler/admission.h"

#include <algorithm>
#include <cmath>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "model/status_macros.h"

namespace ela {

absl::StatusOr<Admission> Admission::Create(absl::Span<const TenantOptions> options) {
  std::vector<Tenant> tenants(1);
  for (const TenantOptions& option : options) {
    if (!std::isfinite(option.weight) || option.weight <= 0) {
      return absl::InvalidArgumentError(absl::StrCat("the weight of tenant \"", option.name,
                                                     "\" is ", option.weight,
                                                     ", must be positive and finite"));
    }
    if (option.name.empty()) {
      tenants[0].weight = option.weight;
      continue;
    }
    for (const Tenant& other : tenants) {
      if (other.name != option.name) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("tenant \"", option.name, "\" is given twice"));
    }
    tenants.push_back({option.name, option.weight, 0, {}});
  }
  return Admission(std::move(tenants));
}

int32_t Admission::TenantOf(const std::string& name) const {
  for (size_t i = 1; i < tenants_.size(); ++i) {
    if (tenants_[i].name == name) return static_cast<int32_t>(i);
  }
  return 0;
}

void Admission::Add(const Entry& entry) {
  Tenant& tenant = tenants_[entry.tenant];
  if (tenant.waiting.empty()) tenant.virtual_time = std::max(tenant.virtual_time, virtual_time_);
  tenant.waiting.insert(PlaceOf(entry));
  ++num_waiting_;
}

void Admission::Remove(const Entry& entry) {
  const size_t removed = tenants_[entry.tenant].waiting.erase(PlaceOf(entry));
  ELA_CHECK(removed == 1, "only a waiting request is removed");
  --num_waiting_;
}

size_t Admission::NextTenant() const {
  size_t next = tenants_.size();
  for (size_t i = 0; i < tenants_.size(); ++i) {
    if (tenants_[i].waiting.empty()) continue;
    if (next == tenants_.size() || tenants_[i].virtual_time < tenants_[next].virtual_time) next = i;
  }
  return next;
}

std::optional<uint64_t> Admission::Take() {
  const size_t turn = NextTenant();
  if (turn == tenants_.size()) return std::nullopt;
  Tenant& next = tenants_[turn];
  const Place place = *next.waiting.begin();
  next.waiting.erase(next.waiting.begin());
  --num_waiting_;
  virtual_time_ = std::max(virtual_time_, next.virtual_time);
  next.virtual_time += static_cast<double>(place.prompt_tokens) / next.weight;
  return place.ticket;
}

bool Admission::WouldPass(const Entry& entry) const {
  const size_t turn = NextTenant();
  if (turn == tenants_.size()) return false;
  if (turn == static_cast<size_t>(entry.tenant)) {
    return *tenants_[turn].waiting.begin() < PlaceOf(entry);
  }
  const Tenant& own = tenants_[entry.tenant];
  const double virtual_time =
      own.waiting.empty() ? std::max(own.virtual_time, virtual_time_) : own.virtual_time;
  return tenants_[turn].virtual_time < virtual_time;
}

void Admission::Charge(int32_t tenant, int64_t num_tokens) {
  tenants_[tenant].virtual_time += static_cast<double>(num_tokens) / tenants_[tenant].weight;
}

Admission::Place Admission::PlaceOf(const Entry& entry) {
  return {entry.submitted - absl::Seconds(entry.priority), entry.ticket, entry.prompt_tokens};
}

}  // namespace ela
