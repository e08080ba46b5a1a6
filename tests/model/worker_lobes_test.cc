// Pluggable lobes: several over one base in one worker, chosen slot by slot, loaded and unloaded
// while others go on. The truth is a model that has the lobe as its own.
#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/model/worker_rig.h"

namespace ela {
namespace {

using ::testing::HasSubstr;
using Code = absl::StatusCode;

// A base on disk, lobes beside it, and models that have these lobes as their own.
class LobeRig {
 public:
  explicit LobeRig(const LanguageConfig& config) : config_(config) {
    WriteRandomCheckpoint(config, 1, base_.path());
    options_.directory = base_.path();
    options_.num_slots = 8;
    options_.max_step_tokens = 256;
    options_.num_threads = 1;
    fingerprint_ = Make()->Info().model_fingerprint;
  }

  LanguageWorkerOptions& options() { return options_; }
  const std::string& fingerprint() const { return fingerprint_; }
  const LanguageConfig& config() const { return config_; }

  std::unique_ptr<Worker> Make() const {
    auto worker = CreateLanguageWorker(options_);
    EXPECT_TRUE(worker.ok()) << worker.status();
    return *std::move(worker);
  }

  std::string Lobe(const LobeConfig& lobe, uint32_t seed) {
    directories_.push_back(std::make_unique<TemporaryDirectory>());
    WriteRandomLobe(config_, fingerprint_, lobe, seed, directories_.back()->path());
    return directories_.back()->path();
  }

  // A worker whose own lobe is that of `lobe`.
  std::unique_ptr<Worker> MakeWith(const std::string& lobe) {
    directories_.push_back(std::make_unique<TemporaryDirectory>());
    WriteModelWithLobe(base_.path(), lobe, directories_.back()->path());
    LanguageWorkerOptions options = options_;
    options.directory = directories_.back()->path();
    options.lobes.clear();
    return *CreateLanguageWorker(options);
  }

