#include "model/checkpoint/safetensors.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/model/temporary_directory.h"

namespace ela {
namespace {

using ::testing::HasSubstr;
using Code = absl::StatusCode;

std::string File(const std::string& header, const std::string& data) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(uint64_t{header.size()} >> (8 * i));
  return bytes + header + data;
}

class SafetensorsTest : public testing::Test {
 protected:
  absl::Status StatusOf(const std::string& bytes) {
    directory_.Write("t.safetensors", bytes);
    return SafetensorsFile::Open(directory_ / "t.safetensors").status();
  }
  void ExpectRefused(const std::string& bytes, Code code, const std::string& sentence) {
    const absl::Status status = StatusOf(bytes);
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(sentence));
    EXPECT_THAT(std::string(status.message()), HasSubstr("t.safetensors: "));
  }
  TemporaryDirectory directory_;
};

// Two tensors, 8 and 4 bytes.
constexpr char kHeader[] = R"({"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},)"
                           R"("b":{"dtype":"BF16","shape":[2],"data_offsets":[8,12]}})";

TEST_F(SafetensorsTest, ReadsTensorsAndMetadata) {
  directory_.Write("t.safetensors",
                   File(R"({"__metadata__":{"format":"pt"},)" + std::string(kHeader + 1) + "   ",
                        "abcdefghijkl"));
  auto file = SafetensorsFile::Open(directory_ / "t.safetensors");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->metadata().at("format"), "pt");
  ASSERT_EQ((*file)->tensors().size(), 2u);
  const TensorView& a = (*file)->tensors().at("a");
  EXPECT_EQ(a.dtype, DType::kF32);
  EXPECT_EQ(a.shape, (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(std::string(static_cast<const char*>(a.data), a.num_bytes), "abcdefgh");
  const TensorView& b = (*file)->tensors().at("b");
  EXPECT_EQ(std::string(static_cast<const char*>(b.data), b.num_bytes), "ijkl");
}

TEST_F(SafetensorsTest, ScalarsAndEmptyTensorsAreTensors) {
  directory_.Write("t.safetensors",
                   File(R"({"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
                        R"("e":{"dtype":"F32","shape":[3,0],"data_offsets":[4,4]}})",
                        "abcd"));
  auto file = SafetensorsFile::Open(directory_ / "t.safetensors");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->tensors().at("s").num_elements(), 1);
  EXPECT_EQ((*file)->tensors().at("e").num_elements(), 0);
}

TEST_F(SafetensorsTest, TruncatedFilesAreDataLoss) {
  ExpectRefused("", Code::kDataLoss, "truncated: the file has 0 bytes");
  ExpectRefused("1234567", Code::kDataLoss, "truncated: the file has 7 bytes");
  const std::string whole = File(kHeader, "abcdefghijkl");
  ExpectRefused(whole.substr(0, 30), Code::kDataLoss, "truncated: the header says");
  ExpectRefused(whole.substr(0, whole.size() - 1), Code::kDataLoss,
                "tensor \"b\" ends at 12, but the data of the file end at 11");
}

TEST_F(SafetensorsTest, HeaderLongerThanTheFileIsRefused) {
  std::string bytes = File(kHeader, "abcdefghijkl");
  bytes[1] = 1;  // 256 bytes more
  ExpectRefused(bytes, Code::kDataLoss, "truncated: the header says");
  for (int i = 0; i < 8; ++i) bytes[i] = '\xff';
  ExpectRefused(bytes, Code::kInvalidArgument,
                "not a safetensors file: its header says 18446744073709551615 bytes, the format "
                "allows 100000000");
}

TEST_F(SafetensorsTest, HeaderThatIsNoJsonObjectIsRefused) {
  ExpectRefused(File("", ""), Code::kInvalidArgument, "not JSON");
  ExpectRefused(File("[]", ""), Code::kInvalidArgument, "must be an object, not a list");
  ExpectRefused(File("{\"a\":", ""), Code::kInvalidArgument, "not JSON");
  ExpectRefused(File(R"({"__metadata__":{"a":1}})", ""), Code::kInvalidArgument,
                "__metadata__ \"a\" must be a string");
}

TEST_F(SafetensorsTest, OverlapsAndHolesAreRefused) {
  ExpectRefused(File(R"({"a":{"dtype":"U8","shape":[6],"data_offsets":[0,6]},)"
                     R"("b":{"dtype":"U8","shape":[6],"data_offsets":[4,10]}})",
                     "abcdefghij"),
                Code::kInvalidArgument,
                "tensor \"b\" starts at 4 and overlaps \"a\", which ends at 6");
  ExpectRefused(File(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[2,4]},)"
                     R"("b":{"dtype":"U8","shape":[2],"data_offsets":[6,8]}})",
                     "abcdefghij"),
                Code::kInvalidArgument,
                "bytes 0 to 2 of the data belong to no tensor\n" + directory_.path() +
                    "/t.safetensors: bytes 4 to 6 of the data belong to no tensor\n" +
                    directory_.path() + "/t.safetensors: bytes 8 to 10 of the data");
}

