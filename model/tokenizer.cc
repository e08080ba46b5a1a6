#include "model/tokenizer.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/json_file.h"
#include "model/json_object.h"
#include "model/status_macros.h"
#include "model/tokenizer_added.h"
#include "model/tokenizer_bpe.h"
#include "model/tokenizer_split.h"
#include "model/utf8.h"

namespace ela {
namespace {

using nlohmann::json;

constexpr int64_t kMaxTokenizerBytes = 256 << 20;
constexpr int64_t kMaxTokenizerConfigBytes = 16 << 20;

absl::Status Invalid(absl::string_view sentence) { return absl::InvalidArgumentError(sentence); }

// The text of a token in tokenizer_config.json: "<s>" or {"content": "<s>", …}. Empty: none.
std::string TokenText(const json& config, const char* key) {
  auto found = config.find(key);
  if (found == config.end()) return "";
  const json& value = found->is_object() ? found->value("content", json()) : *found;
  return value.is_string() ? value.get<std::string>() : "";
}

class JsonTokenizer final : public Tokenizer {
 public:
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Create(const json& tokenizer,
                                                           const json& config);

  std::vector<TokenId> Encode(absl::string_view text, bool parse_special) const override;
  absl::string_view Bytes(TokenId id) const override;
  bool IsSpecial(TokenId id) const override;
  std::string Decode(absl::Span<const TokenId> ids, bool skip_special) const override;
  int64_t vocab_size() const override { return static_cast<int64_t>(bytes_.size()); }
  std::optional<TokenId> TokenToId(absl::string_view token) const override;
  const std::string& chat_template() const override { return chat_template_; }

 private:
  JsonTokenizer(BpeModel model, PreTokenizer pre_tokenizer, AddedTokenFinder before,
                AddedTokenFinder after)
      : model_(std::move(model)),
        pre_tokenizer_(std::move(pre_tokenizer)),
        before_normalizer_(std::move(before)),
        after_normalizer_(std::move(after)) {}

  absl::Status SetTokens(const std::vector<AddedToken>& added);
  absl::Status ReadPostProcessor(const json& value);
  absl::Status ReadConfig(const json& config);

