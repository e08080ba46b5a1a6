#include "server/text_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "tests/server/byte_tokenizer.h"

namespace ela {
namespace {

std::vector<TokenId> Bytes(const std::string& text) {
  return ByteTokenizer().Encode(text, /*parse_special=*/false);
}

// What a stream gives for the tokens: the pieces as they come out, then the rest.
struct Played {
  std::vector<std::string> pieces;
  std::string text;
  bool stopped;
};

Played Play(const std::vector<TokenId>& tokens, const std::vector<std::string>& stops,
            bool keep_special = false) {
  static const ByteTokenizer tokenizer;
  TextStream stream(tokenizer, stops, keep_special);
  Played played;
  for (const TokenId token : tokens) {
    std::string piece;
    stream.Push(token, &piece);
    played.pieces.push_back(piece);
    played.text += piece;
  }
  stream.Finish(&played.text);
  played.stopped = stream.stopped() != nullptr;
  return played;
}

TEST(TextStreamTest, WithoutStopStringsTextComesAtOnce) {
  EXPECT_THAT(Play(Bytes("abc"), {}).pieces, testing::ElementsAre("a", "b", "c"));
}

TEST(TextStreamTest, HoldsBackWhatMightBecomeAStop) {
  const Played played = Play(Bytes("abab!"), {"abc"});
  EXPECT_THAT(played.pieces, testing::ElementsAre("", "", "ab", "", "ab!"));
  EXPECT_FALSE(played.stopped);
}

TEST(TextStreamTest, GivesOutHeldTextAtTheEnd) {
  EXPECT_EQ(Play(Bytes("xab"), {"abc"}).text, "xab");
}

TEST(TextStreamTest, EndsBeforeAStopThatIsSplitAcrossTokens) {
  const Played played = Play(Bytes("one\n\ntwo"), {"\n\n"});
  EXPECT_EQ(played.text, "one");
  EXPECT_TRUE(played.stopped);
}

TEST(TextStreamTest, EndsBeforeAStopInsideOneToken) {
  EXPECT_EQ(Play({'a', ByteTokenizer::kStopMe, 'z'}, {"\n\n"}).text, "ax");
}

TEST(TextStreamTest, NeverSplitsACharacter) {
  // The euro sign arrives in two tokens; the stop string begins with another character that shares
  // its first byte.
  const std::vector<TokenId> euro = {ByteTokenizer::kHalfEuro, ByteTokenizer::kRestEuro};
  const Played played = Play(euro, {"\xE2\x82\xAD"});
  EXPECT_THAT(played.pieces, testing::ElementsAre("", "\xE2\x82\xAC!"));
}

TEST(TextStreamTest, StopsAtACharacterSplitAcrossTokens) {
  const Played played =
      Play({'a', ByteTokenizer::kHalfEuro, ByteTokenizer::kRestEuro}, {"\xE2\x82\xAC"});
  EXPECT_EQ(played.text, "a");
  EXPECT_TRUE(played.stopped);
}

TEST(TextStreamTest, OfSeveralStopsTheOneThatEndsFirstWins) {
  EXPECT_EQ(Play(Bytes("abcd"), {"abcd", "bc"}).text, "a");
}

TEST(TextStreamTest, OfStopsThatEndTogetherTheLongestWins) {
  EXPECT_EQ(Play(Bytes("xabc"), {"bc", "abc"}).text, "x");
}

TEST(TextStreamTest, SpecialTokensAreNoTextUnlessAskedFor) {
  EXPECT_EQ(Play({'a', ByteTokenizer::kEndOfText, 'b'}, {}).text, "ab");
  EXPECT_EQ(Play({'a', ByteTokenizer::kEndOfText, 'b'}, {}, /*keep_special=*/true).text,
            "a<|end|>b");
}

TEST(TextStreamTest, AnIdBeyondTheTokenizerHasNoText) {
  EXPECT_EQ(Play({'a', ByteTokenizer::kVocabSize + 7, 'b'}, {}).text, "ab");
}

TEST(TextStreamTest, AnUnfinishedCharacterBecomesAReplacementCharacter) {
  EXPECT_EQ(Play({'a', ByteTokenizer::kHalfEuro}, {}).text, "a\xEF\xBF\xBD");
}

TEST(TextStreamTest, TheEngineStopsAtTheSameToken) {
  const ByteTokenizer tokenizer;
  StopStrings condition(tokenizer, {"lo\n"}, /*keep_special=*/false);
  EXPECT_FALSE(condition.StopsAfter(ByteTokenizer::kHello));
  EXPECT_TRUE(condition.StopsAfter('\n'));
}

// Against a plain search: any text of a small alphabet, any stops, cut into tokens anyhow.
TEST(TextStreamTest, AgreesWithAPlainSearch) {
  for (unsigned seed = 0; seed < 2000; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const auto word = [&random](size_t longest) {
      std::string text(1 + random() % longest, 'a');
      for (char& c : text) c = "ab\n"[random() % 3];
      return text;
    };
    std::vector<std::string> stops(1 + random() % 3);
    for (std::string& stop : stops) stop = word(4);
    const std::string text = word(24);

    // The first end of any stop; of those that end there the longest.
    std::string expected = text;
    bool found = false;
    for (size_t end = 1; end <= text.size() && !found; ++end) {
      size_t longest = 0;
      for (const std::string& stop : stops) {
        if (absl::EndsWith(text.substr(0, end), stop)) longest = std::max(longest, stop.size());
      }
      found = longest > 0;
      if (found) expected = text.substr(0, end - longest);
    }
    const Played played = Play(Bytes(text), stops);
    EXPECT_EQ(played.text, expected);
    EXPECT_EQ(played.stopped, found);
  }
}

}  // namespace
}  // namespace ela
