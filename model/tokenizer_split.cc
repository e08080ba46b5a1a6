#include "model/tokenizer_split.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "model/json_file.h"
#include "model/status_macros.h"

namespace ela {
namespace {

using nlohmann::json;

// GPT-2's expression, which ByteLevel applies by itself: English contractions, words, numbers and
// other signs with one leading space, runs of white space without the space that belongs to the
// next word.
constexpr absl::string_view kByteLevelPattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// A numeric character as the original has it; the numbers of Unicode 15, which PCRE2 10.42 does not
// know yet, stand here by code point.
constexpr absl::string_view kDigit =
    R"([\p{N}\x{11F50}-\x{11F59}\x{1D2C0}-\x{1D2D3}\x{1E4F0}-\x{1E4F9}])";

struct Range {
  size_t begin, end;
  bool is_match;
};

absl::StatusOr<bool> Flag(const json& object, const char* key, bool standard) {
  auto found = object.find(key);
  if (found == object.end()) return standard;
  if (found->is_boolean()) return found->get<bool>();
  return absl::InvalidArgumentError(absl::StrCat("pre_tokenizer: ", key, " must be true or false"));
}

}  // namespace

absl::StatusOr<PreTokenizer> PreTokenizer::FromJson(const json& value) {
  PreTokenizer out;
  if (value.is_null()) {
    return absl::InvalidArgumentError(
        "pre_tokenizer is null; a byte-level encoding needs ByteLevel");
  }
  ELA_RETURN_IF_ERROR(out.Add(value));
  if (!out.byte_level_) {
    return absl::InvalidArgumentError(
        "pre_tokenizer: has no ByteLevel; only byte-level encodings are supported");
  }
  return out;
}

absl::Status PreTokenizer::Add(const json& value) {
  const json type = value.is_object() ? value.value("type", json()) : json();
  if (type == "Sequence") {
    const json list = value.value("pretokenizers", json());
    if (!list.is_array()) {
      return absl::InvalidArgumentError("pre_tokenizer: Sequence has no list \"pretokenizers\"");
    }
    for (const json& element : list) ELA_RETURN_IF_ERROR(Add(element));
    return absl::OkStatus();
  }
  if (byte_level_) {
    return absl::InvalidArgumentError(
        absl::StrCat("pre_tokenizer: ", type.dump(), " after ByteLevel is not supported"));
  }
  if (type == "ByteLevel") return AddByteLevel(value);
  if (type == "Split") return AddSplit(value);
  if (type == "Digits") {
    ELA_ASSIGN_OR_RETURN(const bool individual, Flag(value, "individual_digits", false));
    ELA_ASSIGN_OR_RETURN(Regex regex, Regex::FromPcre2(kDigit));
    steps_.push_back({std::move(regex), individual ? Behavior::kIsolated : Behavior::kContiguous});
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("pre_tokenizer: ", type.dump(),
                                                 " is not supported; known are ByteLevel, Split, "
                                                 "Digits, Sequence"));
}

absl::Status PreTokenizer::AddByteLevel(const json& value) {
  ELA_ASSIGN_OR_RETURN(const bool prefix, Flag(value, "add_prefix_space", true));
  ELA_ASSIGN_OR_RETURN(const bool use_regex, Flag(value, "use_regex", true));
  byte_level_ = true;
  if (!use_regex) {
    trailing_prefix_ = prefix;
    return absl::OkStatus();
  }
  ELA_ASSIGN_OR_RETURN(Regex regex, Regex::FromOniguruma(kByteLevelPattern));
  steps_.push_back({std::move(regex), Behavior::kIsolated, false, prefix});
  return absl::OkStatus();
}

absl::Status PreTokenizer::AddSplit(const json& value) {
  constexpr std::pair<const char*, Behavior> kBehaviors[] = {
      {"Removed", Behavior::kRemoved},
      {"Isolated", Behavior::kIsolated},
      {"MergedWithPrevious", Behavior::kMergedWithPrevious},
      {"MergedWithNext", Behavior::kMergedWithNext},
      {"Contiguous", Behavior::kContiguous}};
  const json name = value.value("behavior", json());
  const auto* behavior = std::find_if(std::begin(kBehaviors), std::end(kBehaviors),
                                      [&](const auto& known) { return name == known.first; });
  if (behavior == std::end(kBehaviors)) {
    return absl::InvalidArgumentError(
        absl::StrCat("pre_tokenizer: Split has the unknown behavior ", name.dump()));
  }
  ELA_ASSIGN_OR_RETURN(const bool invert, Flag(value, "invert", false));
  const json pattern = value.value("pattern", json());
  absl::StatusOr<Regex> regex = absl::InvalidArgumentError(absl::StrCat(
      "pre_tokenizer: Split has the pattern ", pattern.dump(), ", neither Regex nor String"));
  if (pattern.is_object() && pattern.size() == 1 && pattern.begin()->is_string()) {
    const std::string text = pattern.begin()->get<std::string>();
    if (pattern.begin().key() == "Regex") regex = Regex::FromOniguruma(text);
    if (pattern.begin().key() == "String") regex = Regex::Literal(text);
  }
  ELA_RETURN_IF_ERROR(regex.status());
  steps_.push_back({*std::move(regex), behavior->second, invert, false});
  return absl::OkStatus();
}

void PreTokenizer::Split(absl::string_view text,
                         absl::FunctionRef<void(absl::string_view word)> word) const {
  if (!text.empty()) Run(0, text, word);
}

void PreTokenizer::Run(size_t index, absl::string_view text,
                       absl::FunctionRef<void(absl::string_view)> word) const {
  std::string prefixed;
  const bool prefix = index < steps_.size() ? steps_[index].add_prefix_space : trailing_prefix_;
  if (prefix && !absl::StartsWith(text, " ")) {
    prefixed = absl::StrCat(" ", text);
    text = prefixed;
  }
  if (index == steps_.size()) {
    word(text);
    return;
  }
  const Step& step = steps_[index];
  const auto next = [&](size_t begin, size_t end) {
    if (begin < end) Run(index + 1, text.substr(begin, end - begin), word);
  };
  if (step.behavior == Behavior::kIsolated) {
    step.regex.Cut(text, [&](size_t begin, size_t end, bool) { next(begin, end); });
    return;
  }
  if (step.behavior == Behavior::kRemoved) {
    step.regex.Cut(text, [&](size_t begin, size_t end, bool is_match) {
      if (is_match == step.invert) next(begin, end);
    });
    return;
  }
  std::vector<Range> ranges;
  step.regex.Cut(text, [&](size_t begin, size_t end, bool is_match) {
    ranges.push_back({begin, end, is_match != step.invert});
  });
  // Joins neighbours: a match with the piece before it or behind it, unless that is a match too; or
  // all neighbours of one kind.
  const bool backwards = step.behavior == Behavior::kMergedWithNext;
  if (backwards) std::reverse(ranges.begin(), ranges.end());
  std::vector<Range> joined;
  bool previous = false;
  for (const Range& range : ranges) {
    const bool join = step.behavior == Behavior::kContiguous ? range.is_match == previous
                                                             : range.is_match && !previous;
    if (join && !joined.empty()) {
      (backwards ? joined.back().begin : joined.back().end) = backwards ? range.begin : range.end;
    } else {
      joined.push_back(range);
    }
    previous = range.is_match;
  }
  if (backwards) std::reverse(joined.begin(), joined.end());
  for (const Range& range : joined) next(range.begin, range.end);
}

}  // namespace ela
