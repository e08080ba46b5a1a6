#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "model/checkpoint/weights.h"
#include "model/train/checkpoint_directory.h"
#include "model/train/command_line.h"
#include "model/train/lm_trainer.h"
#include "model/train/next_token_loss.h"
#include "model/train/parameters.h"
#include "model/train/train_state.h"
#include "tests/model/temporary_directory.h"

namespace ela::train {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr char kTokenizer[] = ELA_SOURCE_DIR "/tests/golden/tokenizer";

// All extensions, small enough for hundreds of steps in a second or two.
TrainSettings SmallSettings() {
  TrainSettings settings;
  LanguageConfig& model = settings.model;
  model.vocab_size = 20;
  model.hidden_size = 16;
  model.num_hidden_layers = 2;
  model.num_attention_heads = 2;
  model.num_experts = 3;
  model.num_experts_per_tok = 2;
  model.moe_intermediate_size = 16;
  model.final_norm = true;
  model.short_conv = 3;
  model.decay = Decay::kGated;
  model.output_gate = true;
  model.position_encoding = PositionEncoding::kNone;
  model.memory_lobe = LobeConfig{};
  model.eos_token_ids = {0};
  settings.context = 16;
  settings.batch = 4;
  settings.num_steps = 12;
  settings.optimizer.warmup_steps = 2;
  settings.num_threads = 2;
  return settings;
}

// Documents without any pattern: what a model knows of them, it has learnt by heart.
std::vector<Document> RandomDocuments(int count, int64_t length, int64_t vocab_size) {
  std::vector<Document> documents;
  uint32_t state = 12345;
  for (int i = 0; i < count; ++i) {
    Document document{"d" + std::to_string(i), {0}, length};
    for (int64_t t = 0; t < length; ++t) {
      state = state * 1664525u + 1013904223u;
      document.tokens.push_back(static_cast<TokenId>(1 + (state >> 16) % (vocab_size - 1)));
    }
    documents.push_back(document);
  }
  return documents;
}

RunOptions Quiet(const std::string& out) {
  RunOptions run;
  run.out = out;
  run.tokenizer = kTokenizer;
  run.checkpoint_every = 5;
  run.evaluate_every = 4;
  run.quiet = true;
  return run;
}

TEST(NextTokenLossTest, LossAndGradientsAreThoseOfAPlainCrossEntropy) {
  at::manual_seed(1);
  const at::Tensor targets = at::randint(0, 30, {700}, at::kLong);
  const at::Tensor hidden_values = at::randn({700, 8}, at::kDouble);
  const at::Tensor embedding_values = at::randn({30, 8}, at::kDouble);
  const auto run = [&](bool plain) {
    const at::Tensor hidden = hidden_values.clone().requires_grad_(true);
    const at::Tensor embedding = embedding_values.clone().requires_grad_(true);
    at::Tensor loss;
    if (plain) {
      loss = -at::log_softmax(at::linear(hidden, embedding), -1)
                  .gather(1, targets.unsqueeze(1))
                  .mean();
    } else {
      loss = NextTokenLoss(hidden, embedding, targets, reference::Precision::kFull);
    }
    (2 * loss).backward();
    return std::vector<at::Tensor>{loss.detach(), hidden.grad(), embedding.grad()};
  };
  const auto want = run(true), got = run(false);
  for (size_t i = 0; i < want.size(); ++i) {
    EXPECT_LT((want[i] - got[i]).abs().max().item<double>(), 1e-13) << i;
  }
}

TEST(WindowOrderTest, EachEpochSeesEveryWindowOnceInAnotherOrder) {
  const auto documents = RandomDocuments(3, 40, 20);
  const int64_t windows = WindowOrder::num_windows(documents, 8);
  WindowOrder order(documents, 8, 1, 7);
  std::vector<const TokenId*> epochs[2];
  for (int64_t step = 0; step < 2 * windows; ++step) {
    epochs[step / windows].push_back(order.Window(step, 0));
  }
  const std::set<const TokenId*> first(epochs[0].begin(), epochs[0].end());
  EXPECT_EQ(static_cast<int64_t>(first.size()), windows);
  EXPECT_EQ(first, std::set<const TokenId*>(epochs[1].begin(), epochs[1].end()));
  EXPECT_NE(epochs[0], epochs[1]);
}

TEST(WindowOrderTest, AWindowDependsOnTheSeedAndItsNumberAlone) {
  const auto documents = RandomDocuments(3, 40, 20);
  WindowOrder one(documents, 8, 2, 7), resumed(documents, 8, 2, 7), other(documents, 8, 2, 8);
  const auto tokens = [](const TokenId* window) {
    return std::vector<TokenId>(window, window + 9);
  };
  int differences = 0;
  for (int64_t step = 0; step < 30; ++step) one.Window(step, 0);
  for (int64_t step = 10; step < 20; ++step) {
    EXPECT_EQ(tokens(one.Window(step, 1)), tokens(resumed.Window(step, 1)));
    differences += tokens(one.Window(step, 1)) != tokens(other.Window(step, 1));
  }
  EXPECT_GT(differences, 0);
}

TEST(TrainerTest, LearnsATinySetByHeart) {
  TemporaryDirectory directory;
  TrainSettings settings = SmallSettings();
  settings.model.num_hidden_layers = 1;
  settings.num_threads = 1;
  settings.num_steps = 120;
  settings.optimizer.learning_rate = 3e-2;
  settings.optimizer.weight_decay = 0;
  const auto documents = RandomDocuments(1, 32, settings.model.vocab_size);
  const auto result = TrainLanguageModel(settings, Quiet(directory / "run"), documents, documents);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_LT(result->last_loss, 0.3);  // chance is log(19) = 2.94
}

TEST(TrainerTest, HeldOutBitsAreThoseOfTheWholeDocumentByDefinition) {
  const LanguageConfig config = SmallSettings().model;
  const Parameters parameters(config, 3);
  const reference::LanguageModel model(config, parameters.named());
  const auto documents = RandomDocuments(2, 150, config.vocab_size);
  at::NoGradGuard no_grad;
  double bits = 0;
  for (const Document& document : documents) {
    const at::Tensor ids = at::tensor(document.tokens, at::kInt).to(at::kLong);
    const at::Tensor logp = at::log_softmax(model.Logits(ids.unsqueeze(0), {}, {}).squeeze(0), -1);
    const int64_t n = ids.size(0) - 1;
    bits -= logp.narrow(0, 0, n).gather(1, ids.narrow(0, 1, n).unsqueeze(1)).sum().item<double>() /
            std::log(2.0);
  }
  const BitsPerByte got = Evaluate(model, documents, reference::Precision::kFull);
  EXPECT_NEAR(got.bits, bits, 1e-4 * bits);
  EXPECT_EQ(got.tokens, 300);
  EXPECT_EQ(got.bytes, 300);
}

// The directory is handed to the process that EXPECT_EXIT starts, which runs the test from its
// beginning.
std::string SharedDirectory(const TemporaryDirectory& mine) {
  setenv("ELA_TRAINER_TEST_DIRECTORY", mine.path().c_str(), /*overwrite=*/0);
  return getenv("ELA_TRAINER_TEST_DIRECTORY");
}

TEST(TrainerTest, AKilledRunResumesToTheSameBits) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  TemporaryDirectory mine;
  const std::string shared = SharedDirectory(mine);
  const TrainSettings settings = SmallSettings();
  const auto documents = RandomDocuments(3, 100, settings.model.vocab_size);
  RunOptions killed = Quiet(shared + "/killed");
  killed.after_step = [](int64_t step) {
    if (step == 8) raise(SIGKILL);
  };
  EXPECT_EXIT(TrainLanguageModel(settings, killed, documents, documents).IgnoreError(),
              testing::KilledBySignal(SIGKILL), "");
  unsetenv("ELA_TRAINER_TEST_DIRECTORY");
  ASSERT_EQ(LoadTrainPosition(killed.out)->step, 5);

