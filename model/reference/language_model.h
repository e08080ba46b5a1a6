// ELA-GPT as differentiable functions over named tensors, in every configuration of
// docs/model.md 2. The names and shapes are those of the checkpoint, so nothing is translated on
// the way to or from a file.
#ifndef ELA_MODEL_REFERENCE_LANGUAGE_MODEL_H_
#define ELA_MODEL_REFERENCE_LANGUAGE_MODEL_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/config.h"
#include "model/reference/decoder_layer.h"
#include "model/reference/torch_headers.h"

namespace ela::reference {

struct NamedParameter {
  std::string name;
  at::Tensor value;
};

struct HiddenOutput {
  at::Tensor hidden;        // [B, L, d], what the tied embedding turns into logits
  at::Tensor balance_loss;  // scalar: sum of the layers' losses
};

// Thread-compatible. Holds references to its parameters: changing one in place changes the model.
class LanguageModel {
 public:
  // `parameters` in the order, and with the names and shapes, of ExpectedTensors(config).
  LanguageModel(const LanguageConfig& config, std::vector<NamedParameter> parameters);

  // Reads a checkpoint directory; weights widen to `dtype` (kFloat or kDouble) exactly.
  // Errors: those of LoadLanguageConfig and Weights::Load.
  static absl::StatusOr<LanguageModel> Load(const std::string& directory, at::ScalarType dtype);

  // ids: [B, L] int64, each < vocab_size. Sequences start at position 0 with an empty past.
  HiddenOutput Hidden(const at::Tensor& ids, absl::Span<const Segment> segments,
                      const ComputeOptions& options) const;
  // Logits [B, L, V]. V is large: training uses the loss of model/train, which never holds them
  // all.
  at::Tensor Logits(const at::Tensor& ids, absl::Span<const Segment> segments,
                    const ComputeOptions& options) const;

  const LanguageConfig& config() const { return config_; }
  const std::vector<NamedParameter>& parameters() const { return parameters_; }
  const at::Tensor& embedding() const { return parameters_.front().value; }  // [V, d]

 private:
  LanguageConfig config_;
  std::vector<NamedParameter> parameters_;
  std::vector<DecoderLayerWeights> layers_;
  at::Tensor final_norm_;  // undefined without final_norm
};

}  // namespace ela::reference

#endif  // ELA_MODEL_REFERENCE_LANGUAGE_MODEL_H_
