// The tensors of a checkpoint directory, checked against what config.json demands.
#ifndef ELA_MODEL_CHECKPOINT_WEIGHTS_H_
#define ELA_MODEL_CHECKPOINT_WEIGHTS_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/checkpoint/safetensors.h"
#include "model/config.h"

namespace ela {

// Immutable after Load, thread-safe. Views point into mapped files that this object keeps open.
class Weights {
 public:
  // Reads model.safetensors, or the shards that model.safetensors.index.json names. Reports every
  // problem at once: missing, unknown (but for *.rope.inv_freq), of the wrong shape or dtype,
  // holding NaN or infinity. Errors: kNotFound, kInvalidArgument, kDataLoss.
  static absl::StatusOr<Weights> Load(const std::string& directory,
                                      absl::Span<const TensorSpec> expected);

  // REQUIRES: `name` was among the expected tensors.
  const TensorView& at(const std::string& name) const;
  std::vector<float> Float(const std::string& name) const;  // a widened copy, row-major

  // SHA-256, hex: of the canonical config and all tensors (name, shape, bytes as stored), both
  // without the lobe, so that it names one base whatever lobes it is served with. A saved state of
  // another fingerprint is refused.
  std::string Fingerprint(const LanguageConfig& config) const;
  // The same of config.memory_lobe and the `*.lob.*` tensors alone; empty when there are none.
  std::string LobeFingerprint(const LanguageConfig& config) const;
  // For a model of another kind: of the canonical text of its config and all tensors.
  std::string FingerprintOf(absl::string_view config) const;

 private:
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, TensorView> tensors_;
};

}  // namespace ela

#endif  // ELA_MODEL_CHECKPOINT_WEIGHTS_H_