TEST_F(SafetensorsTest, OffsetsMustFitDtypeAndShape) {
  auto header = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return File(R"({"a":{"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" +
                    offsets + "}}",
                "abcdefgh");
  };
  ExpectRefused(header("\"F32\"", "[3]", "[0,8]"), Code::kInvalidArgument,
                "has data_offsets [0, 8], but F32[3] takes 12 bytes");
  ExpectRefused(header("\"F32\"", "[2]", "[8,0]"), Code::kInvalidArgument, "takes 8 bytes");
  ExpectRefused(header("\"F32\"", "[2]", "[-8,0]"), Code::kInvalidArgument,
                "has no pair of \"data_offsets\"");
  ExpectRefused(header("\"F32\"", "[2]", "[0]"), Code::kInvalidArgument, "no pair");
  ExpectRefused(header("\"F32\"", "[2]", "[0,8.0]"), Code::kInvalidArgument, "no pair");
  ExpectRefused(header("\"F32\"", "[-1]", "[0,8]"), Code::kInvalidArgument, "not a list of sizes");
  ExpectRefused(header("\"F32\"", "\"2\"", "[0,8]"), Code::kInvalidArgument, "no list \"shape\"");
  ExpectRefused(header("\"F31\"", "[2]", "[0,8]"), Code::kInvalidArgument,
                "unsupported dtype \"F31\"");
  ExpectRefused(header("7", "[2]", "[0,8]"), Code::kInvalidArgument, "unsupported dtype 7");
  // 2^62 · 4 bytes wrap to 0, 2^61 · 4 · 2 + 8 to 8 in 64 bits.
  ExpectRefused(header("\"F32\"", "[4611686018427387904]", "[0,0]"), Code::kInvalidArgument,
                "larger than any memory");
  ExpectRefused(header("\"F32\"", "[0,4611686018427387904,4]", "[0,0]"), Code::kInvalidArgument,
                "larger than any memory");
  ExpectRefused(header("\"F32\"", "[2]", "[18446744073709551608,18446744073709551615]"),
                Code::kInvalidArgument, "takes 8 bytes");
  ExpectRefused(header("\"F32\"", "[2]", "[18446744073709551600,18446744073709551608]"),
                Code::kInvalidArgument, "ends at 18446744073709551608");
}

TEST_F(SafetensorsTest, AllProblemsOfAFileComeAtOnce) {
  const absl::Status status =
      StatusOf(File(R"({"a":{"dtype":"I3","shape":[2],"data_offsets":[0,8]},)"
                    R"("b":{"dtype":"F32","shape":[2],"data_offsets":[8,12]},"c":5,)"
                    R"("d":{"dtype":"F32","shape":[1],"data_offsets":[8,12],"color":1}})",
                    "abcdefghijkl"));
  const std::string path = directory_ / "t.safetensors";
  EXPECT_EQ(std::string(status.message()),
            path + ": tensor \"a\" has the unsupported dtype \"I3\"\n" + path +
                ": tensor \"b\" has data_offsets [8, 12], but F32[2] takes 8 bytes\n" + path +
                ": tensor \"c\" must be an object, not a number\n" + path +
                ": tensor \"d\" has the unknown key \"color\"");
}

TEST_F(SafetensorsTest, NamesThatStandTwiceAreRefused) {
  ExpectRefused(File(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                     R"("a":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})",
                     "abcd"),
                Code::kInvalidArgument, "the key \"a\" stands twice");
}

TEST_F(SafetensorsTest, MissingFilesAndDirectoriesAreNamed) {
  const auto missing = SafetensorsFile::Open(directory_ / "none").status();
  EXPECT_EQ(missing.code(), Code::kNotFound);
  EXPECT_THAT(std::string(missing.message()), HasSubstr("/none: No such file"));
  EXPECT_EQ(SafetensorsFile::Open(directory_.path()).status().code(), Code::kInvalidArgument);
}