  RunOptions resumed = Quiet(killed.out), whole = Quiet(shared + "/whole");
  resumed.resume = true;
  ASSERT_TRUE(TrainLanguageModel(settings, resumed, documents, documents).ok());
  ASSERT_TRUE(TrainLanguageModel(settings, whole, documents, documents).ok());
  EXPECT_TRUE(ReadBytes(TrainStatePath(resumed.out)) == ReadBytes(TrainStatePath(whole.out)));
  EXPECT_TRUE(ReadBytes(resumed.out + "/model.safetensors") ==
              ReadBytes(whole.out + "/model.safetensors"));
}

TEST(TrainerTest, ResumesOnlyUnderTheSameSettingsAndData) {
  TemporaryDirectory directory;
  TrainSettings settings = SmallSettings();
  const auto documents = RandomDocuments(3, 100, settings.model.vocab_size);
  RunOptions run = Quiet(directory / "run");
  ASSERT_TRUE(TrainLanguageModel(settings, run, documents, documents).ok());

  const absl::Status again = TrainLanguageModel(settings, run, documents, documents).status();
  EXPECT_EQ(again.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(again.message()), HasSubstr("a run is there already"));

  run.resume = true;
  TrainSettings other = settings;
  other.optimizer.learning_rate = 0.5;
  other.model.qk_scale = 2;
  const absl::Status refused = TrainLanguageModel(other, run, documents, documents).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()),
              AllOf(HasSubstr("learning_rate is 0.5, the run began with 0.003"),
                    HasSubstr("model/qk_scale is 2.0, the run began with")));

  const auto others = RandomDocuments(2, 100, settings.model.vocab_size);
  const absl::Status data = TrainLanguageModel(settings, run, others, documents).status();
  EXPECT_EQ(data.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(data.message()), HasSubstr("other training data"));
}

