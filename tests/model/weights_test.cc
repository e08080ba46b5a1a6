#include "model/checkpoint/weights.h"

#include <cmath>
#include <filesystem>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/model/temporary_directory.h"

namespace ela {
namespace {

using ::testing::HasSubstr;
using Code = absl::StatusCode;

// A few tensors by name with owned values, to be written as a checkpoint.
struct Tensor {
  std::string name;
  std::vector<int64_t> shape;
  std::vector<float> values;
};

void WriteFile(const std::string& path, const std::vector<Tensor>& tensors) {
  std::vector<NamedTensor> named;
  for (const Tensor& t : tensors) {
    named.push_back({t.name, {DType::kF32, t.shape, t.values.data(), 4 * t.values.size()}});
  }
  ASSERT_TRUE(WriteSafetensors(path, named).ok());
}

const std::vector<TensorSpec> kExpected = {
    {"embed", {2, 3}}, {"norm", {2}}, {"layers.0.lob.Q.weight", {1}}};
const Tensor kEmbed = {"embed", {2, 3}, {1, 2, 3, 4, 5, 6}};
const Tensor kNorm = {"norm", {2}, {7, 8}};
const Tensor kLobe = {"layers.0.lob.Q.weight", {1}, {9}};

class WeightsTest : public testing::Test {
 protected:
  void WriteSingle(const std::vector<Tensor>& tensors) {
    WriteFile(directory_ / "model.safetensors", tensors);
  }
  absl::StatusOr<Weights> Load() { return Weights::Load(directory_.path(), kExpected); }
  void ExpectRefused(Code code, const std::string& sentence) {
    const absl::Status status = Load().status();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(sentence));
  }
  // Two shards and their index.
  void WriteSharded(const std::string& weight_map =
                        R"({"embed":"a.safetensors","norm":"b.safetensors",)"
                        R"("layers.0.lob.Q.weight":"b.safetensors"})") {
    WriteFile(directory_ / "a.safetensors", {kEmbed});
    WriteFile(directory_ / "b.safetensors", {kLobe, kNorm});
    directory_.Write("model.safetensors.index.json",
                     R"({"metadata":{"total_size":36},"weight_map":)" + weight_map + "}");
  }
  TemporaryDirectory directory_;
};

TEST_F(WeightsTest, EveryGoldenCheckpointFitsItsConfig) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(ELA_SOURCE_DIR "/tests/golden/lm")) {
    auto config = LoadLanguageConfig(entry.path());
    ASSERT_TRUE(config.ok()) << config.status();
    auto weights = Weights::Load(entry.path(), ExpectedTensors(*config));
    ASSERT_TRUE(weights.ok()) << weights.status();
    EXPECT_EQ(weights->Fingerprint(*config).size(), 64u);
    EXPECT_EQ(weights->LobeFingerprint(*config).empty(), !config->memory_lobe.has_value());
    ++count;
  }
  EXPECT_GT(count, 0);
}

TEST_F(WeightsTest, GivesTheValuesByName) {
  WriteSingle({kEmbed, kNorm, kLobe});
  auto weights = Load();
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ(weights->Float("embed"), kEmbed.values);
  EXPECT_EQ(weights->at("norm").shape, kNorm.shape);
}

TEST_F(WeightsTest, SixteenBitFilesAreWidened) {
  const uint16_t bf16[] = {0x3f80, 0xc000, 0, 0, 0, 0x7f7f};
  const uint16_t f16[] = {0x3c00, 0x0001};
  const float lobe = 9;
  ASSERT_TRUE(WriteSafetensors(directory_ / "model.safetensors",
                               {{"embed", {DType::kBF16, {2, 3}, bf16, sizeof bf16}},
                                {"norm", {DType::kF16, {2}, f16, sizeof f16}},
                                {kLobe.name, {DType::kF32, {1}, &lobe, 4}}})
                  .ok());
  auto weights = Load();
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ(weights->Float("embed"), (std::vector<float>{1, -2, 0, 0, 0, 0x1.fep127f}));
  EXPECT_EQ(weights->Float("norm"), (std::vector<float>{1, 0x1p-24f}));
}

