// Files that strangers made: valid ones with bytes changed, cut, doubled or moved. Whatever comes
// out of the readers, it is a Status or a value that can be used, never a crash. Run under the
// address sanitizer too.
#include <functional>
#include <random>
#include <string>

#include "gtest/gtest.h"
#include "model/checkpoint/safetensors.h"
#include "model/checkpoint/weights.h"
#include "model/config.h"
#include "model/tokenizer.h"
#include "tests/model/temporary_directory.h"

namespace ela {
namespace {

constexpr char kModel[] = ELA_SOURCE_DIR "/tests/golden/lm/hadamard-long/";

// One to four random edits among the first `reach` bytes.
std::string Corrupt(std::string bytes, size_t reach, std::mt19937& random) {
  static const std::string kPieces[] = {"{",
                                        "}",
                                        "[",
                                        "]",
                                        "\"",
                                        ",",
                                        ":",
                                        "0",
                                        "-1",
                                        "1e999",
                                        "null",
                                        "\\u",
                                        "18446744073709551615",
                                        "9223372036854775808",
                                        "\xff",
                                        "true"};
  for (int edit = 1 + static_cast<int>(random() % 4); edit > 0 && !bytes.empty(); --edit) {
    const size_t at = random() % std::min(bytes.size(), reach);
    const size_t length = std::min<size_t>(random() % 16, bytes.size() - at);
    switch (random() % 7) {
      case 0:
        bytes[at] = static_cast<char>(random());
        break;
      case 1:
        bytes[at] = static_cast<char>(bytes[at] ^ 1 << random() % 8);
        break;
      case 2:
        bytes.resize(at);
        break;
      case 3:
        bytes.erase(at, length);
        break;
      case 4:
        bytes.insert(at, bytes.substr(at, length));
        break;
      case 5:
        bytes.replace(at, length, kPieces[random() % std::size(kPieces)]);
        break;
      default:
        if (bytes[at] >= '0' && bytes[at] <= '9')
          bytes[at] = static_cast<char>('0' + random() % 10);
    }
  }
  return bytes;
}

void ForManyCorruptions(const std::string& valid, size_t reach, int rounds,
                        const std::function<void(const std::string&, uint32_t seed)>& read) {
  for (int round = 0; round < rounds; ++round) {
    const uint32_t seed = 1000u + static_cast<uint32_t>(round);
    std::mt19937 random(seed);
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    read(Corrupt(valid, reach, random), seed);
  }
}

void ExpectClean(const absl::Status& status) {
  if (status.ok()) return;
  EXPECT_TRUE(status.code() == absl::StatusCode::kInvalidArgument ||
              status.code() == absl::StatusCode::kDataLoss)
      << status;
  EXPECT_FALSE(status.message().empty());
}

TEST(CorruptionTest, ConfigsAreReadOrRefused) {
  int read = 0;
  ForManyCorruptions(ReadBytes(std::string(kModel) + "config.json"), ~size_t{0}, 20000,
                     [&](const std::string& bytes, uint32_t) {
                       auto config = ParseLanguageConfig(bytes, "config.json");
                       ExpectClean(config.status());
                       if (!config.ok()) return;
                       ++read;
                       EXPECT_TRUE(ParseLanguageConfig(ToJson(*config), "again").ok());
                     });
  EXPECT_GT(read, 0);
}

TEST(CorruptionTest, SafetensorsAreReadOrRefused) {
  TemporaryDirectory directory;
  const std::string path = directory / "model.safetensors";
  const std::string valid = ReadBytes(std::string(kModel) + "model.safetensors");
  auto config = LoadLanguageConfig(kModel);
  ASSERT_TRUE(config.ok());
  int read = 0;
  ForManyCorruptions(valid, 4200, 2000, [&](const std::string& bytes, uint32_t) {
    directory.Write("model.safetensors", bytes);
    auto file = SafetensorsFile::Open(path);
    ExpectClean(file.status());
    if (!file.ok()) return;
    ++read;
    unsigned sum = 0;  // every byte that a view promises can be read
    for (const auto& [name, view] : (*file)->tensors()) {
      const auto* data = static_cast<const unsigned char*>(view.data);
      for (size_t i = 0; i < view.num_bytes; ++i) sum += data[i];
    }
    EXPECT_GT(sum, 0u);
    ExpectClean(Weights::Load(directory.path(), ExpectedTensors(*config)).status());
  });
  EXPECT_GT(read, 0);
}

TEST(CorruptionTest, TokenizersAreReadOrRefused) {
  // Small, so that edits hit every part: all byte tokens would hide the rest.
  const std::string valid =
      R"j({"version":"1.0","truncation":null,"padding":null,"added_tokens":[{"id":0,"content":"<s>",)j"
      R"j("single_word":false,"lstrip":true,"rstrip":true,"normalized":false,"special":true},)j"
      R"j({"id":9,"content":"<x>","single_word":true,"lstrip":false,"rstrip":false,"normalized":true,)j"
      R"j("special":false}],"normalizer":null,"pre_tokenizer":{"type":"Sequence","pretokenizers":[)j"
      R"j({"type":"Split","pattern":{"Regex":"(?i:'s)|\\p{N}{1,3}|[^\\s\\p{L}]+|\\s+(?!\\S)"},)j"
      R"j("behavior":"Isolated","invert":false},{"type":"Digits","individual_digits":true},)j"
      R"j({"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true}]},)j"
      R"j("post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>",)j"
      R"j("type_id":0}},{"Sequence":{"id":"A","type_id":0}}],"pair":[],"special_tokens":{}},)j"
      R"j("decoder":{"type":"ByteLevel"},"model":{"type":"BPE","dropout":null,"unk_token":"<u>",)j"
      R"j("fuse_unk":true,"byte_fallback":false,"ignore_merges":true,"vocab":{"<s>":0,"<u>":1,)j"
      R"j("a":2,"b":3,"ab":4,"Ġ":5,"Ġab":6,"1":7,"aba":8},"merges":["a b","Ġ ab",["ab","a"]]}})j";
  const std::string text = "<s> ab'S aba <x>  12 \xff\xe5\xa4 ababab<x>b a天\n ";
  TemporaryDirectory directory;
  int read = 0;
  ForManyCorruptions(valid, ~size_t{0}, 1500, [&](const std::string& bytes, uint32_t) {
    directory.Write("tokenizer.json", bytes);
    auto tokenizer = Tokenizer::Load(directory.path());
    ExpectClean(tokenizer.status());
    if (!tokenizer.ok()) return;
    ++read;
    for (bool special : {true, false}) {
      for (TokenId id : (*tokenizer)->Encode(text, special)) {
        ASSERT_GE(id, 0);
        ASSERT_LT(id, (*tokenizer)->vocab_size());
        (*tokenizer)->Bytes(id);
      }
    }
  });
  EXPECT_GT(read, 0);
}

TEST(CorruptionTest, AnyBytesAreATextToTheTokenizer) {
  auto tokenizer = Tokenizer::Load(ELA_SOURCE_DIR "/tests/golden/tokenizer");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  for (uint32_t seed = 0; seed < 3000; ++seed) {
    std::mt19937 random(seed);
    std::string bytes(random() % 64, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    const auto ids = (*tokenizer)->Encode(bytes, false);
    // What comes back is the text with its broken parts replaced, and that is a fixed point.
    const std::string text = (*tokenizer)->Decode(ids, false);
    EXPECT_EQ((*tokenizer)->Decode((*tokenizer)->Encode(text, false), false), text) << seed;
  }
}

}  // namespace
}  // namespace ela
