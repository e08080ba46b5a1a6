#define PCRE2_CODE_UNIT_WIDTH 8
#include "model/tokenizer_regex.h"

#include <pcre2.h>

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "model/status_macros.h"
#include "model/utf8.h"

namespace ela {
namespace {

absl::Status Unsupported(absl::string_view pattern, absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("regular expression ", pattern, ": ", what, " is not supported"));
}

bool IsAsciiLetterOrDigit(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// Translates one escape, `at` being the place after the backslash; moves `at` behind it.
absl::Status TranslateEscape(absl::string_view pattern, size_t* at, std::string* out) {
  if (*at >= pattern.size()) return Unsupported(pattern, "a backslash at the end");
  const char c = pattern[(*at)++];
  switch (c) {
    case 's':  // PCRE2's own \s has U+180E as well
      *out += "\\p{White_Space}";
      return absl::OkStatus();
    case 'S':
      *out += "\\P{White_Space}";
      return absl::OkStatus();
    case 'd':
      *out += "\\p{Nd}";
      return absl::OkStatus();
    case 'D':
      *out += "\\P{Nd}";
      return absl::OkStatus();
    case 'r':
    case 'n':
    case 't':
    case 'f':
      absl::StrAppend(out, "\\", absl::string_view(&c, 1));
      return absl::OkStatus();
    case 'p':
    case 'P': {
      const size_t close = pattern.find('}', *at);
      if (*at >= pattern.size() || pattern[*at] != '{' || close == absl::string_view::npos) {
        return Unsupported(pattern, "a property without braces");
      }
      const absl::string_view name = pattern.substr(*at + 1, close - *at - 1);
      for (char letter : name) {
        if (!IsAsciiLetterOrDigit(letter) && letter != '_') {
          return Unsupported(pattern, absl::StrCat("the property \"", name, "\""));
        }
      }
      // Names of one or two letters are general categories, others scripts: of the character
      // itself, not of its extensions, which a bare name means to PCRE2.
      absl::StrAppend(out, "\\", absl::string_view(&c, 1), "{", name.size() > 2 ? "sc:" : "", name,
                      "}");
      *at = close + 1;
      return absl::OkStatus();
    }
    default:
      if (IsAsciiLetterOrDigit(c) || static_cast<unsigned char>(c) >= 0x80) {
        return Unsupported(pattern, absl::StrCat("the escape \\", absl::string_view(&c, 1)));
      }
      absl::StrAppend(out, "\\", absl::string_view(&c, 1));
      return absl::OkStatus();
  }
}

// Copies a bracketed class; `at` stands behind its '['.
absl::Status TranslateClass(absl::string_view pattern, size_t* at, std::string* out) {
  *out += '[';
  if (*at < pattern.size() && pattern[*at] == '^') {
    *out += '^';
    ++*at;
  }
  if (*at < pattern.size() && pattern[*at] == ']') return Unsupported(pattern, "an empty class");
  while (*at < pattern.size()) {
    const char c = pattern[(*at)++];
    if (c == ']') {
      *out += ']';
      return absl::OkStatus();
    }
    if (c == '[') return Unsupported(pattern, "a class within a class");
    if (c == '&' && *at < pattern.size() && pattern[*at] == '&') {
      return Unsupported(pattern, "an intersection of classes");
    }
    if (c == '\\') {
      ELA_RETURN_IF_ERROR(TranslateEscape(pattern, at, out));
    } else {
      *out += c;
    }
  }
  return Unsupported(pattern, "a class without an end");
}

}  // namespace

absl::StatusOr<std::string> OnigurumaToPcre2(absl::string_view pattern) {
  if (!IsValidUtf8(pattern)) return Unsupported("(invalid UTF-8)", "invalid UTF-8");
  std::string out;
  size_t at = 0;
  while (at < pattern.size()) {
    const char c = pattern[at++];
    switch (c) {
      case '\\':
        ELA_RETURN_IF_ERROR(TranslateEscape(pattern, &at, &out));
        break;
      case '[':
        ELA_RETURN_IF_ERROR(TranslateClass(pattern, &at, &out));
        break;
      case '^':  // Ruby's anchors are those of lines
      case '$':
        return Unsupported(pattern, absl::StrCat("the anchor ", absl::string_view(&c, 1)));
      case '(': {
        out += c;
        if (at < pattern.size() && pattern[at] == '*') return Unsupported(pattern, "(*");
        if (at >= pattern.size() || pattern[at] != '?') break;
        bool known = false;
        for (absl::string_view group : {"?:", "?=", "?!", "?<=", "?<!", "?>", "?i:", "?i)"}) {
          if (known || !absl::StartsWith(pattern.substr(at), group)) continue;
          known = true;
          absl::StrAppend(&out, group);
          at += group.size();
        }
        if (!known) return Unsupported(pattern, absl::StrCat("the group (", pattern.substr(at, 3)));
        break;
      }
      case '}':  // {n,m}+ is possessive to PCRE2, a repeated repetition to Ruby
        out += c;
        if (at < pattern.size() && pattern[at] == '+') return Unsupported(pattern, "{…}+");
        break;
      default:
        out += c;
    }
  }
  return out;
}

struct Regex::Code {
  explicit Code(pcre2_code* compiled) : code(compiled) {}
  ~Code() { pcre2_code_free(code); }
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;
  pcre2_code* const code;
};

absl::StatusOr<Regex> Regex::Compile(absl::string_view pattern, unsigned options) {
  pcre2_compile_context* context = pcre2_compile_context_create(nullptr);
  pcre2_set_newline(context, PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE place = 0;
  pcre2_code* code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                    PCRE2_UTF | options, &error, &place, context);
  pcre2_compile_context_free(context);
  if (code == nullptr) {
    PCRE2_UCHAR message[256];
    pcre2_get_error_message(error, message, sizeof message);
    return absl::InvalidArgumentError(absl::StrCat("regular expression ", pattern, ": ",
                                                   reinterpret_cast<const char*>(message),
                                                   " at byte ", place));
  }
  auto shared = std::make_shared<const Code>(code);
  pcre2_jit_compile(code,
                    PCRE2_JIT_COMPLETE);  // where it fails, the interpreter does the same, slower
  return Regex(std::move(shared));
}

absl::StatusOr<Regex> Regex::FromOniguruma(absl::string_view pattern) {
  ELA_ASSIGN_OR_RETURN(const std::string translated, OnigurumaToPcre2(pattern));
  return Compile(translated, PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C);
}

absl::StatusOr<Regex> Regex::FromPcre2(absl::string_view pattern) {
  return Compile(pattern, PCRE2_UCP);
}

absl::StatusOr<Regex> Regex::Literal(absl::string_view text) {
  return Compile(text, PCRE2_LITERAL);
}

void Regex::Cut(absl::string_view text,
                absl::FunctionRef<void(size_t begin, size_t end, bool is_match)> piece) const {
  struct Free {
    void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
  };
  std::unique_ptr<pcre2_match_data, Free> match(pcre2_match_data_create(1, nullptr));
  ELA_CHECK(match != nullptr, "out of memory");
  const auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  size_t cut = 0;     // everything before has been handed out
  size_t search = 0;  // where the next match may begin
  bool any = false;   // whether there was a match, which then ended at `cut`
  while (search <= text.size()) {
    // The text was validated once; checking it again at every match would make this quadratic.
    int result = pcre2_match(code_->code, subject, text.size(), search, PCRE2_NO_UTF_CHECK,
                             match.get(), nullptr);
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) {
      result = pcre2_match(code_->code, subject, text.size(), search,
                           PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, match.get(), nullptr);
    }
    if (result < 0) break;  // no further match, or one beyond PCRE2's limits: the rest is one piece
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(match.get());
    if (range[0] == range[1] && any && range[1] == cut) {
      // An empty match right behind the last one is none; Oniguruma's iterator steps on by one
      // character.
      search += search < text.size() ? FirstChar(text.substr(search)).length : 1;
      continue;
    }
    if (cut < range[0]) piece(cut, range[0], false);
    piece(range[0], range[1], true);
    cut = search = range[1];
    any = true;
  }
  if (cut < text.size()) piece(cut, text.size(), false);
}

}  // namespace ela