TEST(TrainerTest, NothingToResumeIsNotFound) {
  TemporaryDirectory directory;
  RunOptions run = Quiet(directory / "run");
  run.resume = true;
  const auto documents = RandomDocuments(2, 50, 20);
  EXPECT_EQ(TrainLanguageModel(SmallSettings(), run, documents, documents).status().code(),
            absl::StatusCode::kNotFound);
}

TEST(TrainerTest, ALossThatIsNotFiniteStopsTheRunAndNamesTheStep) {
  TemporaryDirectory directory;
  TrainSettings settings = SmallSettings();
  settings.optimizer.learning_rate = 1e30;
  const auto documents = RandomDocuments(3, 100, settings.model.vocab_size);
  const absl::Status status =
      TrainLanguageModel(settings, Quiet(directory / "run"), documents, documents).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(status.message()), HasSubstr("step 2: loss is"));
}

TEST(TrainerTest, RefusesATokenBeyondTheVocabularyAndDataShorterThanAContext) {
  TemporaryDirectory directory;
  const TrainSettings settings = SmallSettings();
  const auto documents = RandomDocuments(3, 100, settings.model.vocab_size + 1);
  const absl::Status beyond =
      TrainLanguageModel(settings, Quiet(directory / "run"), documents, documents).status();
  EXPECT_EQ(beyond.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(beyond.message()), HasSubstr("the model's vocabulary has 20"));
  const auto short_data = RandomDocuments(1, 3, 20);
  EXPECT_THAT(
      std::string(TrainLanguageModel(settings, Quiet(directory / "run"), short_data, short_data)
                      .status()
                      .message()),
      HasSubstr("shorter than one context of 16"));
}

class CorpusTest : public testing::Test {
 protected:
  absl::Status Load(const std::string& text) {
    directory_.Write("corpus.jsonl", text);
    return LoadCorpus(directory_ / "corpus.jsonl", *tokenizer_, 2).status();
  }
  TemporaryDirectory directory_;
  const std::unique_ptr<Tokenizer> tokenizer_ = *Tokenizer::Load(kTokenizer);
};

TEST_F(CorpusTest, DocumentsOpenWithEosAndCountTheirBytes) {
  directory_.Write("corpus.jsonl",
                   "{\"id\": \"a\", \"text\": \"häuser\"}\n\n{\"id\": \"b\", \"text\": \"\"}\n");
  const auto documents = LoadCorpus(directory_ / "corpus.jsonl", *tokenizer_, 2);
  ASSERT_TRUE(documents.ok()) << documents.status();
  ASSERT_EQ(documents->size(), 2u);
  EXPECT_EQ((*documents)[0].tokens.front(), 2);
  EXPECT_EQ((*documents)[0].num_bytes, 7);
  EXPECT_EQ((*documents)[1].tokens, std::vector<TokenId>({2}));
}

