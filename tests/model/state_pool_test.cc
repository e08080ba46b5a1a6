#include "model/language/state_pool.h"

#include <cstdint>
#include <cstring>
#include <limits>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/kernels/aligned_buffer.h"
#include "model/language/state_blob.h"
#include "tests/model/random_checkpoint.h"
#include "tests/model/worker_rig.h"

namespace ela {
namespace {

using ::testing::HasSubstr;
using Code = absl::StatusCode;

TEST(StateLayoutTest, EveryPartOfEverySlotIsAligned) {
  for (const AttentionKernel kernel : {AttentionKernel::kHadamardExp, AttentionKernel::kSumSq,
                                       AttentionKernel::kSubSq, AttentionKernel::kDirMag}) {
    LanguageConfig config = SmallExtendedConfig(kernel);
    config.short_conv = 3;  // a stretch that is no multiple of 64 bytes
    config.hidden_size = 36;
    auto pool = *StatePool::Create(StateLayout(config), 3, HostAllocator());
    for (int slot = 0; slot < 3; ++slot) {
      const StateLayout& layout = pool->layout();
      for (const StateLayout::Head* head : {&layout.attention(), &layout.lobe()}) {
        const HeadState state = layout.View(pool->memory(slot), 1, *head, 1);
        for (const void* part :
             {static_cast<const void*>(state.matrix), static_cast<const void*>(state.row_max),
              static_cast<const void*>(state.row_sum), static_cast<const void*>(state.key_mean),
              static_cast<const void*>(state.third), static_cast<const void*>(state.totals),
              static_cast<const void*>(state.keys), static_cast<const void*>(state.values),
              static_cast<const void*>(state.decays), static_cast<const void*>(state.features),
              static_cast<const void*>(state.weights), static_cast<const void*>(state.direct)}) {
          EXPECT_EQ(reinterpret_cast<uintptr_t>(part) % 64, 0u);
        }
        EXPECT_LE(reinterpret_cast<char*>(state.matrix) +
                      state.width * state.value_stride * sizeof(float),
                  pool->memory(slot) + layout.slot_bytes());
      }
    }
  }
}

// docs/model.md 2: base 1.34 MB; the tail here keeps keys, values and the keys' features.
TEST(StateLayoutTest, ThePaperConfigurationTakesUnderTwoMegabytes) {
  const StateLayout layout(PaperConfig());
  EXPECT_GE(layout.slot_bytes(), 1340000 + 260000);
  EXPECT_LE(layout.slot_bytes(), 1800000);
}

TEST(StatePoolTest, MemoryThatCannotBeHadIsNamedInBytes) {
  Allocator none = {[](size_t) -> void* { return nullptr; }, [](void*, size_t) {}};
  const StateLayout layout(PaperConfig());
  const absl::Status status = StatePool::Create(layout, 10, none).status();
  EXPECT_EQ(status.code(), Code::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(std::to_string(RoundUp(layout.slot_bytes(), 64) * 10)));
}

TEST(StatePoolTest, TheAllocatorsMemoryIsUsedAndGivenBack) {
  static size_t taken, given;
  taken = given = 0;
  Allocator counting = {[](size_t bytes) { return taken = bytes, AllocateAligned(bytes); },
                        [](void* memory, size_t bytes) {
                          given = bytes;
                          FreeAligned(memory, bytes);
                        }};
  auto pool = *StatePool::Create(StateLayout(SmallPaperConfig()), 7, counting);
  EXPECT_GE(taken, static_cast<size_t>(pool->layout().slot_bytes()) * 7);
  pool.reset();
  EXPECT_EQ(given, taken);
}

TEST(StatePoolTest, RewindNamesTheLowestPosition) {
  auto pool = *StatePool::Create(StateLayout(SmallPaperConfig()), 1, HostAllocator());
  pool->Reset(0);
  pool->slot(0).position = 37;
  for (const int64_t bad : {int64_t{-1}, int64_t{31}, int64_t{38}}) {
    const absl::Status status = pool->Rewind(0, bad);
    EXPECT_EQ(status.code(), Code::kOutOfRange);
    EXPECT_THAT(std::string(status.message()), HasSubstr("32"));
  }
  EXPECT_TRUE(pool->Rewind(0, 37).ok());
  EXPECT_TRUE(pool->Rewind(0, 32).ok());
  EXPECT_EQ(pool->slot(0).position, 32);
}

class SavedStateTest : public testing::Test {
 protected:
  // A slot at `position`, saved.
  std::string Saved(Worker* worker, int64_t position) {
    EXPECT_TRUE(worker->ResetSlot(0, "").ok());
    const std::vector<TokenId> tokens = rig_.Tokens(position, 3);
    if (position > 0) {
      EXPECT_TRUE(RunItem(worker, Absorb(0, tokens, 0, OutputMode::kNone)).status.ok());
    }
    std::string blob;
    EXPECT_TRUE(worker->BeginSave(0, &blob).ok());
    EXPECT_TRUE(*worker->PollTransfer(0));
    return blob;
  }