  // Constant after Create.
  const BpeModel model_;
  const PreTokenizer pre_tokenizer_;
  const AddedTokenFinder before_normalizer_, after_normalizer_;
  std::unordered_map<std::string, TokenId> added_;
  std::vector<std::string> bytes_;  // by id; empty where no token has this id
  std::vector<bool> special_;       // by id
  std::vector<TokenId> in_front_;   // of every text, from the post-processor or bos_token
  bool add_bos_ = false;
  std::string chat_template_;
};

// The ids are those that the original gives: a token of the vocabulary keeps its id, another gets
// the next free one. A file that says otherwise is refused, for the original would quietly use its
// own.
absl::StatusOr<std::vector<AddedToken>> ReadAddedTokens(const json& list, const BpeModel& model) {
  std::vector<AddedToken> tokens;
  if (list.is_null()) return tokens;
  if (!list.is_array()) return Invalid("added_tokens must be a list");
  std::vector<std::string> problems;
  TokenId largest = -1;
  std::map<std::string, TokenId> seen;
  for (const json& value : list) {
    if (!value.is_object()) return Invalid("added_tokens must be a list of objects");
    AddedToken token;
    JsonObject reader(value, absl::StrCat("added_tokens[", tokens.size(), "]."), &problems);
    const json* content = reader.Find("content");
    if (content == nullptr || !content->is_string() || *content == "") {
      return Invalid(absl::StrCat("added_tokens[", tokens.size(), "].content must be a text"));
    }
    token.content = content->get<std::string>();
    reader.Integer("id", true, 0, kMaxTokenId, &token.id);
    reader.Boolean("special", &token.special);
    reader.Boolean("single_word", &token.single_word);
    reader.Boolean("lstrip", &token.lstrip);
    reader.Boolean("rstrip", &token.rstrip);
    token.normalized = !token.special;
    reader.Boolean("normalized", &token.normalized);
    reader.ReportUnknownKeys();
    const auto size = static_cast<TokenId>(model.vocab().size());
    auto known = model.vocab().find(token.content);
    const TokenId place = known != model.vocab().end() ? known->second
                          : largest >= size            ? largest + 1
                                                       : size;
    if (problems.empty() && token.id != place) {
      reader.Problem(
          "id", absl::StrCat("of \"", token.content, "\" is ", token.id, ", its place is ", place));
    }
    if (!seen.emplace(token.content, token.id).second) {
      reader.Problem("content", absl::StrCat("\"", token.content, "\" stands twice"));
    }
    largest = std::max(largest, place);
    tokens.push_back(std::move(token));
  }
  if (!problems.empty()) return Invalid(absl::StrJoin(problems, "\n"));
  return tokens;
}

// Of normalizers only the absent one is known.
absl::Status CheckNormalizer(const json& value) {
  if (value.is_null()) return absl::OkStatus();
  const json type = value.is_object() ? value.value("type", json()) : json();
  if (type == "Sequence" && value.value("normalizers", json()) == json::array()) {
    return absl::OkStatus();
  }
  return Invalid(absl::StrCat("normalizer: ", type.dump(), " is not supported, only null"));
}

absl::Status CheckDecoder(const json& value) {
  const json type = value.is_object() ? value.value("type", json()) : value;
  if (type == "ByteLevel") return absl::OkStatus();
  return Invalid(absl::StrCat("decoder: ", type.dump(), " is not supported, only ByteLevel"));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> JsonTokenizer::Create(const json& tokenizer,
                                                                 const json& config) {
  if (!tokenizer.is_object()) return Invalid("must be a JSON object");
  const auto part = [&](const char* key) { return tokenizer.value(key, json()); };
  for (const auto& [key, value] : tokenizer.items()) {
    constexpr absl::string_view kKnown[] = {"version",        "truncation", "padding",
                                            "added_tokens",   "normalizer", "pre_tokenizer",
                                            "post_processor", "decoder",    "model"};
    if (std::find(std::begin(kKnown), std::end(kKnown), key) == std::end(kKnown)) {
      return Invalid(absl::StrCat(key, " is not a known key"));
    }
    if ((key == "truncation" || key == "padding") && !value.is_null()) {
      return Invalid(absl::StrCat(key, " is set; only null is supported"));
    }
  }
  ELA_ASSIGN_OR_RETURN(BpeModel model, BpeModel::FromJson(part("model")));
  ELA_ASSIGN_OR_RETURN(PreTokenizer pre, PreTokenizer::FromJson(part("pre_tokenizer")));
  ELA_ASSIGN_OR_RETURN(const std::vector<AddedToken> added,
                       ReadAddedTokens(part("added_tokens"), model));
  ELA_RETURN_IF_ERROR(CheckNormalizer(part("normalizer")));
  ELA_RETURN_IF_ERROR(CheckDecoder(part("decoder")));
  std::vector<AddedToken> early, late;
  for (const AddedToken& token : added) (token.normalized ? late : early).push_back(token);
  ELA_ASSIGN_OR_RETURN(AddedTokenFinder before, AddedTokenFinder::Create(std::move(early)));
  ELA_ASSIGN_OR_RETURN(AddedTokenFinder after, AddedTokenFinder::Create(std::move(late)));
  std::unique_ptr<JsonTokenizer> out(
      new JsonTokenizer(std::move(model), std::move(pre), std::move(before), std::move(after)));
  ELA_RETURN_IF_ERROR(out->SetTokens(added));
  ELA_RETURN_IF_ERROR(out->ReadPostProcessor(part("post_processor")));
  ELA_RETURN_IF_ERROR(out->ReadConfig(config));
  return out;
}

absl::Status JsonTokenizer::SetTokens(const std::vector<AddedToken>& added) {
  // A token whose spelling does not stand for bytes gives its text, as the original's decoder does.
  const auto set = [&](const std::string& text, TokenId id, bool special) {
    if (static_cast<size_t>(id) >= bytes_.size()) {
      bytes_.resize(static_cast<size_t>(id) + 1);
      special_.resize(static_cast<size_t>(id) + 1);
    }
    bytes_[static_cast<size_t>(id)] = BytesOfSpelling(text).value_or(text);
    special_[static_cast<size_t>(id)] = special;
  };
  for (const auto& [text, id] : model_.vocab()) set(text, id, false);
  for (const AddedToken& token : added) {
    added_.emplace(token.content, token.id);
    set(token.content, token.id, token.special);
  }
  if (bytes_.empty()) return Invalid("model: the vocabulary is empty");
  return absl::OkStatus();
}

absl::Status JsonTokenizer::ReadPostProcessor(const json& value) {
  if (value.is_null()) return absl::OkStatus();
  const json type = value.is_object() ? value.value("type", json()) : json();
  if (type == "ByteLevel") return absl::OkStatus();  // moves offsets only
  if (type == "Sequence") {
    for (const json& element : value.value("processors", json::array())) {
      ELA_RETURN_IF_ERROR(ReadPostProcessor(element));
    }
    return absl::OkStatus();
  }
  if (type != "TemplateProcessing") {
    return Invalid(absl::StrCat("post_processor: ", type.dump(),
                                " is not supported; known are ByteLevel, TemplateProcessing, "
                                "Sequence"));
  }
  bool text_seen = false;
  for (const json& element : value.value("single", json::array())) {
    if (element.is_object() && element.contains("Sequence") && !text_seen) {
      text_seen = true;
      continue;
    }
    const json token = element.is_object() ? element.value("SpecialToken", json()) : json();
    const json name = token.is_object() ? token.value("id", json()) : json();
    const std::optional<TokenId> id =
        name.is_string() ? TokenToId(name.get<std::string>()) : std::nullopt;
    if (!id) return Invalid(absl::StrCat("post_processor: unknown piece ", element.dump()));
    if (text_seen) {
      return Invalid(absl::StrCat("post_processor: puts ", name.dump(),
                                  " behind the text, which no generation could continue"));
    }
    in_front_.push_back(*id);
  }
  if (!text_seen) return Invalid("post_processor: its template \"single\" has no Sequence");
  return absl::OkStatus();
}

absl::Status JsonTokenizer::ReadConfig(const json& config) {
  if (!config.is_object()) return Invalid("tokenizer_config.json must be a JSON object");
  const auto flag = [&](const char* key) { return config.value(key, json()) == true; };
  if (flag("add_eos_token")) {
    return Invalid("tokenizer_config.json: add_eos_token is not supported");
  }
  add_bos_ = flag("add_bos_token");
  if (add_bos_ && in_front_.empty()) {
    const std::string bos = TokenText(config, "bos_token");
    const std::optional<TokenId> id = TokenToId(bos);
    if (!id) {
      return Invalid(absl::StrCat("tokenizer_config.json: add_bos_token is set, but bos_token \"",
                                  bos, "\" is no token"));
    }
    in_front_ = {*id};
  }
  const json chat = config.value("chat_template", json());
  if (chat.is_string()) chat_template_ = chat.get<std::string>();
  if (chat.is_array()) {  // several, by name
    for (const json& entry : chat) {
      if (entry.is_object() && entry.value("name", json()) == "default" &&
          entry.value("template", json()).is_string()) {
        chat_template_ = entry["template"].get<std::string>();
      }
    }
  }
  return absl::OkStatus();
}

std::vector<TokenId> JsonTokenizer::Encode(absl::string_view text, bool parse_special) const {
  std::string repaired;
  if (!IsValidUtf8(text)) {
    repaired = ReplaceBrokenUtf8(text);
    text = repaired;
  }
  std::vector<TokenId> ids;
  if (add_bos_) ids = in_front_;
  const auto word = [&](absl::string_view bytes) { model_.Encode(bytes, &ids); };
  const auto late = [&](absl::string_view part, const AddedToken* token) {
    if (token != nullptr) {
      ids.push_back(token->id);
    } else {
      pre_tokenizer_.Split(part, word);
    }
  };
  before_normalizer_.Cut(text, parse_special, [&](absl::string_view part, const AddedToken* token) {
    if (token != nullptr) {
      ids.push_back(token->id);
    } else {
      after_normalizer_.Cut(part, parse_special, late);
    }
  });
  return ids;
}

absl::string_view JsonTokenizer::Bytes(TokenId id) const {
  ELA_CHECK(id >= 0 && id < vocab_size(), "a token id must lie within the vocabulary");
  return bytes_[static_cast<size_t>(id)];
}

bool JsonTokenizer::IsSpecial(TokenId id) const {
  return id >= 0 && id < vocab_size() && special_[static_cast<size_t>(id)];
}

std::string JsonTokenizer::Decode(absl::Span<const TokenId> ids, bool skip_special) const {
  std::string bytes;
  for (TokenId id : ids) {
    if (!(skip_special && IsSpecial(id))) absl::StrAppend(&bytes, Bytes(id));
  }
  return ReplaceBrokenUtf8(bytes);
}

std::optional<TokenId> JsonTokenizer::TokenToId(absl::string_view token) const {
  const std::string text(token);
  if (auto found = added_.find(text); found != added_.end()) return found->second;
  if (auto found = model_.vocab().find(text); found != model_.vocab().end()) return found->second;
  return std::nullopt;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Load(const std::string& directory) {
  const std::string path = directory + "/tokenizer.json";
  ELA_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path, kMaxTokenizerBytes));
  ELA_ASSIGN_OR_RETURN(const json tokenizer, ParseJson(text, path));
  json config = json::object();
  const std::string config_path = directory + "/tokenizer_config.json";
  auto config_text = ReadTextFile(config_path, kMaxTokenizerConfigBytes);
  if (config_text.ok()) {
    ELA_ASSIGN_OR_RETURN(config, ParseJson(*config_text, config_path));
  } else if (config_text.status().code() != absl::StatusCode::kNotFound) {
    return config_text.status();
  }
  auto loaded = JsonTokenizer::Create(tokenizer, config);
  if (loaded.ok()) return loaded;
  return absl::Status(loaded.status().code(), absl::StrCat(path, ": ", loaded.status().message()));
}

std::string Detokenizer::Push(TokenId id) {
  std::string text;
  if (skip_special_ && tokenizer_.IsSpecial(id)) return text;
  absl::StrAppend(&pending_, tokenizer_.Bytes(id));
  pending_.erase(0, AppendWholeUtf8(pending_, &text));
  return text;
}

std::string Detokenizer::Finish() {
  const std::string text = ReplaceBrokenUtf8(pending_);
  pending_.clear();
  return text;
}

}  // namespace ela