TEST_F(SafetensorsTest, WhatIsWrittenReadsBackByteForByte) {
  const float floats[] = {1.5f, -0.0f, 3e-40f, std::numeric_limits<float>::quiet_NaN()};
  const int64_t integers[] = {-1, int64_t{1} << 40};
  const std::string path = directory_ / "w.safetensors";
  const std::vector<NamedTensor> tensors = {
      {"weird \"name\"\n", {DType::kF32, {2, 2}, floats, sizeof floats}},
      {"integers", {DType::kI64, {2}, integers, sizeof integers}},
      {"empty", {DType::kU8, {0}, nullptr, 0}}};
  ASSERT_TRUE(WriteSafetensors(path, tensors, {{"step", "17"}}).ok());
  auto file = SafetensorsFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->metadata().at("step"), "17");
  ASSERT_EQ((*file)->tensors().size(), 3u);
  for (const NamedTensor& tensor : tensors) {
    const TensorView& read = (*file)->tensors().at(tensor.name);
    EXPECT_EQ(read.dtype, tensor.view.dtype);
    EXPECT_EQ(read.shape, tensor.view.shape);
    ASSERT_EQ(read.num_bytes, tensor.view.num_bytes);
    if (read.num_bytes > 0) {
      EXPECT_EQ(std::memcmp(read.data, tensor.view.data, read.num_bytes), 0);
    }
  }
}

TEST_F(SafetensorsTest, WritingReplacesTheOldFileAndLeavesNothingBeside) {
  const std::string path = directory_ / "w.safetensors";
  const float one = 1, two = 2;
  ASSERT_TRUE(WriteSafetensors(path, {{"x", {DType::kF32, {}, &one, 4}}}).ok());
  auto old = SafetensorsFile::Open(path);
  ASSERT_TRUE(WriteSafetensors(path, {{"x", {DType::kF32, {}, &two, 4}}}).ok());
  // Whoever mapped the old file keeps its bytes.
  EXPECT_EQ(std::memcmp((*old)->tensors().at("x").data, &one, 4), 0);
  EXPECT_EQ(std::memcmp((*SafetensorsFile::Open(path))->tensors().at("x").data, &two, 4), 0);
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory_.path())) {
    files += entry.is_regular_file();
  }
  EXPECT_EQ(files, 1);
}

TEST_F(SafetensorsTest, FailedWritesLeaveTheOldFile) {
  const float one = 1;
  const NamedTensor tensor = {"x", {DType::kF32, {}, &one, 4}};
  EXPECT_EQ(WriteSafetensors(directory_ / "none/w", {tensor}).code(), Code::kUnavailable);
  EXPECT_EQ(WriteSafetensors(directory_ / "w", {tensor, tensor}).code(), Code::kInvalidArgument);
  EXPECT_FALSE(std::filesystem::exists(directory_ / "w"));
  // /dev/full is the disk that is always full.
  std::filesystem::create_symlink("/dev/full", directory_ / "full.tmp");
  directory_.Write("full", "old");
  EXPECT_EQ(WriteSafetensors(directory_ / "full", {tensor}).code(), Code::kResourceExhausted);
  EXPECT_EQ(ReadBytes(directory_ / "full"), "old");
}

uint32_t Bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

TEST(FloatConversionTest, EveryHalfWidensToItsExactValue) {
  for (uint32_t half = 0; half < 65536; ++half) {
    const uint16_t narrow = static_cast<uint16_t>(half);
    float wide;
    ConvertToFloat({DType::kF16, {1}, &narrow, 2}, &wide);
    const int exponent = half >> 10 & 31;
    const double fraction = half & 1023;
    double expected =
        exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
    if (exponent == 31) expected = fraction == 0 ? INFINITY : NAN;
    if (half & 0x8000) expected = -expected;
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(wide)) << half;
    } else {
      EXPECT_EQ(Bits(wide), Bits(static_cast<float>(expected))) << half;
    }
  }
}

TEST(FloatConversionTest, EveryBFloat16SurvivesWideningAndRounding) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const uint16_t narrow = static_cast<uint16_t>(bits);
    float wide;
    ConvertToFloat({DType::kBF16, {1}, &narrow, 2}, &wide);
    if (std::isnan(wide)) {
      EXPECT_EQ(FloatToBFloat16(wide), narrow | 0x40);
    } else {
      EXPECT_EQ(FloatToBFloat16(wide), narrow);
    }
  }
}

TEST(FloatConversionTest, RoundingGoesToTheNearestEvenNeighbour) {
  EXPECT_EQ(FloatToBFloat16(1.0f), 0x3f80);
  EXPECT_EQ(FloatToBFloat16(1.00390625f), 0x3f80);  // halfway, down to even
  EXPECT_EQ(FloatToBFloat16(1.01171875f), 0x3f82);  // halfway, up to even
  EXPECT_EQ(FloatToBFloat16(1.0039063692f), 0x3f81);
  EXPECT_EQ(FloatToBFloat16(3.4028235e38f), 0x7f80);  // rounds to infinity
  EXPECT_EQ(FloatToBFloat16(-INFINITY), 0xff80);
  EXPECT_EQ(FloatToBFloat16(1e-45f), 0x0000);
}

}  // namespace
}  // namespace ela
