// `ela generate`: text arrives on stdout as the model writes it.
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "absl/time/clock.h"
#include "client/command/command.h"
#include "client/command/command_line.h"
#include "client/command/interrupt.h"
#include "client/command/output.h"
#include "client/command/text_input.h"

namespace ela::client {
namespace {

using Json = nlohmann::ordered_json;

struct GenerateOptions {
  TextInput input;
  GenerateParams params;
  bool echo = false;
  bool stats = false;
};

// What --stats tells. The time to the first token is measured here: it holds the network and the
// client as well. The rate is the server's: here many tokens may arrive in one burst.
class Stopwatch {
 public:
  void Count(const GenerateChunk& chunk) {
    if (chunk.token_ids.empty()) return;
    if (num_tokens_ == 0) first_ = absl::Now();
    num_tokens_ += chunk.token_ids.size();
  }

  void Print(const GenerateStream& stream) const {
    std::fprintf(stderr, "\n%zu tokens", num_tokens_);
    if (num_tokens_ > 0) {
      std::fprintf(stderr, ", first after %.1f ms", absl::ToDoubleMilliseconds(first_ - start_));
    }
    if (stream.status().ok()) {
      const Finish& finish = stream.finish();
      const Usage& usage = finish.usage;
      if (usage.generated_tokens > 1 && usage.decode_time > absl::ZeroDuration()) {
        std::fprintf(stderr, ", then %.0f tokens/s",
                     (usage.generated_tokens - 1) / absl::ToDoubleSeconds(usage.decode_time));
      }
      std::fprintf(stderr, "; prompt %llu tokens in %.1f ms, queue %.1f ms; ended by %s, seed %llu",
                   static_cast<unsigned long long>(finish.usage.prompt_tokens),
                   absl::ToDoubleMilliseconds(finish.usage.prefill_time),
                   absl::ToDoubleMilliseconds(finish.usage.queue_time), Name(finish.reason),
                   static_cast<unsigned long long>(finish.seed));
    }
    std::fprintf(stderr, "\n");
  }