  WorkerRig rig_{SmallExtendedConfig(AttentionKernel::kHadamardExp)};
};

TEST_F(SavedStateTest, TheSizeDependsOnTheTailAlone) {
  auto worker = rig_.Make();
  const size_t empty = Saved(worker.get(), 0).size();
  EXPECT_EQ(Saved(worker.get(), 16).size(), empty);
  EXPECT_EQ(Saved(worker.get(), 160).size(), empty);
  EXPECT_GT(Saved(worker.get(), 5).size(), empty);
  EXPECT_EQ(Saved(worker.get(), 5).size(), Saved(worker.get(), 165).size());
}

// Slots are reused: bytes must follow from the tokens alone.
TEST_F(SavedStateTest, EqualPastsSaveToEqualBytes) {
  auto worker = rig_.Make();
  for (const int64_t position : {0, 3, 16, 20}) {
    auto fresh = rig_.Make();
    const std::string want = Saved(fresh.get(), position);
    Saved(worker.get(), 77);
    EXPECT_TRUE(Saved(worker.get(), position) == want) << position;
  }
}

TEST_F(SavedStateTest, EveryDamagedByteIsDataLoss) {
  auto worker = rig_.Make();
  const std::string blob = Saved(worker.get(), 21);
  for (size_t at = 0; at < blob.size(); at += 1 + at / 40) {
    std::string damaged = blob;
    damaged[at] ^= 0x10;
    const Code code = worker->BeginLoad(1, damaged).code();
    // The version field alone is read before the checksum: another version is no damage.
    EXPECT_TRUE(code == Code::kDataLoss ||
                (at >= 8 && at < 16 && code == Code::kFailedPrecondition))
        << "byte " << at;
  }
  for (const size_t size : {size_t{0}, size_t{7}, size_t{279}, size_t{280}, blob.size() - 1}) {
    EXPECT_EQ(worker->BeginLoad(1, absl::MakeSpan(blob).subspan(0, size)).code(), Code::kDataLoss);
  }
  EXPECT_EQ(worker->BeginLoad(1, blob + "x").code(), Code::kDataLoss);
}

TEST_F(SavedStateTest, AStateOfAnotherModelOrLayoutIsRefused) {
  auto worker = rig_.Make();
  const std::string blob = Saved(worker.get(), 21);
  WorkerRig same_shape(rig_.config(), 99);
  EXPECT_EQ(same_shape.Make()->BeginLoad(0, blob).code(), Code::kFailedPrecondition);
  WorkerRig other_shape(SmallPaperConfig());
  const absl::Status status = other_shape.Make()->BeginLoad(0, blob);
  EXPECT_EQ(status.code(), Code::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("belongs to model"));
}

// The fingerprints of this model over the layout of another.
TEST_F(SavedStateTest, AForgedLayoutIsRefused) {
  auto worker = rig_.Make();
  LanguageConfig other = rig_.config();
  other.memory_lobe->heads = 4;
  auto pool = *StatePool::Create(StateLayout(other), 1, HostAllocator());
  const WorkerInfo& info = worker->Info();
  std::string blob;
  SaveState({pool->layout(), pool->layout().lobe()},
            {info.model_fingerprint, info.lobe_fingerprint, info.numerics_id, 32, -1},
            pool->memory(0), &blob);
  const absl::Status status = worker->BeginLoad(1, blob);
  EXPECT_EQ(status.code(), Code::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("layout"));
}

// Somebody who computes the checksum anew can write any header.
TEST_F(SavedStateTest, AForgedTokenOrPositionIsDataLoss) {
  auto worker = rig_.Make();
  auto pool = *StatePool::Create(StateLayout(rig_.config()), 1, HostAllocator());
  const auto load = [&](int64_t position, TokenId last_sampled, int32_t sealed_tail = 0) {
    const WorkerInfo& info = worker->Info();
    std::string blob;
    SaveState({pool->layout(), pool->layout().lobe()},
              {info.model_fingerprint, info.lobe_fingerprint, info.numerics_id, position,
               last_sampled, sealed_tail},
              pool->memory(0), &blob);
    return worker->BeginLoad(1, blob);
  };
  const auto vocab = static_cast<TokenId>(worker->Info().vocab_size);
  EXPECT_TRUE(load(32, vocab - 1).ok());
  EXPECT_EQ(load(32, vocab).code(), Code::kDataLoss);
  EXPECT_EQ(load(32, -2).code(), Code::kDataLoss);
  EXPECT_EQ(load(int64_t{1} << 62, 0).code(), Code::kDataLoss);
  EXPECT_TRUE(load(35, 0, 3).ok());
  EXPECT_EQ(load(35, 0, 4).code(), Code::kDataLoss);
  EXPECT_EQ(load(35, 0, -1).code(), Code::kDataLoss);
}

// Every kind of number a payload holds: rows before the convolution, m, c (double), A, tail.
TEST_F(SavedStateTest, APayloadThatIsNotFiniteIsDataLoss) {
  auto worker = rig_.Make();
  auto pool = *StatePool::Create(StateLayout(rig_.config()), 1, HostAllocator());
  const StateLayout& layout = pool->layout();
  const HeadState head = layout.View(pool->memory(0), 1, layout.attention(), 1);
  const HeadState lobe = layout.View(pool->memory(0), 1, layout.lobe(), 0);
  const WorkerInfo& info = worker->Info();
  const StateHeader header = {info.model_fingerprint, info.lobe_fingerprint, info.numerics_id, 35,
                              0};
  const auto load = [&] {
    std::string blob;
    SaveState({layout, layout.lobe()}, header, pool->memory(0), &blob);
    return worker->BeginLoad(1, blob);
  };
  ASSERT_TRUE(load().ok());
  for (float* field : {layout.Convolution(pool->memory(0), 0), head.row_max, head.matrix,
                       head.keys + head.key_stride, head.decays, lobe.values}) {
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
      *field = bad;
      EXPECT_EQ(load().code(), Code::kDataLoss);
    }
    *field = 0;
  }
  head.row_sum[3] = std::numeric_limits<double>::infinity();
  const absl::Status status = load();
  EXPECT_EQ(status.code(), Code::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("NaN or infinity"));
}

TEST_F(SavedStateTest, ARefusedLoadLeavesTheSlotAsItWas) {
  auto worker = rig_.Make();
  const std::string before = Saved(worker.get(), 21);
  std::string damaged = before;
  damaged.back() ^= 1;
  EXPECT_FALSE(worker->BeginLoad(0, damaged).ok());
  std::string after;
  ASSERT_TRUE(worker->BeginSave(0, &after).ok());
  EXPECT_TRUE(before == after);
}

TEST_F(SavedStateTest, ARewindAfterALoadIsExact) {
  auto worker = rig_.Make();
  const std::string want = Saved(worker.get(), 35);
  const std::string later = Saved(worker.get(), 44);
  ASSERT_TRUE(worker->BeginLoad(2, later).ok());
  ASSERT_TRUE(worker->RewindSlot(2, 35).ok());
  std::string got;
  ASSERT_TRUE(worker->BeginSave(2, &got).ok());
  EXPECT_TRUE(got == want);
}

}  // namespace
}  // namespace ela