 private:
  const LanguageConfig config_;
  TemporaryDirectory base_;
  std::vector<std::unique_ptr<TemporaryDirectory>> directories_;
  LanguageWorkerOptions options_;
  std::string fingerprint_;
};

LobeConfig Causal(int heads, AttentionKernel kernel = AttentionKernel::kHadamardExp) {
  return {LobeMode::kCausal, heads, kernel};
}

absl::Status Plug(Worker* worker, const std::string& name, const std::string& directory) {
  auto loaded = worker->LoadLobe(directory);
  if (!loaded.ok()) return loaded.status();
  return worker->AddLobe(name, *std::move(loaded));
}

std::vector<TokenId> SomeTokens(int64_t n) {
  std::vector<TokenId> tokens(n);
  for (int64_t i = 0; i < n; ++i) tokens[i] = static_cast<TokenId>(i * i * 7 % 67);
  return tokens;
}

// Logits of a prompt segment of 45 tokens and 20 generated ones behind it.
std::vector<float> Run(Worker* worker, int32_t slot) {
  static const std::vector<TokenId> tokens = SomeTokens(65);
  std::vector<float> logits;
  const int32_t passes = worker->Info().segment_passes;
  for (int32_t pass = 0; pass <= passes; ++pass) {
    StepItem item = pass < passes ? Absorb(slot, absl::MakeSpan(tokens).subspan(0, 45), 0)
                                  : Absorb(slot, absl::MakeSpan(tokens).subspan(45), 45);
    item.segment = pass < passes ? Segment{SegmentKind::kPrompt, 0, 45, pass}
                                 : Segment{SegmentKind::kGenerated, 45, 0, 0};
    if (pass + 1 < passes) item.output = OutputMode::kNone;
    const StepOutput output = RunItem(worker, item);
    EXPECT_TRUE(output.status.ok()) << output.status;
    logits.insert(logits.end(), output.logits.begin(), output.logits.end());
  }
  return logits;
}

std::vector<float> RunUnder(Worker* worker, int32_t slot, const std::string& lobe) {
  const absl::Status reset = worker->ResetSlot(slot, lobe);
  EXPECT_TRUE(reset.ok()) << reset;
  return Run(worker, slot);
}

StepOutput Next(Worker* worker, int32_t slot) {
  static const TokenId token = 5;
  StepItem item = Absorb(slot, {&token, 1}, 65);
  item.segment = {SegmentKind::kGenerated, 45, 0, 0};
  return RunItem(worker, item);
}

class PluggedLobeTest : public testing::TestWithParam<std::tuple<int, AttentionKernel>> {};

// Over a base with a lobe of its own and over one without.
TEST_P(PluggedLobeTest, APluggedLobeIsTheLobeAsTheModelsOwn) {
  const auto& [heads, kernel] = GetParam();
  for (const bool own : {true, false}) {
    LanguageConfig config = SmallExtendedConfig(AttentionKernel::kHadamardExp);
    if (!own) config.memory_lobe.reset();
    LobeRig rig(config);
    rig.options().any_lobe = true;
    auto worker = rig.Make();
    const std::string directory = rig.Lobe(Causal(heads, kernel), 2);
    const absl::Status plugged = Plug(worker.get(), "poetry", directory);
    ASSERT_TRUE(plugged.ok()) << plugged;
    auto truth = rig.MakeWith(directory);
    EXPECT_EQ(RunUnder(worker.get(), 0, "poetry"), RunUnder(truth.get(), 0, ""));
    EXPECT_NE(RunUnder(worker.get(), 1, ""), RunUnder(worker.get(), 0, "poetry"));
    // The same state, byte for byte, and each goes on with the other's.
    std::string blob, want;
    ASSERT_TRUE(worker->BeginSave(0, &blob).ok());
    ASSERT_TRUE(truth->BeginSave(0, &want).ok());
    EXPECT_TRUE(blob == want);
    ASSERT_TRUE(worker->BeginLoad(2, want).ok());
    EXPECT_EQ(Next(worker.get(), 2).logits, Next(truth.get(), 0).logits);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, PluggedLobeTest,
    testing::Combine(testing::Values(1, 2),
                     testing::Values(AttentionKernel::kHadamardExp, AttentionKernel::kSumSq,
                                     AttentionKernel::kSubSq, AttentionKernel::kDirMag)),
    [](const auto& info) {
      return std::to_string(std::get<0>(info.param)) + "_" +
             std::string(Name(std::get<1>(info.param)));
    });

class LobesTest : public testing::Test {
 protected:
  LobesTest() : rig_(SmallPaperConfig()) {
    rig_.options().any_lobe = true;
    first_ = rig_.Lobe(Causal(1), 2);
    second_ = rig_.Lobe(Causal(2, AttentionKernel::kSumSq), 3);
    worker_ = rig_.Make();
  }
  void Expect(const absl::Status& status, Code code, const std::string& sentence) {
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(sentence));
  }

  LobeRig rig_;
  std::string first_, second_;
  std::unique_ptr<Worker> worker_;
};

TEST_F(LobesTest, SlotsOfAllLobesShareAStepAndKeepTheirBits) {
  ASSERT_TRUE(Plug(worker_.get(), "first", first_).ok());
  ASSERT_TRUE(Plug(worker_.get(), "second", second_).ok());
  const std::string names[] = {"second", "", "first", "second", "first", ""};
  const std::vector<TokenId> tokens = SomeTokens(65);
  std::vector<std::vector<float>> want;
  for (const std::string& name : names) want.push_back(RunUnder(worker_.get(), 7, name));
  std::vector<std::vector<float>> got(6);
  for (int32_t slot = 0; slot < 6; ++slot) {
    ASSERT_TRUE(worker_->ResetSlot(slot, names[slot]).ok());
  }
  for (int64_t p = 0; p < 65; p += 13) {
    std::vector<StepItem> items;
    for (int32_t slot = 0; slot < 6; ++slot) {
      items.push_back(Absorb(slot, absl::MakeSpan(tokens).subspan(p, 13), p));
    }
    worker_->Enqueue(items);
    const StepResult& result = worker_->Wait();
    for (int32_t slot = 0; slot < 6; ++slot) {
      const std::vector<float>& logits = result.items[slot].logits;
      got[slot].insert(got[slot].end(), logits.begin(), logits.end());
    }
  }
  for (int32_t slot = 0; slot < 6; ++slot) EXPECT_EQ(got[slot], want[slot]) << "slot " << slot;
}

TEST_F(LobesTest, ARemovedLobeServesItsSlotsToTheEndAndThenIsGone) {
  ASSERT_TRUE(Plug(worker_.get(), "poetry", first_).ok());
  RunUnder(worker_.get(), 0, "poetry");
  RunUnder(worker_.get(), 1, "poetry");
  const std::vector<float> want = Next(worker_.get(), 0).logits;
  ASSERT_EQ(worker_->Lobes().size(), 1u);
  EXPECT_EQ(worker_->Lobes()[0].name, "poetry");
  EXPECT_EQ(worker_->Lobes()[0].num_slots, 2);
  EXPECT_GT(worker_->Lobes()[0].weight_bytes, 0);
  EXPECT_EQ(worker_->Lobes()[0].fingerprint.size(), 64u);

  ASSERT_TRUE(worker_->RemoveLobe("poetry").ok());
  Expect(worker_->ResetSlot(2, "poetry"), Code::kNotFound, "\"poetry\" is not loaded");
  ASSERT_TRUE(Plug(worker_.get(), "poetry", second_).ok());  // the name is free for another
  EXPECT_EQ(Next(worker_.get(), 1).logits, want);
  ASSERT_EQ(worker_->Lobes().size(), 2u);
  EXPECT_EQ(worker_->Lobes()[0].name, "");
  ASSERT_TRUE(worker_->ResetSlot(0, "").ok());
  EXPECT_EQ(worker_->Lobes().size(), 2u);
  ASSERT_TRUE(worker_->CopySlot(0, 1).ok());
  ASSERT_EQ(worker_->Lobes().size(), 1u);
  EXPECT_EQ(worker_->Lobes()[0].name, "poetry");
}

TEST_F(LobesTest, AStateUnderARemovedLobeMovesOnlyWhereAnEqualLobeIs) {
  ASSERT_TRUE(Plug(worker_.get(), "poetry", first_).ok());
  RunUnder(worker_.get(), 0, "poetry");
  std::string blob;
  std::vector<char> parked(worker_->Info().state_bytes);
  ASSERT_TRUE(worker_->BeginSave(0, &blob).ok());
  ASSERT_TRUE(worker_->BeginCopyOut(0, absl::MakeSpan(parked)).ok());
  ASSERT_TRUE(worker_->RemoveLobe("poetry").ok());
  Expect(worker_->CopySlot(0, 1), Code::kFailedPrecondition, "is not loaded");
  Expect(worker_->BeginLoad(1, blob), Code::kFailedPrecondition, "is not loaded");
  Expect(worker_->BeginCopyIn(1, parked), Code::kFailedPrecondition, "is not loaded");

  const std::vector<float> want = Next(worker_.get(), 0).logits;
  ASSERT_TRUE(worker_->ResetSlot(0, "").ok());
  ASSERT_TRUE(worker_->Lobes().empty());
  ASSERT_TRUE(Plug(worker_.get(), "verse", first_).ok());
  ASSERT_TRUE(worker_->BeginLoad(1, blob).ok());
  ASSERT_TRUE(worker_->BeginCopyIn(2, parked).ok());
  EXPECT_EQ(worker_->Lobes()[0].num_slots, 2);
  EXPECT_EQ(Next(worker_.get(), 1).logits, want);
  EXPECT_EQ(Next(worker_.get(), 2).logits, want);
}

TEST_F(LobesTest, WhatCannotBeServedIsRefusedAndSaysWhy) {
  Expect(worker_->LoadLobe("/nonexistent/lobe").status(), Code::kNotFound, "/nonexistent/lobe");
  TemporaryDirectory directory;
  WriteRandomLobe(rig_.config(), std::string(64, 'a'), Causal(1), 2, directory.path());
  Expect(worker_->LoadLobe(directory.path()).status(), Code::kFailedPrecondition, "aaaaaaaaaaaa");
  directory.Write("config.json", "{\"model_type\": \"ela_gpt\"}");
  Expect(worker_->LoadLobe(directory.path()).status(), Code::kInvalidArgument, "ela_lobe");
  LanguageConfig deeper = rig_.config();
  deeper.num_hidden_layers = 3;
  WriteRandomLobe(deeper, rig_.fingerprint(), Causal(1), 2, directory.path());
  Expect(worker_->LoadLobe(directory.path()).status(), Code::kInvalidArgument,
         "\"decoder_layers.2.lob.K.weight\" is unknown");
  Expect(worker_->LoadLobe(rig_.Lobe({LobeMode::kPrefix, 1, AttentionKernel::kHadamardExp}, 2))
             .status(),
         Code::kFailedPrecondition, "mode is prefix");

  ASSERT_TRUE(Plug(worker_.get(), "poetry", first_).ok());
  Expect(Plug(worker_.get(), "poetry", second_), Code::kAlreadyExists, "poetry");
  Expect(Plug(worker_.get(), "", second_), Code::kInvalidArgument, "needs a name");
  Expect(worker_->RemoveLobe("prose"), Code::kNotFound, "prose");
  Expect(worker_->RemoveLobe(""), Code::kInvalidArgument, "own");
}

// Heads of 8 numbers: their padded tails take more than one head of 32 does.
TEST_F(LobesTest, ALobeWithoutRoomInTheSlotsIsRefused) {
  Expect(worker_->LoadLobe(rig_.Lobe(Causal(4), 2)).status(), Code::kFailedPrecondition,
         "slots have room for");
  rig_.options().any_lobe = false;
  EXPECT_TRUE(rig_.Make()->LoadLobe(rig_.Lobe(Causal(1), 2)).ok());
  rig_.options().lobes = {{"wide", rig_.Lobe(Causal(4), 2)}};  // room is made at the start
  auto worker = rig_.Make();
  EXPECT_GT(worker->Info().state_bytes, worker_->Info().state_bytes);
  EXPECT_TRUE(worker->ResetSlot(0, "wide").ok());
}

TEST_F(LobesTest, ALobeIsReadOnAnotherThreadWhileStepsRun) {
  ASSERT_TRUE(worker_->ResetSlot(0, "").ok());
  std::unique_ptr<LoadedLobe> loaded;
  std::atomic<bool> done{false};
  std::thread reader([&] {
    loaded = *worker_->LoadLobe(first_);
    done = true;
  });
  int64_t position = 0;
  const TokenId token = 3;
  while (!done || position < 20) {
    ASSERT_TRUE(RunItem(worker_.get(), Absorb(0, {&token, 1}, position++)).status.ok());
  }
  reader.join();
  ASSERT_TRUE(worker_->AddLobe("poetry", std::move(loaded)).ok());
  EXPECT_EQ(RunUnder(worker_.get(), 1, "poetry"), RunUnder(rig_.MakeWith(first_).get(), 1, ""));
}

// The worker of a causal model runs prompts in passes for the plugged lobe's sake: its own lobe, or
// none, gives the bits that it gives in one.
TEST(MixedLobesTest, CausalAndPrefixLobesShareAWorker) {
  for (const bool own : {true, false}) {
    LanguageConfig config = SmallExtendedConfig(AttentionKernel::kHadamardExp);
    if (!own) config.memory_lobe.reset();
    LobeRig rig(config);
    const std::vector<float> causal = RunUnder(rig.Make().get(), 0, "");
    const std::string directory =
        rig.Lobe({LobeMode::kPrefix, 2, AttentionKernel::kHadamardExp}, 2);
    const std::string both = rig.Lobe({LobeMode::kBidirectional, 1, AttentionKernel::kDirMag}, 3);
    rig.options().lobes = {{"ahead", directory}, {"both", both}};
    auto worker = rig.Make();
    EXPECT_EQ(worker->Info().segment_passes, 3);
    EXPECT_EQ(RunUnder(worker.get(), 0, ""), causal);
    EXPECT_EQ(RunUnder(worker.get(), 1, "ahead"), RunUnder(rig.MakeWith(directory).get(), 1, ""));
    // Only what sees ahead is sealed, only what is bidirectional cannot be taken back.
    ASSERT_TRUE(worker->RewindSlot(0, 64).ok());
    ASSERT_TRUE(worker->ResetSlot(0, "").ok());
    ASSERT_TRUE(worker->ResetSlot(1, "ahead").ok());
    ASSERT_TRUE(worker->ResetSlot(2, "both").ok());
    const std::vector<TokenId> tokens = SomeTokens(45);
    for (int32_t pass = 0; pass < 3; ++pass) {
      std::vector<StepItem> items;
      for (int32_t slot = 0; slot < 3; ++slot) {
        items.push_back(Absorb(slot, tokens, 0, pass == 2 ? OutputMode::kLast : OutputMode::kNone));
        items.back().segment = {SegmentKind::kPrompt, 0, 45, pass};
      }
      worker->Enqueue(items);
      const StepResult& result = worker->Wait();
      for (size_t i = 0; i < 3; ++i) ASSERT_TRUE(result.items[i].status.ok());
    }
    EXPECT_TRUE(worker->RewindSlot(0, 40).ok());
    EXPECT_EQ(worker->RewindSlot(1, 40).code(), Code::kOutOfRange);
    EXPECT_EQ(worker->RewindSlot(2, 45).code(), Code::kFailedPrecondition);
  }
}

}  // namespace
}  // namespace ela