 private:
  const absl::Time start_ = absl::Now();
  absl::Time first_;
  size_t num_tokens_ = 0;
};

Json ToJson(const std::vector<std::vector<TopToken>>& positions) {
  Json result = Json::array();
  for (const std::vector<TopToken>& top : positions) {
    Json& row = result.emplace_back(Json::array());
    for (const TopToken& token : top) {
      row.push_back({{"token_id", token.token_id}, {"logprob", token.logprob}});
    }
  }
  return result;
}

Json ToJson(const std::vector<TokenRouting>& tokens) {
  Json result = Json::array();
  for (const TokenRouting& token : tokens) {
    result.push_back({{"expert_ids", token.expert_ids}, {"weights", token.weights}});
  }
  return result;
}

Json ToJson(const GenerateChunk& chunk) {
  Json json = {{"text", chunk.text}, {"token_ids", chunk.token_ids}};
  if (!chunk.logprobs.empty()) json["logprobs"] = chunk.logprobs;
  if (!chunk.top_logprobs.empty()) json["top_logprobs"] = ToJson(chunk.top_logprobs);
  if (!chunk.routing.empty()) json["routing"] = ToJson(chunk.routing);
  if (chunk.prompt.has_value()) {
    json["prompt"] = {{"first_position", chunk.prompt->first_position},
                      {"token_ids", chunk.prompt->token_ids},
                      {"logprobs", chunk.prompt->logprobs}};
  }
  return json;
}

Json ToJson(const Finish& finish) {
  Json json = {{"reason", Name(finish.reason)}, {"seed", finish.seed}};
  if (finish.stop_token_id) json["stop_token_id"] = *finish.stop_token_id;
  if (!finish.stop_string.empty()) json["stop_string"] = finish.stop_string;
  json["usage"] = {{"prompt_tokens", finish.usage.prompt_tokens},
                   {"cached_tokens", finish.usage.cached_tokens},
                   {"generated_tokens", finish.usage.generated_tokens},
                   {"queue_seconds", absl::ToDoubleSeconds(finish.usage.queue_time)},
                   {"prefill_seconds", absl::ToDoubleSeconds(finish.usage.prefill_time)},
                   {"decode_seconds", absl::ToDoubleSeconds(finish.usage.decode_time)}};
  return {{"finish", json}};
}

bool PrintLine(const Json& json) {
  return Print(json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
}

ExitCode Run(const Command& command, GenerateOptions& options) {
  GenerateParams& params = options.params;
  if (params.token_ids.empty()) {
    absl::StatusOr<std::string> text = options.input.Read();
    if (!text.ok()) return ReportText(text.status());
    params.text = *std::move(text);
  }
  for (const std::string& stop : params.stop) {
    if (absl::Status status = CheckUtf8(stop, "--stop"); !status.ok()) return Report(status);
  }
  absl::StatusOr<std::unique_ptr<Client>> client = command.Connect();
  if (!client.ok()) return Report(client.status());
  if (options.echo && !command.json) Print(params.text);

  Stopwatch stopwatch;
  GenerateStream stream = (*client)->Generate(params);
  OnInterrupt on_interrupt([&stream] { stream.Cancel(); });
  for (const GenerateChunk& chunk : stream) {
    stopwatch.Count(chunk);
    const bool printed = command.json ? PrintLine(ToJson(chunk)) : Print(chunk.text);
    if (!printed) return kExitServer;  // main says why; leaving cancels the stream
  }
  if (!command.json) Print("\n");
  if (command.json && stream.status().ok()) PrintLine(ToJson(stream.finish()));
  if (options.stats) stopwatch.Print(stream);
  return Report(stream.status());
}

void AddSamplingOptions(CLI::App& generate, GenerateParams& params) {
  const std::string group = "Sampling";
  generate.add_option("-t,--temperature", params.temperature, "0: always the likeliest; default 1")
      ->group(group);
  generate.add_option("--top-k", params.top_k, "Only the k likeliest; 0: all")
      ->check(WholeNumber<uint32_t>())
      ->group(group);
  generate.add_option("--top-p", params.top_p, "Only the likeliest with this share together")
      ->group(group);
  generate.add_option("--min-p", params.min_p, "Only with this share of the largest probability")
      ->group(group);
  generate.add_option("--seed", params.seed, "The same seed gives the same text")
      ->check(WholeNumber<uint64_t>())
      ->group(group);
  generate.add_option("--repetition-penalty", params.repetition_penalty, "1: off")->group(group);
  generate.add_option("--presence-penalty", params.presence_penalty, "0: off")->group(group);
  generate.add_option("--frequency-penalty", params.frequency_penalty, "0: off")->group(group);
  generate.add_option("--penalty-window", params.penalty_window, "Last tokens they look at")
      ->check(WholeNumber<uint32_t>())
      ->group(group);
}

}  // namespace

void AddGenerateCommand(CLI::App& app, Command& command) {
  auto options = std::make_shared<GenerateOptions>();  // owned by the callback below
  GenerateParams& params = options->params;
  CLI::App* const generate = app.add_subcommand("generate", "Stream the continuation of a text");
  generate->footer(R"(
Examples:
  ela generate "The sea was" -n 64 --temperature 0
  ela generate --file story.txt --seed 7 --stop "The end" --stats
  echo "Dear reader," | ela generate --json --logprobs)");
  options->input.AddTo(*generate, "The text to continue (default: standard input)");
  generate->add_option("--token-ids", params.token_ids, "Continue these tokens instead of a text")
      ->delimiter(',')
      ->check(WholeNumber<uint32_t>());
  generate->add_option("-n,--max-new-tokens", params.max_new_tokens, "Default 128; 0: absorb only")
      ->check(WholeNumber<uint64_t>());
  generate->add_option("--stop", params.stop, "End before this string; may be repeated")
      ->allow_extra_args(false);
  generate->add_option("--stop-token-id", params.stop_token_ids, "End at this token")
      ->allow_extra_args(false)
      ->check(WholeNumber<uint32_t>());
  generate->add_flag("--ignore-eos", params.ignore_eos, "Go on after the model's end of text");
  AddSamplingOptions(*generate, params);
  generate->add_flag("--echo", options->echo, "Print the given text first");
  generate->add_flag("--stats", options->stats, "Time to first token and tokens/s, on stderr");
  generate->add_flag("--logprobs", params.logprobs, "With --json: log-probability of each token");
  generate->add_option("--top-logprobs", params.top_logprobs, "With --json: so many likeliest")
      ->check(WholeNumber<uint32_t>());
  generate->add_flag("--routing", params.routing, "With --json: experts of each token");
  generate->add_flag("--prompt-logprobs", params.prompt_logprobs, "With --json: of the prompt too");
  generate->add_flag("--keep-special", params.keep_special, "Show special tokens in the text");
  generate->add_option("--priority", params.priority, "-100 to 100; higher goes first");
  generate->add_option("--request-id", params.request_id, "Name of this call in the server's log");
  generate->callback([&command, options] {
    const GenerateParams& asked = options->params;
    if (!command.json &&
        (asked.logprobs || asked.top_logprobs > 0 || asked.routing || asked.prompt_logprobs)) {
      throw CLI::ValidationError(
          "--logprobs, --top-logprobs, --prompt-logprobs and --routing need --json");
    }
    command.exit_code = Run(command, *options);
  });
}

}  // namespace ela::client
