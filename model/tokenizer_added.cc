#include "model/tokenizer_added.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "model/status_macros.h"
#include "model/utf8.h"

namespace ela {
namespace {

// A word character as the original has it, which knows Unicode 16; PCRE2 10.42 knows Unicode 14, so
// the letters and digits of 15 and 16 stand here by number.
constexpr absl::string_view kWordCharacter =
    R"([\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control})"
    R"(\x{897}\x{cf3}\x{ece}\x{1c89}-\x{1c8a}\x{a7cb}-\x{a7cd}\x{a7da}-\x{a7dc})"
    R"(\x{105c0}-\x{105f3}\x{10d40}-\x{10d65}\x{10d69}-\x{10d6d}\x{10d6f}-\x{10d85})"
    R"(\x{10ec2}-\x{10ec4}\x{10efc}-\x{10eff}\x{1123f}-\x{11241}\x{11380}-\x{11389})"
    R"(\x{1138b}\x{1138e}\x{11390}-\x{113b5}\x{113b7}-\x{113c0}\x{113c2}\x{113c5})"
    R"(\x{113c7}-\x{113ca}\x{113cc}-\x{113d3}\x{113e1}-\x{113e2}\x{116d0}-\x{116e3})"
    R"(\x{11bc0}-\x{11be0}\x{11bf0}-\x{11bf9}\x{11f00}-\x{11f10}\x{11f12}-\x{11f3a})"
    R"(\x{11f3e}-\x{11f42}\x{11f50}-\x{11f5a}\x{1342f}\x{13440}-\x{13455})"
    R"(\x{13460}-\x{143fa}\x{16100}-\x{16139}\x{16d40}-\x{16d6c}\x{16d70}-\x{16d79})"
    R"(\x{18cff}\x{1b132}\x{1b155}\x{1ccf0}-\x{1ccf9}\x{1df25}-\x{1df2a}\x{1e030}-\x{1e06d})"
    R"(\x{1e08f}\x{1e4d0}-\x{1e4f9}\x{1e5d0}-\x{1e5fa}\x{2b739}\x{2ebf0}-\x{2ee5d})"
    R"(\x{31350}-\x{323af})"
    "]";

// The last character of valid UTF-8; empty for an empty text.
absl::string_view LastCharacter(absl::string_view text) {
  size_t begin = text.size();
  while (begin > 0 && (static_cast<unsigned char>(text[--begin]) & 0xC0) == 0x80) {
  }
  return text.substr(begin);
}

absl::string_view FirstCharacter(absl::string_view text) {
  return text.empty() ? text : text.substr(0, FirstChar(text).length);
}

bool IsSpace(absl::string_view character) {
  return !character.empty() && IsWhiteSpace(FirstChar(character).code_point);
}

}  // namespace

absl::StatusOr<AddedTokenFinder> AddedTokenFinder::Create(std::vector<AddedToken> tokens) {
  ELA_ASSIGN_OR_RETURN(Regex word_character, Regex::FromPcre2(kWordCharacter));
  AddedTokenFinder finder(std::move(word_character));
  for (AddedToken& token : tokens) {
    if (token.content.empty()) continue;
    finder.tokens_[static_cast<unsigned char>(token.content[0])].push_back(std::move(token));
  }
  for (std::vector<AddedToken>& list : finder.tokens_) {
    std::stable_sort(list.begin(), list.end(), [](const AddedToken& a, const AddedToken& b) {
      return a.content.size() > b.content.size();
    });
  }
  return finder;
}

const AddedToken* AddedTokenFinder::LongestAt(absl::string_view text) const {
  for (const AddedToken& token : tokens_[static_cast<unsigned char>(text[0])]) {
    if (absl::StartsWith(text, token.content)) return &token;
  }
  return nullptr;
}

bool AddedTokenFinder::IsWordCharacter(absl::string_view character) const {
  bool is_word = false;
  word_character_.Cut(character, [&](size_t, size_t, bool is_match) { is_word |= is_match; });
  return is_word;
}

bool AddedTokenFinder::StandsAlone(absl::string_view text, size_t begin, size_t end) const {
  return !IsWordCharacter(LastCharacter(text.substr(0, begin))) &&
         !IsWordCharacter(FirstCharacter(text.substr(end)));
}

void AddedTokenFinder::Cut(
    absl::string_view text, bool find_special,
    absl::FunctionRef<void(absl::string_view part, const AddedToken* token)> piece) const {
  size_t done = 0;    // handed out
  size_t search = 0;  // where the next token may begin
  while (search < text.size()) {
    const AddedToken* token = LongestAt(text.substr(search));
    if (token == nullptr) {
      ++search;
      continue;
    }
    size_t begin = search;
    size_t end = search + token->content.size();
    search = end;  // a token that does not count hides what begins within it all the same
    if (token->special && !find_special) continue;
    if (token->single_word && !StandsAlone(text, begin, end)) continue;
    if (token->lstrip) {
      while (begin > done && IsSpace(LastCharacter(text.substr(0, begin)))) {
        begin -= LastCharacter(text.substr(0, begin)).size();
      }
    }
    if (token->rstrip) {
      while (IsSpace(FirstCharacter(text.substr(end))))
        end += FirstCharacter(text.substr(end)).size();
    }
    if (done < begin) piece(text.substr(done, begin - done), nullptr);
    piece(text.substr(begin, end - begin), token);
    done = end;
  }
  if (done < text.size()) piece(text.substr(done), nullptr);
}

}  // namespace ela
