#include "model/tokenizer.h"

#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <thread>

#include "absl/strings/escaping.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/model/temporary_directory.h"

namespace ela {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

constexpr char kFolder[] = ELA_SOURCE_DIR "/tests/golden/tokenizer";

json Golden(const std::string& file) {
  return json::parse(ReadBytes(std::string(kFolder) + "/" + file));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadFrom(const json& tokenizer,
                                                    const json& config = nullptr) {
  TemporaryDirectory directory;
  directory.Write("tokenizer.json", tokenizer.dump());
  if (!config.is_null()) directory.Write("tokenizer_config.json", config.dump());
  return Tokenizer::Load(directory.path());
}

// The golden tokenizer.json with some keys replaced; "model" key by key.
json Patched(const json& patch) {
  json tokenizer = Golden("tokenizer.json");
  for (const auto& [key, value] : patch.items()) {
    if (key == "model") {
      tokenizer["model"].update(value);
    } else {
      tokenizer[key] = value;
    }
  }
  return tokenizer;
}

std::unique_ptr<Tokenizer> LoadGolden() {
  auto tokenizer = Tokenizer::Load(kFolder);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

std::string ErrorOf(const json& patch, const json& config = nullptr) {
  auto tokenizer = LoadFrom(Patched(patch), config);
  if (tokenizer.ok()) return "accepted";
  EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(tokenizer.status().message());
}

// The cases come from Hugging Face's library: tests/model/tokenizer_golden.py.
TEST(TokenizerTest, GivesTheIdsOfTheOriginalInEveryVariant) {
  for (const json& variant : Golden("cases.json")) {
    SCOPED_TRACE(variant["name"]);
    auto loaded = LoadFrom(Patched(variant["patch"]));
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    const Tokenizer& tokenizer = **loaded;
    for (const json& one : variant["cases"]) {
      const std::string text = one.contains("hex")
                                   ? absl::HexStringToBytes(one["hex"].get<std::string>())
                                   : one["text"].get<std::string>();
      SCOPED_TRACE(json(one).dump());
      const auto ids = one["ids"].get<std::vector<TokenId>>();
      EXPECT_EQ(tokenizer.Encode(text), ids);
      const json plain = one.value("plain_ids", one["ids"]);
      EXPECT_EQ(tokenizer.Encode(text, false), plain.get<std::vector<TokenId>>());
      const std::string decoded =
          one.contains("decoded") ? one["decoded"].get<std::string>() : text;
      EXPECT_EQ(tokenizer.Decode(ids, false), decoded);
      Detokenizer stream(tokenizer, false);
      std::string streamed;
      for (TokenId id : ids) streamed += stream.Push(id);
      EXPECT_EQ(streamed + stream.Finish(), decoded);
    }
  }
}

TEST(TokenizerTest, KnowsItsTokens) {
  const auto tokenizer = LoadGolden();
  EXPECT_EQ(tokenizer->vocab_size(), 6400);
  EXPECT_EQ(tokenizer->TokenToId("<|im_end|>"), 2);
  EXPECT_EQ(tokenizer->TokenToId("no such token"), std::nullopt);
  EXPECT_TRUE(tokenizer->IsSpecial(2));
  EXPECT_FALSE(tokenizer->IsSpecial(25));  // <think>: added, not special
  EXPECT_FALSE(tokenizer->IsSpecial(6399));
  EXPECT_FALSE(tokenizer->IsSpecial(-1));
  EXPECT_FALSE(tokenizer->IsSpecial(6400));
  EXPECT_EQ(tokenizer->Bytes(25), "<think>");
  EXPECT_EQ(tokenizer->Bytes(*tokenizer->TokenToId("Ġthe")), " the");
  EXPECT_THAT(tokenizer->chat_template(), HasSubstr("<|im_start|>"));
}

TEST(TokenizerTest, EveryByteStringSurvivesTheTokens) {
  const auto tokenizer = LoadGolden();
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    std::vector<TokenId> ids(random() % 40);
    std::string bytes;
    for (TokenId& id : ids) {
      id = static_cast<TokenId>(random() % 6400);
      bytes.append(tokenizer->Bytes(id).data(), tokenizer->Bytes(id).size());
    }
    Detokenizer stream(*tokenizer, false);
    std::string streamed;
    for (TokenId id : ids) {
      streamed += stream.Push(id);
    }
    streamed += stream.Finish();
    // However the tokens cut the characters, the stream and the whole say the same.
    EXPECT_EQ(streamed, tokenizer->Decode(ids, false)) << "round " << round;
    EXPECT_EQ(tokenizer->Encode(bytes, false), tokenizer->Encode(streamed, false)) << round;
  }
}

TEST(TokenizerTest, DecodingLeavesSpecialTokensOutWhenAsked) {
  const auto tokenizer = LoadGolden();
  const auto ids = tokenizer->Encode("<|im_start|>hi<think>there<|im_end|>");
  EXPECT_EQ(tokenizer->Decode(ids), "hi<think>there");
  EXPECT_EQ(tokenizer->Decode(ids, false), "<|im_start|>hi<think>there<|im_end|>");
}

TEST(TokenizerTest, ThreadsShareOneTokenizer) {
  const auto tokenizer = LoadGolden();
  const std::string text = "The quick brown fox, 天地玄黄 'll <|im_end|> " + std::string(200, 'z');
  const auto expected = tokenizer->Encode(text);
  std::vector<std::thread> threads;
  std::vector<int> wrong(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) wrong[t] += tokenizer->Encode(text) != expected;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4));
}

