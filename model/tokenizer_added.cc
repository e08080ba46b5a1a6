#include "model/tokenizer_added.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "model/status_macros.h"
#include "model/utf8.h"

namespace ela {
namespace {

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
  ELA_ASSIGN_OR_RETURN(Regex word_character,
                       Regex::FromPcre2("[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}]"));
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
