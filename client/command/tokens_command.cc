// `ela tokenize` and `ela detokenize`: text as the model sees it.
#include <cstdint>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/command/command.h"
#include "client/command/command_line.h"
#include "client/command/output.h"
#include "client/command/text_input.h"

namespace ela::client {
namespace {

using Json = nlohmann::ordered_json;

struct TokenizeOptions {
  TextInput input;
  bool plain = false;
  bool ids = false;
};

struct DetokenizeOptions {
  std::vector<uint32_t> ids;
  bool keep_special = false;
};

// Whole UTF-8 as it is, with control characters and quotes escaped; of a cut character the bytes.
std::string Quoted(const std::string& piece) {
  try {
    return Json(piece).dump();
  } catch (const Json::type_error&) {  // not UTF-8
    return absl::StrCat("\"", absl::CHexEscape(piece), "\"");
  }
}

ExitCode Tokenize(const Command& command, const TokenizeOptions& options) {
  absl::StatusOr<std::string> text = options.input.Read();
  if (!text.ok()) return ReportText(text.status());
  absl::StatusOr<std::unique_ptr<Client>> client = command.Connect();
  if (!client.ok()) return Report(client.status());
  absl::StatusOr<Tokens> tokens = (*client)->Tokenize({"", *std::move(text), options.plain});
  if (!tokens.ok()) return Report(tokens.status());
  if (command.json) {
    const Json json = {{"token_ids", tokens->ids}, {"pieces", tokens->pieces}};
    Print(json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
  } else if (options.ids) {
    Print(absl::StrJoin(tokens->ids, " ") + "\n");
  } else {
    std::string table;
    for (size_t i = 0; i < tokens->ids.size(); ++i) {
      absl::StrAppendFormat(&table, "%7u  %s\n", tokens->ids[i],
                            i < tokens->pieces.size() ? Quoted(tokens->pieces[i]) : "");
    }
    Print(table);
    std::fprintf(stderr, "%zu tokens\n", tokens->ids.size());
  }
  return kExitOk;
}

// Token ids separated by blanks, commas or newlines.
absl::StatusOr<std::vector<uint32_t>> ParseIds(const std::string& text) {
  std::vector<uint32_t> ids;
  for (const absl::string_view word :
       absl::StrSplit(text, absl::ByAnyChar(" ,\n\r\t"), absl::SkipEmpty())) {
    uint32_t& id = ids.emplace_back();
    if (!absl::SimpleAtoi(word, &id)) {
      return absl::InvalidArgumentError(absl::StrCat("\"", word, "\" is not a token id"));
    }
  }
  return ids;
}

ExitCode Detokenize(const Command& command, DetokenizeOptions options) {
  if (options.ids.empty()) {
    absl::StatusOr<std::string> text = ReadFile("-");
    absl::StatusOr<std::vector<uint32_t>> ids =
        text.ok() ? ParseIds(*text) : absl::StatusOr<std::vector<uint32_t>>(text.status());
    if (!ids.ok()) {
      Report(ids.status());
      return kExitUsage;
    }
    options.ids = *std::move(ids);
  }
  absl::StatusOr<std::unique_ptr<Client>> client = command.Connect();
  if (!client.ok()) return Report(client.status());
  absl::StatusOr<std::string> text =
      (*client)->Detokenize({"", std::move(options.ids), options.keep_special});
  if (!text.ok()) return Report(text.status());
  if (command.json) {
    Print(Json({{"text", *text}}).dump() + "\n");
  } else {
    Print(*text + "\n");
  }
  return kExitOk;
}

}  // namespace

void AddTokenCommands(CLI::App& app, Command& command) {
  auto tokenize_options = std::make_shared<TokenizeOptions>();  // owned by the callbacks below
  CLI::App* const tokenize = app.add_subcommand("tokenize", "Show a text's tokens");
  tokenize->footer(R"(
Examples:
  ela tokenize "How many tokens is this?"
  ela tokenize --ids --file story.txt | ela detokenize)");
  tokenize_options->input.AddTo(*tokenize, "The text (default: standard input)");
  tokenize->add_flag("--plain", tokenize_options->plain, "Special tokens are ordinary text");
  tokenize->add_flag("--ids", tokenize_options->ids, "Print the ids alone, on one line");
  tokenize->callback(
      [&command, tokenize_options] { command.exit_code = Tokenize(command, *tokenize_options); });

  auto detokenize_options = std::make_shared<DetokenizeOptions>();
  CLI::App* const detokenize = app.add_subcommand("detokenize", "Turn token ids into text");
  detokenize->footer(R"(
Examples:
  ela detokenize 403 27 9
  echo "403 27 9" | ela detokenize)");
  detokenize->add_option("ids", detokenize_options->ids, "Token ids (default: standard input)")
      ->check(WholeNumber<uint32_t>());
  detokenize->add_flag("--keep-special", detokenize_options->keep_special, "Show special tokens");
  detokenize->callback([&command, detokenize_options] {
    command.exit_code = Detokenize(command, *detokenize_options);
  });
}

}  // namespace ela::client
