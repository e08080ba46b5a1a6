// Lobes that see ahead (prefix, bidirectional): prompt segments in passes, the same bits however
// they are cut for transport, whoever shares the step, and whatever happens to a slot between
// segments. The truth is every segment in one chunk per pass, alone, on one thread; that it is
// right is serving_golden_test's affair.
#include <algorithm>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "scheduler/prompt_cursor.h"
#include "tests/model/worker_rig.h"

namespace ela {
namespace {

using ::testing::HasSubstr;
using Code = absl::StatusCode;

struct Cuts {
  std::vector<int64_t> lengths;
  std::vector<SegmentKind> kinds;

  int64_t tokens() const {
    int64_t sum = 0;
    for (const int64_t length : lengths) sum += length;
    return sum;
  }
};

constexpr SegmentKind kPrompt = SegmentKind::kPrompt, kGenerated = SegmentKind::kGenerated;

// Ends within blocks and on them, a segment of one token, one that spans several blocks.
Cuts Conversation() {
  return {{70, 20, 37, 26, 1, 22, 16, 30},
          {kPrompt, kGenerated, kPrompt, kGenerated, kPrompt, kGenerated, kPrompt, kGenerated}};
}

// A sequence on its way through a worker, as an engine would send it.
class Walk {
 public:
  Walk(const Worker& worker, absl::Span<const TokenId> tokens, const Cuts& cuts)
      : tokens_(tokens),
        cursor_(*PromptCursor::Create(static_cast<int64_t>(tokens.size()), cuts.lengths, cuts.kinds,
                                      worker.Info().segment_passes,
                                      worker.Info().max_segment_tokens)) {}

  bool done() const { return cursor_.done(); }
  const PromptCursor& cursor() const { return cursor_; }

  StepItem Next(int32_t slot, int64_t chunk, OutputMode output = OutputMode::kEvery) const {
    const int64_t n = std::min(chunk, cursor_.left_in_pass());
    StepItem item = Absorb(slot, tokens_.subspan(cursor_.position(), n), cursor_.position(),
                           cursor_.in_output_pass() ? output : OutputMode::kNone);
    item.segment = cursor_.segment();
    return item;
  }
  void Advance(const StepItem& item) { cursor_.Advance(static_cast<int64_t>(item.tokens.size())); }

 private:
  absl::Span<const TokenId> tokens_;
  PromptCursor cursor_;
};

class WorkerPassesTest : public testing::TestWithParam<std::tuple<std::string, AttentionKernel>> {
 protected:
  static LanguageConfig Config() {
    const auto& [structure, kernel] = GetParam();
    LanguageConfig config = structure == "extended"
                                ? SmallExtendedConfig(AttentionKernel::kHadamardExp)
                                : SmallPaperConfig();
    config.memory_lobe->kernel = kernel;
    config.memory_lobe->mode =
        structure == "bidirectional" ? LobeMode::kBidirectional : LobeMode::kPrefix;
    return config;
  }
  static Cuts CutsOf() {
    if (std::get<0>(GetParam()) == "bidirectional") return {{150}, {kPrompt}};
    return Conversation();
  }

  WorkerPassesTest() : rig_(Config()), cuts_(CutsOf()), tokens_(rig_.Tokens(cuts_.tokens(), 7)) {
    auto worker = rig_.Make();
    EXPECT_TRUE(worker->ResetSlot(0, "").ok());
    Walk walk(*worker, tokens_, cuts_);
    while (!walk.done()) {
      const StepItem item = walk.Next(0, 1000);
      const StepOutput output = RunItem(worker.get(), item);
      EXPECT_TRUE(output.status.ok()) << output.status;
      truth_.insert(truth_.end(), output.logits.begin(), output.logits.end());
      walk.Advance(item);
    }
    EXPECT_EQ(static_cast<int64_t>(truth_.size()), cuts_.tokens() * vocab());
  }

  int64_t vocab() const { return rig_.config().vocab_size; }

  void Compare(const StepItem& item, const StepOutput& output) {
    ASSERT_TRUE(output.status.ok()) << output.status;
    if (item.output == OutputMode::kNone) return;
    ASSERT_EQ(output.logits.size(), item.tokens.size() * vocab());
    differing_ += DifferingBits(output.logits.data(), &truth_[item.first_position * vocab()],
                                static_cast<int64_t>(output.logits.size()));
  }

