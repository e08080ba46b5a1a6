#include "model/language/lobe_table.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "model/status_macros.h"

namespace ela {

LobeTable::LobeTable(std::unique_ptr<const Lobe> own, int32_t num_slots) : entries_(1) {
  entries_[0].num_slots = num_slots;
  if (own != nullptr) entries_[0].fingerprint = own->fingerprint;
  entries_[0].lobe = std::move(own);
}

absl::StatusOr<int32_t> LobeTable::Find(const std::string& name) const {
  if (name.empty()) return 0;
  for (size_t i = 1; i < entries_.size(); ++i) {
    if (entries_[i].name == name) return static_cast<int32_t>(i);
  }
  return absl::NotFoundError(absl::StrCat("lobe \"", name, "\" is not loaded"));
}

absl::StatusOr<int32_t> LobeTable::FindFingerprint(const std::string& fingerprint) const {
  for (size_t i = 0; i < entries_.size(); ++i) {
    const auto number = static_cast<int32_t>(i);
    if (known(number) && entries_[i].fingerprint == fingerprint) return number;
  }
  if (fingerprint.empty()) {
    return absl::FailedPreconditionError(
        "the state belongs to a model without a lobe, this one has its own");
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "the state belongs to lobe ", fingerprint.substr(0, 12), ", which is not loaded"));
}

absl::StatusOr<int32_t> LobeTable::Successor(int32_t number) const {
  if (known(number)) return number;
  return FindFingerprint(entries_[number].fingerprint);
}

absl::Status LobeTable::Add(const std::string& name, std::unique_ptr<const Lobe> lobe) {
  if (name.empty()) {
    return absl::InvalidArgumentError("a pluggable lobe needs a name, \"\" is the model's own");
  }
  if (Find(name).ok()) {
    return absl::AlreadyExistsError(
        absl::StrCat("lobe \"", name, "\" is loaded; remove it before another takes its name"));
  }
  Entry entry;
  entry.name = name;
  entry.fingerprint = lobe->fingerprint;
  entry.lobe = std::move(lobe);
  entries_.push_back(std::move(entry));
  return absl::OkStatus();
}

absl::Status LobeTable::Remove(const std::string& name) {
  if (name.empty()) {
    return absl::InvalidArgumentError("the model's own lobe cannot be removed");
  }
  ELA_ASSIGN_OR_RETURN(const int32_t number, Find(name));
  Entry& entry = entries_[number];
  entry.name.clear();
  if (entry.num_slots == 0) entry.lobe.reset();
  return absl::OkStatus();
}

void LobeTable::Release(int32_t number) {
  Entry& entry = entries_[number];
  --entry.num_slots;
  if (!known(number) && entry.num_slots == 0) entry.lobe.reset();
}

std::vector<LobeInfo> LobeTable::List() const {
  std::vector<LobeInfo> lobes;
  for (size_t i = 1; i < entries_.size(); ++i) {
    const Entry& entry = entries_[i];
    if (entry.lobe == nullptr) continue;
    lobes.push_back({entry.name, entry.fingerprint, entry.lobe->bytes, entry.num_slots});
  }
  return lobes;
}

}  // namespace ela