TEST(TokenizerTest, AVeryLongWordTakesNoQuadraticTime) {
  const auto tokenizer = LoadGolden();
  std::string word;
  std::mt19937 random(3);
  while (word.size() < 2'000'000) word += static_cast<char>('a' + random() % 26);
  const auto ids = tokenizer->Encode(word);
  EXPECT_EQ(tokenizer->Decode(ids), word);
}

TEST(DetokenizerTest, PiecesAreWholeCharacters) {
  const auto tokenizer = LoadGolden();
  Detokenizer stream(*tokenizer);
  std::vector<TokenId> bytes;  // one token per byte of "a天"
  for (absl::string_view spelled : {"a", "å", "¤", "©"})
    bytes.push_back(*tokenizer->TokenToId(spelled));
  EXPECT_EQ(stream.Push(bytes[0]), "a");
  EXPECT_EQ(stream.Push(bytes[1]), "");
  EXPECT_EQ(stream.Push(bytes[2]), "");
  EXPECT_EQ(stream.Push(bytes[3]), "天");
  EXPECT_EQ(stream.Finish(), "");
}

TEST(DetokenizerTest, BrokenCharactersAreReplacedAsSoonAsTheyCannotBecomeWhole) {
  const auto tokenizer = LoadGolden();
  Detokenizer stream(*tokenizer);
  const TokenId start = *tokenizer->TokenToId("å"), middle = *tokenizer->TokenToId("¤");
  EXPECT_EQ(stream.Push(start), "");
  EXPECT_EQ(stream.Push(start), "\uFFFD");
  EXPECT_EQ(stream.Push(middle), "");
  EXPECT_EQ(stream.Push(*tokenizer->TokenToId("x")), "\uFFFDx");
  EXPECT_EQ(stream.Push(middle), "\uFFFD");
  EXPECT_EQ(stream.Push(start), "");
  EXPECT_EQ(stream.Finish(), "\uFFFD");
  EXPECT_EQ(stream.Finish(), "");
}

TEST(TokenizerTest, BosStandsInFrontOnlyWhereTheConfigSaysSo) {
  const std::vector<TokenId> plain = LoadGolden()->Encode("hi");
  auto with = LoadFrom(Patched({}), {{"add_bos_token", true}, {"bos_token", "<|im_start|>"}});
  ASSERT_TRUE(with.ok()) << with.status();
  std::vector<TokenId> expected = plain;
  expected.insert(expected.begin(), 1);
  EXPECT_EQ((*with)->Encode("hi"), expected);
  EXPECT_EQ((*with)->Encode(""), std::vector<TokenId>{1});
  auto nested = LoadFrom(Patched({}),
                         {{"add_bos_token", true}, {"bos_token", {{"content", "<|im_start|>"}}}});
  EXPECT_EQ((*nested)->Encode("hi"), expected);

  const json post = json::parse(
      R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<|im_end|>","type_id":0}},)"
      R"({"Sequence":{"id":"A","type_id":0}}],"pair":[],"special_tokens":{}})");
  auto silent = LoadFrom(Patched({{"post_processor", post}}), {{"add_bos_token", false}});
  ASSERT_TRUE(silent.ok()) << silent.status();
  EXPECT_EQ((*silent)->Encode("hi"), plain);
  auto speaking = LoadFrom(Patched({{"post_processor", post}}), {{"add_bos_token", true}});
  ASSERT_TRUE(speaking.ok()) << speaking.status();
  expected[0] = 2;
  EXPECT_EQ((*speaking)->Encode("hi"), expected);
}

TEST(TokenizerTest, BytesOutsideTheVocabularyBecomeUnknownOrVanish) {
  json tokenizer = json::parse(
      R"({"added_tokens":[],"normalizer":null,"pre_tokenizer":{"type":"ByteLevel",)"
      R"("add_prefix_space":false,"use_regex":false},"post_processor":null,)"
      R"("decoder":{"type":"ByteLevel"},"model":{"type":"BPE","unk_token":null,"fuse_unk":false,)"
      R"("vocab":{"a":0,"b":1,"ab":2,"<unk>":9},"merges":["a b"]}})");
  auto silent = LoadFrom(tokenizer);
  ASSERT_TRUE(silent.ok()) << silent.status();
  EXPECT_EQ((*silent)->Encode("axxb"), std::vector<TokenId>{2});  // as the original has it
  EXPECT_EQ((*silent)->vocab_size(), 10);
  EXPECT_EQ((*silent)->Bytes(5), "");
  tokenizer["model"]["unk_token"] = "<unk>";
  EXPECT_EQ((*LoadFrom(tokenizer))->Encode("axxb"), (std::vector<TokenId>{0, 9, 9, 1}));
  tokenizer["model"]["fuse_unk"] = true;
  EXPECT_EQ((*LoadFrom(tokenizer))->Encode("axxb"), (std::vector<TokenId>{0, 9, 1}));
}

