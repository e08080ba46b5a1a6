#include "model/train/command_line.h"

#include <ATen/Parallel.h>
#include <malloc.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <functional>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/status_macros.h"
#include "model/train/checkpoint_directory.h"
#include "model/train/corpus.h"
#include "model/train/detector/detector_commands.h"
#include "model/train/detector/settings_file.h"
#include "model/train/evaluation.h"
#include "model/train/lm_trainer.h"

namespace ela::train {
namespace {

// The tokenizer that opens documents with the model's eos. Errors: kInvalidArgument where they do
// not fit.
absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::string& directory,
                                                         const LanguageConfig& config) {
  ELA_ASSIGN_OR_RETURN(std::unique_ptr<Tokenizer> tokenizer, Tokenizer::Load(directory));
  if (tokenizer->vocab_size() > config.vocab_size) {
    return absl::InvalidArgumentError(absl::StrCat(directory, ": the tokenizer has ",
                                                   tokenizer->vocab_size(),
                                                   " entries, the model has ", config.vocab_size));
  }
  if (config.eos_token_ids.empty()) {
    return absl::InvalidArgumentError(
        "the model's config has no eos_token_id, which opens each document");
  }
  return tokenizer;
}

struct LmArguments {
  std::string data, valid, model_config, export_type = "f32";
  TrainSettings settings;
  RunOptions run;
};

absl::Status TrainLm(LmArguments arguments) {
  std::ifstream file(arguments.model_config);
  if (!file) return absl::NotFoundError(absl::StrCat(arguments.model_config, ": cannot be opened"));
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  ELA_ASSIGN_OR_RETURN(arguments.settings.model, ParseLanguageConfig(text, arguments.model_config));
  ELA_ASSIGN_OR_RETURN(arguments.run.export_type, ParseExportType(arguments.export_type));
  ELA_RETURN_IF_ERROR(Check(arguments.settings));

  const LanguageConfig& model = arguments.settings.model;
  ELA_ASSIGN_OR_RETURN(const auto tokenizer, LoadTokenizer(arguments.run.tokenizer, model));
  const TokenId eos = model.eos_token_ids.front();
  ELA_ASSIGN_OR_RETURN(const auto training, LoadCorpus(arguments.data, *tokenizer, eos));
  ELA_ASSIGN_OR_RETURN(const auto held_out, LoadCorpus(arguments.valid, *tokenizer, eos));
  std::fprintf(stderr, "%lld parameters, %zu training documents, %zu held out\n",
               static_cast<long long>(NumParameters(model)), training.size(), held_out.size());
  ELA_ASSIGN_OR_RETURN(const TrainResult result,
                       TrainLanguageModel(arguments.settings, arguments.run, training, held_out));
  std::printf(
      "{\"steps\": %lld, \"held_out_bits_per_byte\": %.4f, \"tokens\": %lld, \"bytes\": %lld}\n",
      static_cast<long long>(result.steps), result.held_out.value(),
      static_cast<long long>(result.held_out.tokens),
      static_cast<long long>(result.held_out.bytes));
  return absl::OkStatus();
}

absl::Status EvaluateFile(const std::string& directory, const std::string& data, int num_threads) {
  ELA_ASSIGN_OR_RETURN(const auto model, reference::LanguageModel::Load(directory, at::kFloat));
  ELA_ASSIGN_OR_RETURN(const auto tokenizer, LoadTokenizer(directory, model.config()));
  ELA_ASSIGN_OR_RETURN(const auto documents,
                       LoadCorpus(data, *tokenizer, model.config().eos_token_ids.front()));
  at::set_num_threads(num_threads);
  const BitsPerByte bits = Evaluate(model, documents, reference::Precision::kFull);
  std::printf("{\"documents\": %lld, \"tokens\": %lld, \"bytes\": %lld, \"bits_per_byte\": %.4f}\n",
              static_cast<long long>(bits.documents), static_cast<long long>(bits.tokens),
              static_cast<long long>(bits.bytes), bits.value());
  return absl::OkStatus();
}

absl::Status Export(const std::string& from, const std::string& to, const std::string& type) {
  ELA_ASSIGN_OR_RETURN(const DType dtype, ParseExportType(type));
  ELA_ASSIGN_OR_RETURN(const auto model, reference::LanguageModel::Load(from, at::kFloat));
  return WriteCheckpointDirectory(to, model.config(), model.parameters(), dtype, from);
}

void AddTrainingOptions(CLI::App* lm, LmArguments* a) {
  OptimizerOptions& optimizer = a->settings.optimizer;
  lm->set_config("--config", "", "options from a TOML or INI file; flags win");
  lm->add_option("--data", a->data, "training documents, JSON lines {\"id\", \"text\"}")
      ->required();
  lm->add_option("--valid", a->valid, "held-out documents, same form")->required();
  lm->add_option("--tokenizer", a->run.tokenizer, "directory with tokenizer.json")->required();
  lm->add_option("--model-config", a->model_config, "the model's config.json")->required();
  lm->add_option("--out", a->run.out, "run directory: log, state, checkpoint")->required();
  lm->add_flag("--resume", a->run.resume, "go on from the state in --out");
  lm->add_option("--steps", a->settings.num_steps, "optimizer steps")->capture_default_str();
  lm->add_option("--context", a->settings.context, "tokens per sequence")->capture_default_str();
  lm->add_option("--batch", a->settings.batch, "sequences per step")->capture_default_str();
  lm->add_option("--lr", optimizer.learning_rate, "largest learning rate")->capture_default_str();
  lm->add_option("--warmup", optimizer.warmup_steps, "steps of linear warm-up")
      ->capture_default_str();
  lm->add_option("--final-fraction", optimizer.final_fraction, "learning rate at the end, of --lr")
      ->capture_default_str();
  lm->add_option("--weight-decay", optimizer.weight_decay, "on matrices")->capture_default_str();
  lm->add_option("--beta1", optimizer.beta1)->capture_default_str();
  lm->add_option("--beta2", optimizer.beta2)->capture_default_str();
  lm->add_option("--clip", optimizer.clip_norm, "gradient norm, 0: none")->capture_default_str();
  lm->add_option("--balance", a->settings.balance_weight, "weight of the load-balancing loss")
      ->capture_default_str();
  lm->add_option("--seed", a->settings.seed, "of weights and data order")->capture_default_str();
  lm->add_option("--threads", a->settings.num_threads)->capture_default_str();
  lm->add_flag("--bfloat16", a->settings.bfloat16,
               "round the operands of large products (pays on processors with AMX)");
  lm->add_option("--checkpoint-every", a->run.checkpoint_every, "steps")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  lm->add_option("--evaluate-every", a->run.evaluate_every, "steps")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  lm->add_option("--evaluate-tokens", a->run.evaluate_tokens, "held-out tokens between steps")
      ->capture_default_str();
  lm->add_option("--export-dtype", a->export_type, "f32 or bf16")->capture_default_str();
}

// A step frees and asks for the same few hundred megabytes again. Left alone, malloc would return
// them to the system each time and zeroed pages would come back: a fifth of the processor time.
void KeepFreedMemory() {
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  mallopt(M_TOP_PAD, 64 << 20);
}

}  // namespace

