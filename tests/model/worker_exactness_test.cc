// Exactness: a sequence's logits and tokens are the same bits however its tokens are cut into
// chunks, whoever shares the step, and whatever happens to its slot in between. The truth is one
// token at a time, alone, on one thread.
#include <algorithm>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "gtest/gtest.h"
#include "model/config.h"
#include "tests/model/worker_rig.h"

namespace ela {
namespace {

constexpr int64_t kLength = 545;  // a whole chunk of 512, and an end within a block

struct Truth {
  std::vector<float> logits;     // [kLength, V]
  std::vector<TokenId> sampled;  // after each position
};

SamplingParams Sampling() {
  SamplingParams params;
  params.temperature = 0.9f;
  params.top_k = 20;
  params.top_p = 0.95f;
  params.seed = 42;
  return params;
}

class WorkerExactnessTest
    : public testing::TestWithParam<std::tuple<std::string, AttentionKernel>> {
 protected:
  static LanguageConfig Config() {
    const auto& [structure, kernel] = GetParam();
    if (structure == "extended") return SmallExtendedConfig(kernel);
    LanguageConfig config = SmallPaperConfig();
    config.attention_kernel = kernel;
    config.memory_lobe->kernel = kernel;                          // a lobe of every kernel
    if (structure == "large_exponents") config.qk_scale = 30.0f;  // direct keys
    return config;
  }

  WorkerExactnessTest() : rig_(Config()), tokens_(rig_.Tokens(kLength, 7)) {
    auto worker = rig_.Make();
    EXPECT_TRUE(worker->ResetSlot(0, "").ok());
    const int64_t vocab = rig_.config().vocab_size;
    for (int64_t p = 0; p < kLength; ++p) {
      StepItem item = Absorb(0, {&tokens_[p], 1}, p);
      item.sampling = &sampling_;
      const StepOutput output = RunItem(worker.get(), item);
      EXPECT_TRUE(output.status.ok()) << output.status;
      truth_.logits.insert(truth_.logits.end(), output.logits.begin(),
                           output.logits.begin() + vocab);
      truth_.sampled.push_back(output.sampled);
    }
  }

  // Compares the outputs of tokens [position, position + n).
  void Compare(const StepOutput& output, int64_t position, int64_t n) {
    const int64_t vocab = rig_.config().vocab_size;
    ASSERT_TRUE(output.status.ok()) << output.status;
    ASSERT_EQ(static_cast<int64_t>(output.logits.size()), n * vocab);
    differing_ +=
        DifferingBits(output.logits.data(), truth_.logits.data() + position * vocab, n * vocab);
    differing_ += output.sampled != truth_.sampled[position + n - 1];
  }

  // Runs the sequence in `chunk`s in slot 0, beside batch - 1 others that move at their own pace.
  void RunBeside(Worker* worker, int64_t chunk, int batch) {
    std::mt19937 bits(static_cast<uint32_t>(chunk * 100 + batch));
    const std::vector<TokenId> other = rig_.Tokens(kLength, 8);
    std::vector<int64_t> positions(batch);
    for (int slot = 0; slot < batch; ++slot) ASSERT_TRUE(worker->ResetSlot(slot, "").ok());
    std::vector<StepItem> items;
    while (positions[0] < kLength) {
      items.clear();
      const int64_t n = std::min(chunk, kLength - positions[0]);
      const size_t place = bits() % batch;
      for (int slot = 1; slot < batch; ++slot) {
        const int64_t m = std::min<int64_t>(1 + bits() % 5, kLength - positions[slot]);
        if (m == 0) continue;
        items.push_back(Absorb(slot, absl::MakeSpan(other).subspan(positions[slot], m),
                               positions[slot], OutputMode::kNone));
        positions[slot] += m;
      }
      StepItem item = Absorb(0, absl::MakeSpan(tokens_).subspan(positions[0], n), positions[0]);
      item.sampling = &sampling_;
      const size_t at = std::min(place, items.size());
      items.insert(items.begin() + at, item);
      worker->Enqueue(items);
      ASSERT_NO_FATAL_FAILURE(Compare(worker->Wait().items[at], positions[0], n));
      positions[0] += n;
    }
  }

  WorkerRig rig_;
  const SamplingParams sampling_ = Sampling();
  const std::vector<TokenId> tokens_;
  Truth truth_;
  int64_t differing_ = 0;
};

TEST_P(WorkerExactnessTest, NoChunkSizeAndNoBatchChangesABit) {
  auto worker = rig_.Make();
  // The sanitizers, ten times slower, look at memory and threads: a part of it shows them all.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  const std::vector<int64_t> chunks = {7, 512};
  const std::vector<int> batches = {1, 8};
#else
  const std::vector<int64_t> chunks = {1, 7, 16, 64, 512, kLength};
  const std::vector<int> batches = {1, 2, 8, 32};
#endif
  for (const int64_t chunk : chunks) {
    for (const int batch : batches) {
      ASSERT_NO_FATAL_FAILURE(RunBeside(worker.get(), chunk, batch));
      EXPECT_EQ(differing_, 0) << "chunk " << chunk << ", batch " << batch;
    }
  }
}

TEST_P(WorkerExactnessTest, NoNumberOfThreadsChangesABit) {
  rig_.options().num_threads = 3;
  auto worker = rig_.Make();
  for (int64_t chunk : {int64_t{7}, kLength}) {
    ASSERT_NO_FATAL_FAILURE(RunBeside(worker.get(), chunk, 5));
    EXPECT_EQ(differing_, 0) << "chunk " << chunk;
  }
}

TEST_P(WorkerExactnessTest, TheReferenceKernelsGiveTheSameBits) {
  rig_.options().kernels = "reference";
  auto worker = rig_.Make();
  ASSERT_NO_FATAL_FAILURE(RunBeside(worker.get(), 64, 2));
  EXPECT_EQ(differing_, 0);
}

// Slots 0 and 1 take turns; between chunks the state is saved and loaded, copied, or rewound.
TEST_P(WorkerExactnessTest, SaveLoadCopyAndRewindChangeNoBit) {
  auto worker = rig_.Make();
  std::mt19937 bits(11);
  for (int round = 0; round < 4; ++round) {
    int32_t slot = 0;
    int64_t position = 0;
    ASSERT_TRUE(worker->ResetSlot(slot, "").ok());
    while (position < kLength) {
      const int64_t n = std::min<int64_t>(1 + bits() % 40, kLength - position);
      StepItem item = Absorb(slot, absl::MakeSpan(tokens_).subspan(position, n), position);
      item.sampling = &sampling_;
      ASSERT_NO_FATAL_FAILURE(Compare(RunItem(worker.get(), item), position, n));
      position += n;
      switch (bits() % 4) {
        case 0: {
          std::string blob, again;
          ASSERT_TRUE(worker->BeginSave(slot, &blob).ok());
          ASSERT_TRUE(worker->ResetSlot(slot, "").ok());
          slot = 1 - slot;
          const absl::Status loaded = worker->BeginLoad(slot, blob);
          ASSERT_TRUE(loaded.ok()) << loaded;
          ASSERT_TRUE(worker->BeginSave(slot, &again).ok());
          EXPECT_TRUE(blob == again) << "a loaded state saves to other bytes";
          break;
        }
        case 1:
          ASSERT_TRUE(worker->CopySlot(slot, 1 - slot).ok());
          slot = 1 - slot;
          break;
        case 2: {
          const int64_t lowest = position / 16 * 16;
          const int64_t back = lowest + bits() % (position - lowest + 1);
          ASSERT_TRUE(worker->RewindSlot(slot, back).ok());
          position = back;
          break;
        }
        default:
          break;
      }
      EXPECT_EQ(differing_, 0) << "round " << round << ", position " << position;
    }
  }
}

TEST_P(WorkerExactnessTest, ATokenSampledInTheSlotIsAbsorbedAsIfItWereGiven) {
  auto worker = rig_.Make();
  ASSERT_TRUE(worker->ResetSlot(0, "").ok());
  ASSERT_TRUE(worker->ResetSlot(1, "").ok());
  StepItem first = Absorb(0, absl::MakeSpan(tokens_).subspan(0, 20), 0, OutputMode::kLast);
  first.sampling = &sampling_;
  StepItem second = first;
  second.slot = 1;
  const TokenId sampled = RunItem(worker.get(), first).sampled;
  ASSERT_EQ(RunItem(worker.get(), second).sampled, sampled);
  const StepOutput implicit = RunItem(worker.get(), Absorb(0, {}, 20));
  const StepOutput given = RunItem(worker.get(), Absorb(1, {&sampled, 1}, 20));
  ASSERT_TRUE(implicit.status.ok()) << implicit.status;
  EXPECT_EQ(DifferingBits(implicit.logits.data(), given.logits.data(), rig_.config().vocab_size),
            0);
}

// The paper's widths: a lobe of four column blocks, weights in bfloat16 and in float32.
TEST(WorkerWidthTest, ThePapersWidthsAreExactToo) {
  LanguageConfig config = PaperConfig();
  config.vocab_size = 100;
  config.num_hidden_layers = 1;
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    WorkerRig rig(config, 1, dtype);
    auto worker = rig.Make();
    const std::vector<TokenId> tokens = rig.Tokens(75, 5);
    std::vector<float> truth;
    ASSERT_TRUE(worker->ResetSlot(0, "").ok());
    for (int64_t p = 0; p < 75; ++p) {
      const StepOutput output = RunItem(worker.get(), Absorb(0, {&tokens[p], 1}, p));
      ASSERT_TRUE(output.status.ok()) << output.status;
      truth.insert(truth.end(), output.logits.begin(), output.logits.end());
    }
    for (const int64_t chunk : {7, 16, 75}) {
      ASSERT_TRUE(worker->ResetSlot(1, "").ok());
      for (int64_t p = 0; p < 75; p += chunk) {
        const int64_t n = std::min<int64_t>(chunk, 75 - p);
        const StepOutput output =
            RunItem(worker.get(), Absorb(1, absl::MakeSpan(tokens).subspan(p, n), p));
        EXPECT_EQ(DifferingBits(output.logits.data(), &truth[p * 100], n * 100), 0)
            << "chunk " << chunk << ", position " << p;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Structures, WorkerExactnessTest,
    testing::Combine(testing::Values("paper", "extended", "large_exponents"),
                     testing::Values(AttentionKernel::kHadamardExp, AttentionKernel::kSumSq,
                                     AttentionKernel::kSubSq, AttentionKernel::kDirMag)),
    [](const auto& info) {
      return std::get<0>(info.param) + "_" + std::string(Name(std::get<1>(info.param)));
    });

}  // namespace
}  // namespace ela
