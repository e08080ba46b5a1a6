// The lobes that slots can be reset to: the model's own, and those that were plugged in by name. A
// removed lobe has no name any more, and lives as long as a slot holds a state under it.
#ifndef ELA_MODEL_LANGUAGE_LOBE_TABLE_H_
#define ELA_MODEL_LANGUAGE_LOBE_TABLE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/language/lobe.h"
#include "model/worker.h"

namespace ela {

// Engine thread only. A lobe has a number, which is never given twice: the model's own, which may
// be none, is 0.
class LobeTable {
 public:
  // All slots begin with the model's own.
  LobeTable(std::unique_ptr<const Lobe> own, int32_t num_slots);

  // Null: no lobe. Borrowed while a slot holds the number, or the lobe has a name.
  const Lobe* lobe(int32_t number) const { return entries_[number].lobe.get(); }

  // Empty name: the model's own. Errors: kNotFound.
  absl::StatusOr<int32_t> Find(const std::string& name) const;
  // The lobe of that fingerprint which can be asked for; empty: a model without one. Errors:
  // kFailedPrecondition.
  absl::StatusOr<int32_t> FindFingerprint(const std::string& fingerprint) const;
  // The lobe under which a state of lobe `number` goes on in another slot: itself, or if it was
  // removed its equal by fingerprint. Errors: kFailedPrecondition.
  absl::StatusOr<int32_t> Successor(int32_t number) const;
  const std::string& fingerprint(int32_t number) const { return entries_[number].fingerprint; }

  // Errors: kInvalidArgument (an empty name), kAlreadyExists.
  absl::Status Add(const std::string& name, std::unique_ptr<const Lobe> lobe);
  // Errors: kNotFound.
  absl::Status Remove(const std::string& name);
  std::vector<LobeInfo> List() const;

  // A slot takes a state under `number`, or gives one up.
  void Hold(int32_t number) { ++entries_[number].num_slots; }
  void Release(int32_t number);

 private:
  struct Entry {
    std::string name;  // empty: the model's own, or removed
    std::string fingerprint;
    std::unique_ptr<const Lobe> lobe;
    int32_t num_slots = 0;
  };
  bool known(int32_t number) const { return number == 0 || !entries_[number].name.empty(); }

  std::vector<Entry> entries_;  // by number
};

}  // namespace ela

#endif  // ELA_MODEL_LANGUAGE_LOBE_TABLE_H_
