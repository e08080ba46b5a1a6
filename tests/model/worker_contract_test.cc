// The numbered rules of model/worker.h, held against the CPU worker.
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/checkpoint/safetensors.h"
#include "tests/model/worker_rig.h"

// Counts every allocation of this program, to show that a step makes none. Not inlined: the
// compiler would see malloc through new and call the pair mismatched.
static std::atomic<int64_t> allocations{0};

__attribute__((noinline)) void* operator new(size_t bytes) {
  ++allocations;
  void* memory = std::malloc(bytes == 0 ? 1 : bytes);
  if (memory == nullptr) std::abort();
  return memory;
}
__attribute__((noinline)) void operator delete(void* memory) noexcept { std::free(memory); }
__attribute__((noinline)) void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace ela {
namespace {

using ::testing::HasSubstr;
using Code = absl::StatusCode;

class WorkerContractTest : public testing::Test {
 protected:
  void SetUp() override {
    worker_ = rig_.Make();
    tokens_ = rig_.Tokens(64, 2);
    for (int32_t slot = 0; slot < 4; ++slot) ASSERT_TRUE(worker_->ResetSlot(slot, "").ok());
  }
  absl::Span<const TokenId> First(int64_t n) { return absl::MakeSpan(tokens_).subspan(0, n); }
  void ExpectBad(const StepItem& item, const std::string& sentence) {
    const StepOutput output = RunItem(worker_.get(), item);
    EXPECT_EQ(output.status.code(), Code::kInternal) << output.status;
    EXPECT_THAT(std::string(output.status.message()), HasSubstr(sentence));
  }

  WorkerRig rig_{SmallPaperConfig()};
  std::unique_ptr<Worker> worker_;
  std::vector<TokenId> tokens_;
};

TEST_F(WorkerContractTest, InfoNamesWhatTheSchedulerCountsWith) {
  const WorkerInfo& info = worker_->Info();
  EXPECT_EQ(info.model_fingerprint.size(), 64u);
  EXPECT_EQ(info.lobe_fingerprint.size(), 64u);
  EXPECT_EQ(info.numerics_id, "cpu-f32-1");
  EXPECT_EQ(info.device, "cpu");
  EXPECT_EQ(info.num_slots, 33);
  EXPECT_GT(info.state_bytes, 0);
  EXPECT_GT(info.weight_bytes, 0);
  EXPECT_EQ(info.max_step_tokens, 1024);
  EXPECT_EQ(info.max_step_items, 33);
  EXPECT_EQ(info.segment_passes, 1);
  EXPECT_EQ(info.max_segment_tokens, 0);
  EXPECT_EQ(info.steps_in_flight, 1);
}

TEST_F(WorkerContractTest, ABadItemFailsAloneAndSaysWhy) {
  ExpectBad(Absorb(33, First(1), 0), "slot is 33");
  ExpectBad(Absorb(-1, First(1), 0), "slot is -1");
  ExpectBad(Absorb(9, First(1), 0), "was not reset");
  ExpectBad(Absorb(0, First(3), 5), "first_position is 5, the slot stands at 0");
  ExpectBad(Absorb(0, {}, 0), "no tokens");
  const TokenId outside[] = {3, 67};
  ExpectBad(Absorb(0, outside, 0), "token 67");
  const std::vector<TokenId> many(1025, 1);
  ExpectBad(Absorb(0, many, 0), "1025 tokens");
  StepItem item = Absorb(0, First(3), 0);
  item.targets = First(2);
  ExpectBad(item, "2 targets stand beside 3 tokens");
  item = Absorb(0, First(3), 0);
  item.top_logprobs = 21;
  ExpectBad(item, "top_logprobs is 21");
  item = Absorb(0, First(3), 0);
  item.segment.pass = 1;
  ExpectBad(item, "pass is 1");
}

TEST_F(WorkerContractTest, TheOtherItemsOfAStepGoOnBesideABadOne) {
  const std::vector<float> alone = RunItem(worker_.get(), Absorb(1, First(5), 0)).logits;
  ASSERT_TRUE(worker_->ResetSlot(1, "").ok());
  const StepItem items[] = {Absorb(0, First(5), 77), Absorb(1, First(5), 0),
                            Absorb(1, First(5), 0)};
  worker_->Enqueue(items);
  const StepResult& result = worker_->Wait();
  ASSERT_EQ(result.num_items, 3u);
  EXPECT_EQ(result.items[0].status.code(), Code::kInternal);
  ASSERT_TRUE(result.items[1].status.ok()) << result.items[1].status;
  EXPECT_EQ(result.items[1].logits, alone);
  EXPECT_THAT(std::string(result.items[2].status.message()), HasSubstr("twice"));
}

TEST_F(WorkerContractTest, ItemsBeyondTheStepsTokensAreRefusedTheFirstOnesRun) {
  const std::vector<TokenId> many(1000, 1);
  const StepItem items[] = {Absorb(0, many, 0, OutputMode::kNone),
                            Absorb(1, First(30), 0, OutputMode::kNone),
                            Absorb(2, First(24), 0, OutputMode::kNone)};
  worker_->Enqueue(items);
  const StepResult& result = worker_->Wait();
  EXPECT_TRUE(result.items[0].status.ok());
  EXPECT_EQ(result.items[1].status.code(), Code::kInternal);
  EXPECT_TRUE(result.items[2].status.ok());
}

TEST_F(WorkerContractTest, OutputModesGiveNoLastOrEveryRow) {
  const size_t vocab = 67;
  StepItem item = Absorb(0, First(5), 0, OutputMode::kNone);
  item.logits = true;
  EXPECT_EQ(RunItem(worker_.get(), item).logits.size(), 0u);
  item = Absorb(1, First(5), 0, OutputMode::kLast);
  const std::vector<float> last = RunItem(worker_.get(), item).logits;
  item = Absorb(2, First(5), 0, OutputMode::kEvery);
  const std::vector<float> every = RunItem(worker_.get(), item).logits;
  ASSERT_EQ(last.size(), vocab);
  ASSERT_EQ(every.size(), 5 * vocab);
  EXPECT_EQ(DifferingBits(last.data(), every.data() + 4 * vocab, vocab), 0);
}

TEST_F(WorkerContractTest, TargetsTopAndRoutingAgreeWithTheLogits) {
  StepItem item = Absorb(0, First(5), 0);
  const TokenId targets[] = {4, -1, 66, 0, 13};
  item.targets = targets;
  item.top_logprobs = 3;
  item.routing = true;
  const StepOutput output = RunItem(worker_.get(), item);
  ASSERT_TRUE(output.status.ok()) << output.status;
  ASSERT_EQ(output.top.size(), 15u);
  ASSERT_EQ(output.routing.size(), 5u);
  for (int row = 0; row < 5; ++row) {
    const float* logits = output.logits.data() + row * 67;
    double sum = 0;
    for (int i = 0; i < 67; ++i) sum += std::exp(static_cast<double>(logits[i]));
    const auto logprob = [&](int token) { return logits[token] - std::log(sum); };
    if (targets[row] < 0) {
      EXPECT_EQ(output.target_logprobs[row], 0.0f);
    } else {
      EXPECT_NEAR(output.target_logprobs[row], logprob(targets[row]), 1e-5);
    }
    for (int i = 0; i < 3; ++i) {
      const TokenProbability& top = output.top[row * 3 + i];
      EXPECT_NEAR(top.logprob, logprob(top.token), 1e-5);
      if (i > 0) {
        EXPECT_GE(output.top[row * 3 + i - 1].logprob, top.logprob);
      }
    }
    const Routing& routing = output.routing[row];
    ASSERT_EQ(routing.experts.size(), 2u * 2);
    for (int layer = 0; layer < 2; ++layer) {
      EXPECT_NE(routing.experts[2 * layer], routing.experts[2 * layer + 1]);
      EXPECT_NEAR(routing.weights[2 * layer] + routing.weights[2 * layer + 1], 1.0, 1e-5);
      EXPECT_GE(routing.weights[2 * layer], routing.weights[2 * layer + 1]);
    }
  }
}

TEST_F(WorkerContractTest, TargetsAreScoredWithoutOutputRowsToo) {
  StepItem every = Absorb(0, First(6), 0);
  every.targets = absl::MakeSpan(tokens_).subspan(1, 6);
  StepItem none = every;
  none.slot = 1;
  none.output = OutputMode::kNone;
  none.logits = false;
  const StepOutput a = RunItem(worker_.get(), every), b = RunItem(worker_.get(), none);
  EXPECT_EQ(a.target_logprobs, b.target_logprobs);
  EXPECT_TRUE(b.logits.empty());
}

TEST_F(WorkerContractTest, ExpertTokensCountEveryRowAndRank) {
  const StepItem items[] = {Absorb(0, First(20), 0, OutputMode::kNone),
                            Absorb(1, First(7), 0, OutputMode::kNone)};
  worker_->Enqueue(items);
  const StepResult& result = worker_->Wait();
  ASSERT_EQ(result.expert_tokens.size(), 2u * 4);
  for (int layer = 0; layer < 2; ++layer) {
    int64_t total = 0;
    for (int e = 0; e < 4; ++e) total += result.expert_tokens[layer * 4 + e];
    EXPECT_EQ(total, 27 * 2);
  }
}

TEST_F(WorkerContractTest, ASampledTokenComesWithItsRawLogprob) {
  SamplingParams params;
  params.temperature = 0;
  StepItem item = Absorb(0, First(5), 0, OutputMode::kLast);
  item.sampling = &params;
  item.top_logprobs = 1;
  const StepOutput output = RunItem(worker_.get(), item);
  EXPECT_EQ(output.sampled, output.top[0].token);
  EXPECT_EQ(output.sampled_logprob, output.top[0].logprob);
}

TEST_F(WorkerContractTest, AMaskThatAllowsNothingIsAnErrorOfTheItem) {
  SamplingParams params;
  const std::vector<uint32_t> nothing(3, 0);
  StepItem item = Absorb(0, First(5), 0, OutputMode::kLast);
  item.sampling = &params;
  item.allowed_tokens = nothing;
  ExpectBad(item, "allows no token");
  ExpectBad(Absorb(0, First(1), 5), "was not reset");
}

// Rule 8: the host does not know that token yet, so it cannot be among the recent ones.
TEST_F(WorkerContractTest, ATokenAbsorbedUnseenIsPenalisedLikeOneThatWasGiven) {
  SamplingParams params;
  params.temperature = 0;
  params.presence_penalty = -10;  // whatever was said last is said again
  StepItem first = Absorb(0, First(5), 0, OutputMode::kLast);
  first.sampling = &params;
  const TokenId sampled = RunItem(worker_.get(), first).sampled;
  StepItem unseen = Absorb(0, {}, 5, OutputMode::kLast);
  unseen.sampling = &params;
  EXPECT_EQ(RunItem(worker_.get(), unseen).sampled, sampled);
}

TEST_F(WorkerContractTest, DraftsChangeNothing) {
  SamplingParams params;
  params.temperature = 0;
  StepItem plain = Absorb(0, First(5), 0, OutputMode::kLast), drafted = plain;
  plain.sampling = drafted.sampling = &params;
  drafted.slot = 1;
  drafted.drafts = First(4);
  const StepOutput a = RunItem(worker_.get(), plain), b = RunItem(worker_.get(), drafted);
  EXPECT_EQ(a.sampled, b.sampled);
  EXPECT_TRUE(b.accepted_drafts.empty());
}

// Prefill chunks beside decode tokens, sampled, scored and with logits; threads too.
TEST_F(WorkerContractTest, AStepAllocatesNothingOnceItsOutputsHaveGrown) {
  rig_.options().num_threads = 2;
  auto worker = rig_.Make();
  SamplingParams params;
  params.top_p = 0.9f;
  params.presence_penalty = 0.5f;
  for (int32_t slot = 0; slot < 4; ++slot) ASSERT_TRUE(worker->ResetSlot(slot, "").ok());
  int64_t before = 0;
  for (int64_t step = 0; step < 20; ++step) {
    StepItem items[4];
    for (int32_t slot = 0; slot < 4; ++slot) {
      const int64_t n = slot == 0 ? 20 : 1;
      items[slot] =
          Absorb(slot, First(n), step * n, slot == 1 ? OutputMode::kEvery : OutputMode::kLast);
      items[slot].sampling = &params;
      items[slot].recent_tokens = First(30);
      items[slot].top_logprobs = 5;
      items[slot].routing = slot == 2;
      if (slot == 0) items[slot].targets = First(n);
    }
    if (step == 2) before = allocations.load();
    worker->Enqueue(items);
    StepResult& result = worker->Wait();
    for (size_t i = 0; i < result.num_items; ++i) ASSERT_TRUE(result.items[i].status.ok());
  }
  EXPECT_EQ(allocations.load() - before, 0);
}

TEST_F(WorkerContractTest, SlotsThatHoldNothingCannotBeCopiedSavedOrRewound) {
  std::string blob;
  std::vector<char> snapshot(worker_->Info().state_bytes);
  EXPECT_EQ(worker_->BeginCopyOut(9, absl::MakeSpan(snapshot)).code(), Code::kInternal);
  EXPECT_EQ(worker_->CopySlot(9, 0).code(), Code::kInternal);
  EXPECT_EQ(worker_->BeginSave(9, &blob).code(), Code::kInternal);
  EXPECT_EQ(worker_->RewindSlot(9, 0).code(), Code::kInternal);
  EXPECT_EQ(worker_->ResetSlot(40, "").code(), Code::kInternal);
}

// At an end within a block, with a sampled token that only the slot knows.
TEST_F(WorkerContractTest, ASnapshotCopiedInContinuesAsTheSlotThatWasCopiedOut) {
  SamplingParams params;
  params.temperature = 0;
  StepItem prompt = Absorb(0, First(37), 0, OutputMode::kLast);
  prompt.sampling = &params;
  ASSERT_TRUE(RunItem(worker_.get(), prompt).status.ok());
  std::vector<char> snapshot(worker_->Info().state_bytes);
  ASSERT_TRUE(worker_->BeginCopyOut(0, absl::MakeSpan(snapshot)).ok());
  ASSERT_TRUE(*worker_->PollTransfer(0));
  const std::vector<float> want = RunItem(worker_.get(), Absorb(0, {}, 37)).logits;
  for (const int32_t slot : {0, 3, 20}) {  // its own, one in use, one that was never reset
    ASSERT_TRUE(worker_->BeginCopyIn(slot, snapshot).ok());
    ASSERT_TRUE(*worker_->PollTransfer(slot));
    const StepOutput output = RunItem(worker_.get(), Absorb(slot, {}, 37));
    ASSERT_TRUE(output.status.ok()) << output.status;
    EXPECT_EQ(DifferingBits(output.logits.data(), want.data(), 67), 0) << "slot " << slot;
  }
}

TEST_F(WorkerContractTest, ASnapshotOfAnotherSizeOrWorkerIsRefusedAndChangesNothing) {
  std::vector<char> snapshot(worker_->Info().state_bytes), small(snapshot.size() - 1);
  EXPECT_EQ(worker_->BeginCopyOut(0, absl::MakeSpan(small)).code(), Code::kInternal);
  EXPECT_EQ(worker_->BeginCopyIn(0, small).code(), Code::kInternal);
  EXPECT_EQ(worker_->BeginCopyIn(33, snapshot).code(), Code::kInternal);
  auto other = rig_.Make();
  ASSERT_TRUE(other->ResetSlot(0, "").ok());
  ASSERT_TRUE(other->BeginCopyOut(0, absl::MakeSpan(snapshot)).ok());
  const absl::Status status = worker_->BeginCopyIn(0, snapshot);
  EXPECT_EQ(status.code(), Code::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("no snapshot of this worker"));
  EXPECT_TRUE(RunItem(worker_.get(), Absorb(0, First(5), 0)).status.ok());
}

TEST(StepOutputTest, ClearForgetsWhatCameOutAndKeepsItsMemory) {
  StepOutput output;
  output.status = absl::DataLossError("NaN");
  output.sampled = 3;
  output.sampled_logprob = -1;
  output.accepted_drafts = {1};
  output.target_logprobs = {-1};
  output.logits = {1, 2};
  output.top = {{1, -1}};
  output.Clear();
  EXPECT_TRUE(output.status.ok());
  EXPECT_EQ(output.sampled, -1);
  EXPECT_EQ(output.sampled_logprob, 0);
  EXPECT_EQ(output.accepted_drafts.size() + output.target_logprobs.size() + output.logits.size() +
                output.top.size(),
            0u);
  EXPECT_GE(output.logits.capacity(), 2u);
}

TEST_F(WorkerContractTest, AnUnknownLobeIsNotFound) {
  const absl::Status status = worker_->ResetSlot(0, "poetry");
  EXPECT_EQ(status.code(), Code::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("poetry"));
}

// Weights so large that the products overflow: infinity minus infinity in the logits.
TEST(WorkerFailureTest, LogitsThatAreNotFiniteFailTheirItemAlone) {
  LanguageConfig config = SmallPaperConfig();
  TemporaryDirectory directory;
  WriteRandomCheckpoint(config, 1, directory.path());
  auto file = *SafetensorsFile::Open(directory / "model.safetensors");
  std::vector<NamedTensor> tensors;
  std::vector<float> embedding;
  for (const auto& [name, view] : file->tensors()) tensors.push_back({name, view});
  for (NamedTensor& tensor : tensors) {
    if (tensor.name != "token_embed.weight") continue;
    embedding.resize(tensor.view.num_elements());
    ConvertToFloat(tensor.view, embedding.data());
    for (int64_t i = 0; i < config.hidden_size; ++i) embedding[5 * config.hidden_size + i] = 3e38f;
    tensor.view.data = embedding.data();
  }
  TemporaryDirectory poisoned;
  ASSERT_TRUE(WriteSafetensors(poisoned / "model.safetensors", tensors).ok());
  poisoned.Write("config.json", ToJson(config));
  LanguageWorkerOptions options;
  options.directory = poisoned.path();
  options.num_slots = 2;
  options.num_threads = 1;
  auto worker = *CreateLanguageWorker(options);
  ASSERT_TRUE(worker->ResetSlot(0, "").ok());
  ASSERT_TRUE(worker->ResetSlot(1, "").ok());
  const TokenId poison[] = {5, 5}, harmless[] = {1, 2};
  // Token 5 overflows as a row of the head for every sequence: absorb without outputs beside it.
  const StepItem items[] = {Absorb(0, poison, 0), Absorb(1, harmless, 0, OutputMode::kNone)};
  worker->Enqueue(items);
  const StepResult& result = worker->Wait();
  EXPECT_EQ(result.items[0].status.code(), Code::kDataLoss) << result.items[0].status;
  EXPECT_THAT(std::string(result.items[0].status.message()), HasSubstr("position"));
  EXPECT_TRUE(result.items[1].status.ok());
  EXPECT_EQ(RunItem(worker.get(), Absorb(0, harmless, 2)).status.code(), Code::kInternal);
  EXPECT_TRUE(worker->ResetSlot(0, "").ok());
  EXPECT_TRUE(RunItem(worker.get(), Absorb(0, harmless, 0, OutputMode::kNone)).status.ok());
}

TEST(WorkerFactoryTest, BadOptionsAndMissingFilesAreNamed) {
  LanguageWorkerOptions options;
  options.directory = "/nonexistent/model";
  EXPECT_EQ(CreateLanguageWorker(options).status().code(), Code::kNotFound);
  options.kernels = "abacus";
  EXPECT_THAT(std::string(CreateLanguageWorker(options).status().message()), HasSubstr("abacus"));
  options.kernels.clear();
  options.num_slots = 0;
  EXPECT_EQ(CreateLanguageWorker(options).status().code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace ela