  // The sequence in `chunk`s in slot 0, beside batch - 1 others amid segments of their own.
  void RunBeside(Worker* worker, int64_t chunk, int batch) {
    std::mt19937 bits(static_cast<uint32_t>(chunk * 100 + batch));
    const std::vector<TokenId> other = rig_.Tokens(cuts_.tokens(), 8);
    std::vector<Walk> walks;
    for (int slot = 0; slot < batch; ++slot) {
      ASSERT_TRUE(worker->ResetSlot(slot, "").ok());
      walks.emplace_back(*worker, slot == 0 ? tokens_ : other, cuts_);
    }
    std::vector<StepItem> items;
    while (!walks[0].done()) {
      items.clear();
      for (int slot = 1; slot < batch; ++slot) {
        if (walks[slot].done()) continue;
        items.push_back(walks[slot].Next(slot, 1 + bits() % 9, OutputMode::kNone));
      }
      const size_t at = std::min<size_t>(bits() % batch, items.size());
      items.insert(items.begin() + at, walks[0].Next(0, chunk));
      worker->Enqueue(items);
      const StepResult& result = worker->Wait();
      ASSERT_NO_FATAL_FAILURE(Compare(items[at], result.items[at]));
      for (size_t i = 0; i < items.size(); ++i) {
        ASSERT_TRUE(result.items[i].status.ok()) << result.items[i].status;
        walks[items[i].slot].Advance(items[i]);
      }
    }
  }