TEST_F(WeightsTest, ShardsReadLikeOneFile) {
  WriteSharded();
  auto sharded = Load();
  ASSERT_TRUE(sharded.ok()) << sharded.status();
  EXPECT_EQ(sharded->Float("norm"), kNorm.values);
  WriteSingle({kLobe, kNorm, kEmbed});
  auto single = Load();
  ASSERT_TRUE(single.ok()) << single.status();
  EXPECT_EQ(sharded->Fingerprint({}), single->Fingerprint({}));
  EXPECT_EQ(sharded->LobeFingerprint({}), single->LobeFingerprint({}));
}

TEST_F(WeightsTest, FingerprintSeesConfigAndBaseButNotTheLobe) {
  WriteSingle({kEmbed, kNorm, kLobe});
  auto first = Load();
  ASSERT_TRUE(first.ok());
  Tensor lobe = kLobe;
  lobe.values[0] = 10;
  WriteSingle({kEmbed, kNorm, lobe});
  auto other_lobe = Load();
  ASSERT_TRUE(other_lobe.ok());
  EXPECT_EQ(first->Fingerprint({}), other_lobe->Fingerprint({}));
  EXPECT_NE(first->LobeFingerprint({}), other_lobe->LobeFingerprint({}));
  Tensor norm = kNorm;
  norm.values[1] = -8;
  WriteSingle({kEmbed, norm, kLobe});
  auto other_base = Load();
  ASSERT_TRUE(other_base.ok());
  EXPECT_NE(first->Fingerprint({}), other_base->Fingerprint({}));
  EXPECT_EQ(first->LobeFingerprint({}), other_base->LobeFingerprint({}));
  LanguageConfig config;
  config.qk_scale = 2;
  EXPECT_NE(first->Fingerprint({}), first->Fingerprint(config));
}

// One base may be served with lobes of other shapes; equal tensors in another mode are another
// lobe.
TEST_F(WeightsTest, TheLobesConfigBelongsToTheLobesFingerprint) {
  WriteSingle({kEmbed, kNorm, kLobe});
  auto weights = Load();
  ASSERT_TRUE(weights.ok());
  LanguageConfig causal, prefix, heads, kernel;
  causal.memory_lobe = prefix.memory_lobe = heads.memory_lobe = kernel.memory_lobe = LobeConfig();
  prefix.memory_lobe->mode = LobeMode::kPrefix;
  heads.memory_lobe->heads = 2;
  kernel.memory_lobe->kernel = AttentionKernel::kSumSq;
  for (const LanguageConfig& other : {prefix, heads, kernel}) {
    EXPECT_EQ(weights->Fingerprint(causal), weights->Fingerprint(other));
    EXPECT_NE(weights->LobeFingerprint(causal), weights->LobeFingerprint(other));
  }
  EXPECT_EQ(weights->Fingerprint(causal), weights->Fingerprint({}));
}

TEST_F(WeightsTest, FingerprintIsStableAcrossBuilds) {
  auto config = LoadLanguageConfig(ELA_SOURCE_DIR "/tests/golden/lm/hadamard-causal");
  ASSERT_TRUE(config.ok());
  auto weights =
      Weights::Load(ELA_SOURCE_DIR "/tests/golden/lm/hadamard-causal", ExpectedTensors(*config));
  ASSERT_TRUE(weights.ok());
  // A change here makes every saved state of every model foreign: it must be meant.
  EXPECT_EQ(weights->Fingerprint(*config),
            "2db9313a329b29f6cbd493ffce9db0506a4d4d5361a5be2f74bb03d32034a56f");
}

TEST_F(WeightsTest, AllProblemsComeAtOnceOnePerLine) {
  Tensor norm = {"norm", {3}, {1, 2, 3}};
  WriteSingle({norm, kLobe, {"extra", {1}, {0}}, {"attn.rope.inv_freq", {1}, {0}}});
  const std::string file = directory_ / "model.safetensors";
  EXPECT_EQ(std::string(Load().status().message()),
            directory_.path() + ": tensor \"embed\" is missing\n" + file +
                ": tensor \"norm\" has shape [3], config.json demands [2]\n" + file +
                ": tensor \"extra\" is unknown");
}

TEST_F(WeightsTest, RopeBuffersAreIgnored) {
  WriteSingle({kEmbed, kNorm, kLobe});
  auto plain = Load();
  WriteSingle({kEmbed, kNorm, kLobe, {"layers.0.self_attn.rope.inv_freq", {1}, {0.5}}});
  auto buffered = Load();
  ASSERT_TRUE(buffered.ok()) << buffered.status();
  EXPECT_EQ(plain->Fingerprint({}), buffered->Fingerprint({}));
}