TEST_F(CorpusTest, ABadLineIsNamedByItsNumber) {
  const std::string good = "{\"id\": \"a\", \"text\": \"x\"}\n";
  for (const std::string bad :
       {"{\"text\": ", "[1]", "{\"id\": \"a\"}", "{\"text\": 5}", "{\"text\": \"\xff\xfe\"}"}) {
    const absl::Status status = Load(good + good + bad + "\n" + good);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << bad;
    EXPECT_THAT(std::string(status.message()), HasSubstr("corpus.jsonl, line 3: ")) << bad;
  }
  EXPECT_THAT(std::string(Load("\n").message()), HasSubstr("holds no document"));
  EXPECT_EQ(LoadCorpus(directory_ / "none", *tokenizer_, 2).status().code(),
            absl::StatusCode::kNotFound);
}

TEST(CheckpointDirectoryTest, Bfloat16IsRoundedToNearestEvenAndReadsBack) {
  TemporaryDirectory directory;
  const LanguageConfig config = SmallSettings().model;
  const Parameters parameters(config, 5);
  ASSERT_TRUE(WriteCheckpointDirectory(directory / "m", config, parameters.named(), DType::kBF16,
                                       kTokenizer)
                  .ok());
  const auto read = LoadLanguageConfig(directory / "m");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(ToJson(*read), ToJson(config));
  const auto weights = Weights::Load(directory / "m", ExpectedTensors(config));
  ASSERT_TRUE(weights.ok()) << weights.status();
  for (const reference::NamedParameter& parameter : parameters.named()) {
    const auto* bits = static_cast<const uint16_t*>(weights->at(parameter.name).data);
    const float* values = parameter.value.const_data_ptr<float>();
    for (int64_t i = 0; i < parameter.value.numel(); ++i) {
      ASSERT_EQ(bits[i], FloatToBFloat16(values[i])) << parameter.name << " " << i;
    }
  }
}

int RunTrainer(std::vector<std::string> arguments, std::string* errors) {
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  testing::internal::CaptureStderr();
  const int code = RunCommandLine(static_cast<int>(argv.size()), argv.data());
  *errors = testing::internal::GetCapturedStderr();
  return code;
}

TEST(CommandLineTest, ATokenizerLargerThanTheVocabularyIsRefused) {
  TemporaryDirectory directory;
  LanguageConfig config = SmallSettings().model;
  directory.Write("config.json", ToJson(config));
  directory.Write("data.jsonl", "{\"id\": \"a\", \"text\": \"x\"}\n");
  std::string errors;
  EXPECT_EQ(RunTrainer({"ela-train", "lm", "--data", directory / "data.jsonl", "--valid",
                        directory / "data.jsonl", "--tokenizer", kTokenizer, "--model-config",
                        directory / "config.json", "--out", directory / "run"},
                       &errors),
            1);
  EXPECT_THAT(errors,
              AllOf(HasSubstr("the tokenizer has 6400 entries"), HasSubstr("the model has 20")));
}

TEST(CommandLineTest, TrainsEvaluatesAndExportsFromFiles) {
  TemporaryDirectory directory;
  LanguageConfig config = SmallSettings().model;
  config.vocab_size = 6400;
  config.eos_token_ids = {2};
  directory.Write("config.json", ToJson(config));
  std::string line = "{\"id\": \"a\", \"text\": \"";
  for (int i = 0; i < 60; ++i) line += "to be or not to be ";
  directory.Write("data.jsonl", line + "\"}\n");
  const std::string data = directory / "data.jsonl", run = directory / "run";
  std::string errors;
  ASSERT_EQ(RunTrainer({"ela-train", "lm", "--data", data, "--valid", data, "--tokenizer",
                        kTokenizer, "--model-config", directory / "config.json", "--out", run,
                        "--steps", "3", "--context", "32", "--batch", "2"},
                       &errors),
            0)
      << errors;
  EXPECT_THAT(errors, HasSubstr("3/3  loss "));
  EXPECT_EQ(RunTrainer({"ela-train", "export", "--from", run, "--to", directory / "bf16"}, &errors),
            0)
      << errors;
  EXPECT_EQ(
      RunTrainer({"ela-train", "eval", "--model", directory / "bf16", "--data", data}, &errors), 0)
      << errors;
  EXPECT_EQ(
      RunTrainer({"ela-train", "export", "--from", run, "--to", directory / "x", "--dtype", "f8"},
                 &errors),
      1);
  EXPECT_THAT(errors, HasSubstr("dtype is \"f8\", known are f32, bf16"));
}

}  // namespace
}  // namespace ela::train