  WorkerRig rig_;
  const Cuts cuts_;
  const std::vector<TokenId> tokens_;
  std::vector<float> truth_;  // [tokens, V]
  int64_t differing_ = 0;
};

TEST_P(WorkerPassesTest, NoChunkSizeAndNoBatchChangesABit) {
  auto worker = rig_.Make();
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  const std::vector<int64_t> chunks = {7, 512};
  const std::vector<int> batches = {1, 8};
#else
  const std::vector<int64_t> chunks = {1, 7, 16, 64, 512};
  const std::vector<int> batches = {1, 2, 8, 32};
#endif
  for (const int64_t chunk : chunks) {
    for (const int batch : batches) {
      ASSERT_NO_FATAL_FAILURE(RunBeside(worker.get(), chunk, batch));
      EXPECT_EQ(differing_, 0) << "chunk " << chunk << ", batch " << batch;
    }
  }
}

TEST_P(WorkerPassesTest, NoNumberOfThreadsAndNoTableOfKernelsChangesABit) {
  for (const char* kernels : {"portable", "reference"}) {
    rig_.options().kernels = kernels;
    rig_.options().num_threads = 3;
    auto worker = rig_.Make();
    ASSERT_NO_FATAL_FAILURE(RunBeside(worker.get(), 64, 5));
    EXPECT_EQ(differing_, 0) << kernels;
  }
}

// A lobe that sees ahead makes the segment's first output depend on its last token.
TEST_P(WorkerPassesTest, EveryPositionOfASegmentSeesItsEnd) {
  std::vector<TokenId> tokens(tokens_.begin(), tokens_.begin() + 40);
  Cuts cuts{{40}, {kPrompt}};
  auto worker = rig_.Make();
  std::vector<float> first[2];
  for (std::vector<float>& logits : first) {
    ASSERT_TRUE(worker->ResetSlot(0, "").ok());
    for (Walk walk(*worker, tokens, cuts); !walk.done();) {
      const StepItem item = walk.Next(0, 1000);
      logits = RunItem(worker.get(), item).logits;
      walk.Advance(item);
    }
    tokens.back() = (tokens.back() + 1) % static_cast<TokenId>(vocab());
  }
  EXPECT_GT(DifferingBits(first[0].data(), first[1].data(), vocab()), 0);
}

// Between segments and within generated ones; saved, copied, parked or taken back at random.
TEST_P(WorkerPassesTest, NothingDoneToASlotBetweenSegmentsChangesABit) {
  if (std::get<0>(GetParam()) == "bidirectional") return;  // one segment, and nothing after it
  auto worker = rig_.Make();
  std::vector<char> parked(worker->Info().state_bytes);
  for (uint32_t seed = 0; seed < 4; ++seed) {
    std::mt19937 bits(seed);
    int32_t slot = 0;
    ASSERT_TRUE(worker->ResetSlot(slot, "").ok());
    Walk walk(*worker, tokens_, cuts_);
    int64_t sealed = 0;  // end of the last prompt segment
    while (!walk.done()) {
      const StepItem item = walk.Next(slot, 1 + bits() % 12);
      ASSERT_NO_FATAL_FAILURE(Compare(item, RunItem(worker.get(), item)));
      const Walk before = walk;
      walk.Advance(item);
      const int64_t position = item.first_position + static_cast<int64_t>(item.tokens.size());
      if (item.segment.kind == kPrompt) {
        const bool ended = before.cursor().in_output_pass() &&
                           position == item.segment.begin + item.segment.length;
        if (!ended) continue;
        sealed = position;
      }
      const int32_t other = (slot + 1) % 3;
      switch (bits() % 5) {
        case 0: {
          std::string blob;
          ASSERT_TRUE(worker->BeginSave(slot, &blob).ok());
          ASSERT_TRUE(worker->BeginLoad(other, blob).ok());
          std::string again;
          ASSERT_TRUE(worker->BeginSave(other, &again).ok());
          EXPECT_TRUE(blob == again);
          slot = other;
          break;
        }
        case 1:
          ASSERT_TRUE(worker->CopySlot(slot, other).ok());
          slot = other;
          break;
        case 2:
          ASSERT_TRUE(worker->BeginCopyOut(slot, absl::MakeSpan(parked)).ok());
          ASSERT_TRUE(worker->ResetSlot(slot, "").ok());
          ASSERT_TRUE(worker->BeginCopyIn(other, parked).ok());
          slot = other;
          break;
        case 3: {
          const int64_t lowest = std::max(sealed, position / 16 * 16);
          EXPECT_EQ(worker->RewindSlot(slot, lowest - 1).code(), Code::kOutOfRange);
          if (item.segment.kind == kPrompt || item.first_position < lowest) break;
          ASSERT_TRUE(worker->RewindSlot(slot, item.first_position).ok());
          walk = before;
          break;
        }
        default:
          break;
      }
      EXPECT_EQ(differing_, 0) << "seed " << seed << ", position " << position;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Structures, WorkerPassesTest,
    testing::Combine(testing::Values("paper", "extended", "bidirectional"),
                     testing::Values(AttentionKernel::kHadamardExp, AttentionKernel::kSumSq,
                                     AttentionKernel::kSubSq, AttentionKernel::kDirMag)),
    [](const auto& info) {
      return std::get<0>(info.param) + "_" + std::string(Name(std::get<1>(info.param)));
    });

// The contract of rule 7, and what has no meaning between passes.
class PassContractTest : public testing::Test {
 protected:
  static LanguageConfig Config(LobeMode mode) {
    LanguageConfig config = SmallPaperConfig();
    config.memory_lobe->mode = mode;
    return config;
  }
  explicit PassContractTest(LobeMode mode = LobeMode::kPrefix) : rig_(Config(mode)) {
    rig_.options().max_segment_tokens = 64;
    rig_.options().max_scratch_tokens = 100;
    worker_ = rig_.Make();
    tokens_ = rig_.Tokens(128, 3);
    for (int32_t slot = 0; slot < 3; ++slot) EXPECT_TRUE(worker_->ResetSlot(slot, "").ok());
  }

  // Tokens [begin, end) in one pass of the segment [first, first + length).
  StepItem Chunk(int32_t slot, int64_t begin, int64_t end, Segment segment) {
    StepItem item = Absorb(slot, absl::MakeSpan(tokens_).subspan(begin, end - begin), begin,
                           segment.kind == kGenerated || segment.pass + 1 == 3 ? OutputMode::kEvery
                                                                               : OutputMode::kNone);
    item.segment = segment;
    return item;
  }
  absl::Status Run(const StepItem& item) { return RunItem(worker_.get(), item).status; }
  void RunSegment(int32_t slot, int64_t begin, int64_t length) {
    for (int32_t pass = 0; pass < 3; ++pass) {
      ASSERT_TRUE(Run(Chunk(slot, begin, begin + length, {kPrompt, begin, length, pass})).ok());
    }
  }
  void ExpectBad(const StepItem& item, const std::string& sentence) {
    const absl::Status status = Run(item);
    EXPECT_EQ(status.code(), Code::kInternal) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(sentence));
  }

  WorkerRig rig_;
  std::unique_ptr<Worker> worker_;
  std::vector<TokenId> tokens_;
};

TEST_F(PassContractTest, InfoTellsPassesAndLimits) {
  EXPECT_EQ(worker_->Info().segment_passes, 3);
  EXPECT_EQ(worker_->Info().max_segment_tokens, 64);
  EXPECT_EQ(worker_->Info().max_scratch_tokens, 100);
  rig_.options().max_scratch_tokens = 0;
  EXPECT_EQ(rig_.Make()->Info().max_scratch_tokens, 64 * 33);
}

TEST_F(PassContractTest, ItemsOutOfOrderFailAndSayWhy) {
  ExpectBad(Chunk(0, 0, 8, {kPrompt, 0, 8, 1}), "pass 1 begins where the slot stands at 0");
  ExpectBad(Chunk(0, 0, 65, {kPrompt, 0, 65, 0}), "65 tokens, the limit is 64");
  ExpectBad(Chunk(0, 0, 9, {kPrompt, 0, 8, 0}), "pass the end");
  StepItem early = Chunk(0, 0, 8, {kPrompt, 0, 8, 0});
  early.output = OutputMode::kLast;
  ExpectBad(early, "an output from pass 0");
  ASSERT_TRUE(Run(Chunk(0, 0, 8, {kPrompt, 0, 20, 0})).ok());
  ExpectBad(Chunk(0, 8, 20, {kPrompt, 0, 20, 1}), "in the middle of");
  ExpectBad(Chunk(0, 8, 20, {kPrompt, 8, 12, 0}), "in the middle of");
  ExpectBad(Chunk(0, 9, 20, {kPrompt, 0, 20, 0}), "the slot stands at 8");
  ExpectBad(Chunk(0, 8, 9, {kGenerated, 8, 0, 0}), "was left before its end");
}

TEST_F(PassContractTest, BetweenPassesASlotIsNeitherCopiedSavedNorRewound) {
  std::string blob;
  std::vector<char> parked(worker_->Info().state_bytes);
  ASSERT_TRUE(Run(Chunk(0, 0, 20, {kPrompt, 0, 20, 0})).ok());
  EXPECT_EQ(worker_->CopySlot(0, 1).code(), Code::kFailedPrecondition);
  EXPECT_EQ(worker_->BeginSave(0, &blob).code(), Code::kFailedPrecondition);
  EXPECT_EQ(worker_->BeginCopyOut(0, absl::MakeSpan(parked)).code(), Code::kFailedPrecondition);
  EXPECT_EQ(worker_->RewindSlot(0, 0).code(), Code::kFailedPrecondition);
}

TEST_F(PassContractTest, ASegmentBeyondTheScratchWaitsForTheOthers) {
  ASSERT_TRUE(Run(Chunk(0, 0, 64, {kPrompt, 0, 64, 0})).ok());
  const StepItem second = Chunk(1, 0, 40, {kPrompt, 0, 40, 0});
  const absl::Status status = Run(second);
  EXPECT_EQ(status.code(), Code::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("hold 64 tokens"));
  for (int32_t pass = 1; pass < 3; ++pass) {
    ASSERT_TRUE(Run(Chunk(0, 0, 64, {kPrompt, 0, 64, pass})).ok());
  }
  EXPECT_TRUE(Run(second).ok());
  // What a reset, a load or a copy puts an end to gives its scratch back.
  ASSERT_TRUE(worker_->ResetSlot(1, "").ok());
  ASSERT_TRUE(Run(Chunk(2, 0, 64, {kPrompt, 0, 64, 0})).ok());
  ASSERT_TRUE(worker_->CopySlot(0, 2).ok());
  EXPECT_TRUE(Run(Chunk(1, 0, 64, {kPrompt, 0, 64, 0})).ok());
}

TEST_F(PassContractTest, AnInterruptedSegmentStartsAgainInAResetSlot) {
  RunSegment(0, 0, 40);
  const std::vector<float> want =
      RunItem(worker_.get(), Chunk(0, 40, 50, {kGenerated, 40, 0, 0})).logits;
  ASSERT_TRUE(Run(Chunk(1, 0, 40, {kPrompt, 0, 40, 0})).ok());
  ASSERT_TRUE(Run(Chunk(1, 0, 17, {kPrompt, 0, 40, 1})).ok());
  ASSERT_TRUE(worker_->ResetSlot(1, "").ok());
  RunSegment(1, 0, 40);
  EXPECT_EQ(RunItem(worker_.get(), Chunk(1, 40, 50, {kGenerated, 40, 0, 0})).logits, want);
}

// Tokens of the prompt have seen each other: the tail may hold them, a rewind may not split them.
TEST_F(PassContractTest, NoRewindGoesBackIntoAPromptNotEvenAfterALoad) {
  RunSegment(0, 0, 35);
  ASSERT_TRUE(Run(Chunk(0, 35, 44, {kGenerated, 35, 0, 0})).ok());
  std::string blob;
  ASSERT_TRUE(worker_->BeginSave(0, &blob).ok());
  ASSERT_TRUE(worker_->BeginLoad(1, blob).ok());
  for (const int32_t slot : {0, 1}) {
    const absl::Status status = worker_->RewindSlot(slot, 34);
    EXPECT_EQ(status.code(), Code::kOutOfRange);
    EXPECT_THAT(std::string(status.message()), HasSubstr("35 at most"));
    EXPECT_TRUE(worker_->RewindSlot(slot, 36).ok());
    EXPECT_TRUE(worker_->RewindSlot(slot, 35).ok());
  }
}

TEST_F(PassContractTest, TheLastPassKnowsTheExpertsOfEveryLayer) {
  std::vector<int64_t> counts(2 * 4);
  StepOutput output;
  for (int32_t pass = 0; pass < 3; ++pass) {
    StepItem item = Chunk(0, 0, 20, {kPrompt, 0, 20, pass});
    item.routing = item.output != OutputMode::kNone;
    worker_->Enqueue({&item, 1});
    StepResult& result = worker_->Wait();
    for (size_t i = 0; i < counts.size(); ++i) counts[i] += result.expert_tokens[i];
    output = result.items[0];
  }
  ASSERT_EQ(output.routing.size(), 20u);
  std::vector<int64_t> routed(2 * 4);
  for (const Routing& routing : output.routing) {
    ASSERT_EQ(routing.experts.size(), 2u * 2);
    for (int i = 0; i < 4; ++i) ++routed[i / 2 * 4 + routing.experts[i]];
    EXPECT_NEAR(routing.weights[0] + routing.weights[1], 1.0, 1e-5);
    EXPECT_NEAR(routing.weights[2] + routing.weights[3], 1.0, 1e-5);
  }
  EXPECT_EQ(routed, counts);  // and each layer ran once
}

TEST_F(PassContractTest, LimitsThatContradictEachOtherAreNamed) {
  rig_.options().max_scratch_tokens = 63;
  const absl::Status status = CreateLanguageWorker(rig_.options()).status();
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("max_scratch_tokens is 63"));
  rig_.options().max_segment_tokens = 0;
  EXPECT_EQ(CreateLanguageWorker(rig_.options()).status().code(), Code::kInvalidArgument);
}

class BidirectionalContractTest : public PassContractTest {
 protected:
  BidirectionalContractTest() : PassContractTest(LobeMode::kBidirectional) {}
};

TEST_F(BidirectionalContractTest, OneSegmentFromTheStartAndNothingAfterIt) {
  RunSegment(0, 0, 20);
  for (const StepItem& item :
       {Chunk(0, 20, 21, {kGenerated, 20, 0, 0}), Chunk(0, 20, 30, {kPrompt, 20, 10, 0})}) {
    const absl::Status status = Run(item);
    EXPECT_EQ(status.code(), Code::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()), HasSubstr("bidirectional"));
  }
}

TEST_F(BidirectionalContractTest, ThereIsNoStateToSaveOrRewind) {
  RunSegment(0, 0, 20);
  std::string blob;
  for (const absl::Status& status : {worker_->BeginSave(0, &blob), worker_->RewindSlot(0, 20)}) {
    EXPECT_EQ(status.code(), Code::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()), HasSubstr("bidirectional"));
  }
}

}  // namespace
}  // namespace ela