TEST(TokenizerTest, WhatIsNotUnderstoodIsNamed) {
  EXPECT_THAT(ErrorOf({{"normalizer", {{"type", "Lowercase"}}}}),
              HasSubstr("normalizer: \"Lowercase\" is not supported"));
  EXPECT_THAT(ErrorOf({{"pre_tokenizer", {{"type", "Metaspace"}}}}),
              HasSubstr("pre_tokenizer: \"Metaspace\" is not supported"));
  EXPECT_THAT(ErrorOf({{"pre_tokenizer", nullptr}}), HasSubstr("pre_tokenizer is null"));
  EXPECT_THAT(ErrorOf({{"pre_tokenizer", {{"type", "Digits"}}}}), HasSubstr("has no ByteLevel"));
  EXPECT_THAT(ErrorOf({{"decoder", nullptr}}), HasSubstr("decoder: null is not supported"));
  EXPECT_THAT(ErrorOf({{"post_processor", {{"type", "BertProcessing"}}}}),
              HasSubstr("post_processor: \"BertProcessing\" is not supported"));
  EXPECT_THAT(ErrorOf({{"truncation", {{"max_length", 5}}}}), HasSubstr("truncation is set"));
  EXPECT_THAT(ErrorOf({{"extra", 1}}), HasSubstr("extra is not a known key"));
  EXPECT_THAT(ErrorOf({{"model", {{"type", "Unigram"}}}}),
              HasSubstr("\"Unigram\" is not supported"));
  EXPECT_THAT(ErrorOf({{"model", {{"byte_fallback", true}}}}), HasSubstr("byte_fallback is true"));
  EXPECT_THAT(ErrorOf({{"model", {{"dropout", 0.1}}}}), HasSubstr("dropout is 0.1"));
  EXPECT_THAT(ErrorOf({{"model", {{"end_of_word_suffix", "</w>"}}}}),
              HasSubstr("end_of_word_suffix"));
  EXPECT_THAT(ErrorOf({{"model", {{"merges", {"ab"}}}}}), HasSubstr("merge 0 is not a pair"));
  EXPECT_THAT(ErrorOf({{"model", {{"merges", {"a qqqq"}}}}}),
              HasSubstr("merge 0 of \"a\" and \"qqqq\""));
  EXPECT_THAT(ErrorOf({{"model", {{"vocab", {{"a", -1}}}}}}),
              HasSubstr("token \"a\" has the id -1"));
  EXPECT_THAT(ErrorOf({{"model", {{"vocab", {{"a", 1}, {"b", 1}}}}}}),
              HasSubstr("tokens \"a\" and \"b\" share the id 1"));
  EXPECT_THAT(ErrorOf({}, {{"add_bos_token", true}}), HasSubstr("bos_token \"\" is no token"));
  EXPECT_THAT(ErrorOf({}, {{"add_eos_token", true}}), HasSubstr("add_eos_token is not supported"));
  EXPECT_THAT(ErrorOf({{"added_tokens", {{{"id", 6500}, {"content", "brand new"}}}}}),
              HasSubstr("id of \"brand new\" is 6500, its place is 6400"));
  EXPECT_EQ(Tokenizer::Load("/nonexistent").status().code(), absl::StatusCode::kNotFound);
}

TEST(TokenizerTest, RegularExpressionsThatOtherEnginesReadOtherwiseAreRefused) {
  const auto error = [](const std::string& pattern) {
    const json split = {
        {"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}};
    return ErrorOf({{"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {split}}}}});
  };
  EXPECT_THAT(error("a^b"), HasSubstr("the anchor ^ is not supported"));
  EXPECT_THAT(error("\\h"), HasSubstr("the escape \\h is not supported"));
  EXPECT_THAT(error("[a&&b]"), HasSubstr("an intersection of classes"));
  EXPECT_THAT(error("[[:alpha:]]"), HasSubstr("a class within a class"));
  EXPECT_THAT(error("a{1,2}+"), HasSubstr("{…}+"));
  EXPECT_THAT(error("(?m:a)"), HasSubstr("the group (?m:"));
  EXPECT_THAT(error("(*ACCEPT)"), HasSubstr("(* is not supported"));
  EXPECT_THAT(error("\\p{Klingon}"), HasSubstr("unknown property"));
  EXPECT_THAT(error("(a"), HasSubstr("missing closing parenthesis"));
  EXPECT_THAT(error("a\\"), HasSubstr("a backslash at the end"));
}

}  // namespace
}  // namespace ela
