#ifndef ELA_MODEL_TRAIN_CHECKPOINT_DIRECTORY_H_
#define ELA_MODEL_TRAIN_CHECKPOINT_DIRECTORY_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "model/checkpoint/safetensors.h"
#include "model/config.h"
#include "model/reference/language_model.h"

namespace ela::train {

// "f32", "bf16". Errors: kInvalidArgument naming the word.
absl::StatusOr<DType> ParseExportType(absl::string_view word);

// Writes what a server loads: config.json, model.safetensors in `dtype` (kF32 or kBF16, rounded to
// nearest even), and the tokenizer's files copied from `tokenizer_directory`. Makes `directory`
// where it is missing. Errors: kNotFound (no tokenizer), kResourceExhausted, kUnavailable.
absl::Status WriteCheckpointDirectory(const std::string& directory, const LanguageConfig& config,
                                      const std::vector<reference::NamedParameter>& parameters,
                                      DType dtype, const std::string& tokenizer_directory);

}  // namespace ela::train

#endif  // ELA_MODEL_TRAIN_CHECKPOINT_DIRECTORY_H_
