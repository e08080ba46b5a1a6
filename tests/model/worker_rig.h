// A language worker over a random checkpoint, and the few calls that its tests make all the time.
#ifndef ELA_TESTS_MODEL_WORKER_RIG_H_
#define ELA_TESTS_MODEL_WORKER_RIG_H_

#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "model/language/worker_factory.h"
#include "tests/model/random_checkpoint.h"
#include "tests/model/temporary_directory.h"

namespace ela {

class WorkerRig {
 public:
  explicit WorkerRig(const LanguageConfig& config, uint32_t seed = 1, DType dtype = DType::kF32)
      : config_(config) {
    WriteRandomCheckpoint(config, seed, directory_.path(), dtype);
    options_.directory = directory_.path();
    options_.num_slots = 33;
    options_.max_step_tokens = 1024;
    options_.num_threads = 1;
  }

  LanguageWorkerOptions& options() { return options_; }
  const LanguageConfig& config() const { return config_; }

  std::unique_ptr<Worker> Make() const {
    auto worker = CreateLanguageWorker(options_);
    EXPECT_TRUE(worker.ok()) << worker.status();
    return worker.ok() ? *std::move(worker) : nullptr;
  }

  // Tokens that any seed fixes.
  std::vector<TokenId> Tokens(int64_t n, uint32_t seed) const {
    std::mt19937 bits(seed);
    std::vector<TokenId> tokens(n);
    for (TokenId& token : tokens) token = static_cast<TokenId>(bits() % config_.vocab_size);
    return tokens;
  }

 private:
  const LanguageConfig config_;
  TemporaryDirectory directory_;
  LanguageWorkerOptions options_;
};

// One item alone in a step.
inline StepOutput RunItem(Worker* worker, const StepItem& item) {
  worker->Enqueue({&item, 1});
  return worker->Wait().items[0];
}

inline StepItem Absorb(int32_t slot, absl::Span<const TokenId> tokens, int64_t position,
                       OutputMode output = OutputMode::kEvery) {
  StepItem item;
  item.slot = slot;
  item.tokens = tokens;
  item.first_position = position;
  item.output = output;
  item.logits = output != OutputMode::kNone;
  return item;
}

// How many of two rows' numbers differ in any bit.
inline int64_t DifferingBits(const float* a, const float* b, int64_t n) {
  int64_t differing = 0;
  for (int64_t i = 0; i < n; ++i) differing += std::memcmp(a + i, b + i, sizeof(float)) != 0;
  return differing;
}

}  // namespace ela

#endif  // ELA_TESTS_MODEL_WORKER_RIG_H_