int RunCommandLine(int argc, char** argv) {
  KeepFreedMemory();
  CLI::App app{"Trains ELA language models and YOLO-LAT detectors."};
  app.require_subcommand(1);
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);

  LmArguments lm_arguments;
  CLI::App* lm = app.add_subcommand("lm", "train a language model");
  AddTrainingOptions(lm, &lm_arguments);

  std::string model, data, from, to, type = "bf16";
  int num_threads = 2;
  CLI::App* eval = app.add_subcommand("eval", "bits per byte of a checkpoint on a file");
  eval->add_option("--model", model, "checkpoint directory")->required();
  eval->add_option("--data", data, "JSON lines")->required();
  eval->add_option("--threads", num_threads)->check(CLI::PositiveNumber)->capture_default_str();

  CLI::App* convert = app.add_subcommand("export", "write a checkpoint in another number type");
  convert->add_option("--from", from, "checkpoint directory")->required();
  convert->add_option("--to", to, "directory to write")->required();
  convert->add_option("--dtype", type, "f32 or bf16")->capture_default_str();

  std::function<absl::Status()> command;
  AddDetectorCommands(&app, &command);

  absl::StatusOr<std::vector<std::string>> arguments =
      WithSettingsFile(std::vector<std::string>(argv, argv + argc));
  if (!arguments.ok()) {
    std::fprintf(stderr, "ela-train: %s\n", std::string(arguments.status().message()).c_str());
    return 1;
  }
  std::vector<std::string> backwards(arguments->rbegin(), std::prev(arguments->rend()));
  try {
    app.parse(backwards);  // CLI11 takes a vector from its end
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  }
  absl::Status status;
  if (command) status = command();
  if (lm->parsed()) status = TrainLm(lm_arguments);
  if (eval->parsed()) status = EvaluateFile(model, data, num_threads);
  if (convert->parsed()) status = Export(from, to, type);
  if (status.ok()) return 0;
  std::fprintf(stderr, "ela-train: %s\n", std::string(status.message()).c_str());
  return 1;
}

}  // namespace ela::train
