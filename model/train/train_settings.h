#ifndef ELA_MODEL_TRAIN_TRAIN_SETTINGS_H_
#define ELA_MODEL_TRAIN_TRAIN_SETTINGS_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "model/config.h"
#include "model/train/optimizer.h"

namespace ela::train {

// Everything that decides which weights a run arrives at. Where it reads, writes and reports is
// RunOptions.
struct TrainSettings {
  LanguageConfig model;
  OptimizerOptions optimizer;
  int64_t num_steps = 1000;
  int64_t context = 512;         // tokens per sequence
  int64_t batch = 8;             // sequences per step
  double balance_weight = 0.01;  // of the load-balancing loss, summed over layers (docs/model.md 2)
  // Operands of the large products. Off: without AMX they take twice as long as float32 (measured,
  // oneDNN 3.10 on an AVX512-BF16 processor: 35 to 75 GFLOP/s against 70 to 130 on one thread).
  bool bfloat16 = false;
  uint64_t seed = 1;
  int num_threads = 2;  // part of the settings: another number sums in another order
};

// Errors: kInvalidArgument naming each value that is out of range.
absl::Status Check(const TrainSettings& settings);

// One JSON object; equal settings give equal text.
std::string ToJson(const TrainSettings& settings);

// OK when both texts of ToJson agree, else kFailedPrecondition listing every key that differs with
// both values: a run resumes under the settings it began with, or not at all.
absl::Status CheckSameSettings(const std::string& saved, const std::string& now);

}  // namespace ela::train

#endif  // ELA_MODEL_TRAIN_TRAIN_SETTINGS_H_