TEST_F(WeightsTest, ValuesThatAreNotFiniteAreNamedWithTheirIndex) {
  Tensor embed = kEmbed, norm = kNorm;
  embed.values[5] = NAN;
  norm.values[1] = -INFINITY;
  WriteSingle({embed, norm, kLobe});
  ExpectRefused(Code::kInvalidArgument, "tensor \"embed\" holds NaN at [1, 2]\n");
  ExpectRefused(Code::kInvalidArgument, "tensor \"norm\" holds an infinite value at [1]");
}

TEST_F(WeightsTest, ALateNanInALargeTensorIsFound) {
  Tensor big = {"big", {3, 5000}, std::vector<float>(15000, std::numeric_limits<float>::max())};
  big.values[14999] = NAN;
  WriteSingle({big});
  auto status =
      Weights::Load(directory_.path(), std::vector<TensorSpec>{{"big", {3, 5000}}}).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("holds NaN at [2, 4999]"));
}

TEST_F(WeightsTest, DtypesThatAreNoWeightsAreRefused) {
  const int32_t integers[6] = {};
  const double doubles[2] = {};
  const float lobe = 9;
  ASSERT_TRUE(WriteSafetensors(directory_ / "model.safetensors",
                               {{"embed", {DType::kI32, {2, 3}, integers, sizeof integers}},
                                {"norm", {DType::kF64, {2}, doubles, sizeof doubles}},
                                {kLobe.name, {DType::kF32, {1}, &lobe, 4}}})
                  .ok());
  ExpectRefused(Code::kInvalidArgument, "\"embed\" has dtype I32, weights are F32, BF16 or F16");
  ExpectRefused(Code::kInvalidArgument, "\"norm\" has dtype F64");
}

TEST_F(WeightsTest, MissingFilesAreNotFound) {
  ExpectRefused(Code::kNotFound, "has neither model.safetensors nor model.safetensors.index.json");
  EXPECT_EQ(Weights::Load(directory_ / "none", kExpected).status().code(), Code::kNotFound);
  WriteSharded();
  std::filesystem::remove(directory_ / "b.safetensors");
  EXPECT_EQ(std::string(Load().status().message()),
            directory_ / "b.safetensors" + std::string(": No such file or directory"));
  EXPECT_EQ(Load().status().code(), Code::kNotFound);
}

TEST_F(WeightsTest, ATruncatedShardIsDataLossAndItsTensorsAreNotCalledMissing) {
  WriteSharded();
  const std::string bytes = ReadBytes(directory_ / "b.safetensors");
  directory_.Write("b.safetensors", bytes.substr(0, bytes.size() - 4));
  const absl::Status status = Load().status();
  EXPECT_EQ(status.code(), Code::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("\"norm\" ends at 12"));
  EXPECT_THAT(std::string(status.message()), testing::Not(HasSubstr("missing")));
}

TEST_F(WeightsTest, AnIndexThatDisagreesWithItsFilesIsRefused) {
  WriteSharded(R"({"embed":"a.safetensors","norm":"a.safetensors",)"
               R"("layers.0.lob.Q.weight":"b.safetensors","ghost":"b.safetensors"})");
  ExpectRefused(Code::kInvalidArgument, "b.safetensors: tensor \"norm\" is not listed for this");
  ExpectRefused(Code::kInvalidArgument, "\"ghost\" is listed by the index and unknown");
  WriteSharded();
  WriteFile(directory_ / "a.safetensors", {kEmbed, kNorm});
  ExpectRefused(Code::kInvalidArgument, "tensor \"norm\" is not listed for this file");
  ExpectRefused(Code::kInvalidArgument, "tensor \"norm\" is in a.safetensors as well");
}

TEST_F(WeightsTest, AnIndexCannotLeadOutOfItsDirectory) {
  WriteSharded(R"({"embed":"../a.safetensors"})");
  ExpectRefused(Code::kInvalidArgument, "which is no file name");
  WriteSharded(R"({"embed":3})");
  ExpectRefused(Code::kInvalidArgument, "is said to be in 3, which is no file name");
  directory_.Write("model.safetensors.index.json", R"({"weights":{}})");
  ExpectRefused(Code::kInvalidArgument, "has no object \"weight_map\"");
  directory_.Write("model.safetensors.index.json", "[");
  ExpectRefused(Code::kInvalidArgument, "not JSON");
}

}  // namespace
}  // namespace ela
