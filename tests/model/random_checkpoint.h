// Checkpoint directories with random weights, for tests and benchmarks that need a model of some
// shape and not a trained one.
#ifndef ELA_TESTS_MODEL_RANDOM_CHECKPOINT_H_
#define ELA_TESTS_MODEL_RANDOM_CHECKPOINT_H_

#include <cstdint>
#include <string>

#include "model/checkpoint/safetensors.h"
#include "model/config.h"

namespace ela {

// The paper's structure (Hyper-Link, causal lobe of one head), as small as tests like it.
LanguageConfig SmallPaperConfig();
// All extensions of docs/model.md 2, lobe of two heads. Decay only with hadamard_exp.
LanguageConfig SmallExtendedConfig(AttentionKernel kernel);
// V=6400, d=256, 4 layers, 4 heads, 4 experts of which 2: 6,624,272 parameters.
LanguageConfig PaperConfig();

// Writes config.json and model.safetensors (normal-like values of a size that keeps
// activations near 1) into `directory`, which exists. The same seed writes the same bytes.
// dtype: kF32 or kBF16.
void WriteRandomCheckpoint(const LanguageConfig& config, uint32_t seed,
                           const std::string& directory, DType dtype = DType::kF32);

// A lobe in a directory of its own: config.json for the base of that fingerprint, and random `lob`
// tensors. base: a model's config, whose own lobe does not matter.
void WriteRandomLobe(const LanguageConfig& base, const std::string& base_fingerprint,
                     const LobeConfig& lobe, uint32_t seed, const std::string& directory);

// Writes the model of `base` with the lobe of `lobe` in the place of its own into `directory`.
void WriteModelWithLobe(const std::string& base, const std::string& lobe,
                        const std::string& directory);

}  // namespace ela

#endif  // ELA_TESTS_MODEL_RANDOM_CHECKPOINT_H_
