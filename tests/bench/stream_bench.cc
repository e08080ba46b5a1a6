// What gRPC costs: tokens/s of many concurrent streams over loopback against the same engine asked
// directly in this process, with the same worker, model and requests.
//   stream_bench [--model DIR] [--streams N] [--tokens N] [--rounds N] [--threads N]
// Without --model: random bfloat16 weights in the paper's configuration. Rounds alternate between
// the two, so that a noisy machine disturbs both alike; the ratio is that of the medians. The
// clients run in this process too: their work counts against the streams.
#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/blocking_counter.h"
#include "ela/v1/generation.grpc.pb.h"
#include "model/language/worker_factory.h"
#include "model/status_macros.h"
#include "model/tokenizer.h"
#include "scheduler/engine.h"
#include "scheduler/engine_thread.h"
#include "server/server.h"
#include "tests/model/random_checkpoint.h"

namespace ela {
namespace {

constexpr int kPromptTokens = 16;

struct Options {
  std::string model;
  int streams = 64;
  int tokens = 256;
  int rounds = 9;
  int threads = 0;
};

struct Spent {
  double wall_seconds = 0;
  double cpu_seconds = 0;  // of this process, all threads
};

double CpuSeconds() {
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

template <typename Body>
Spent Measure(Body body) {
  const auto start = std::chrono::steady_clock::now();
  const double cpu = CpuSeconds();
  body();
  const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - start;
  return {wall.count(), CpuSeconds() - cpu};
}

std::vector<TokenId> PromptOf(int stream, int64_t vocab_size) {
  std::mt19937 bits(stream + 1);
  std::vector<TokenId> prompt(kPromptTokens);
  for (TokenId& token : prompt) token = static_cast<TokenId>(bits() % vocab_size);
  return prompt;
}

// --- The engine alone. ---

class SilentObserver final : public EngineObserver {
 public:
  void OnLoad(const EngineLoad&) override {}
  void OnStep(const StepFacts&) override {}
  void OnFirstToken(absl::Duration) override {}
  void OnTokenInterval(absl::Duration) override {}
  void OnFinish(const Request&, const absl::Status&, FinishReason, const Usage&) override {}
  void OnRejected(const absl::Status&) override {}
};

class CountingSink final : public TokenSink {
 public:
  explicit CountingSink(absl::BlockingCounter& done) : done_(done) {}
  SinkState OnToken(const TokenEvent&) override {
    ++num_tokens_;
    return SinkState::kReady;
  }
  SinkState OnScores(const ScoreEvent&) override { return SinkState::kReady; }
  void OnFinish(const absl::Status& status, FinishReason, const Usage&) override {
    status_ = status;
    done_.DecrementCount();
  }
  int64_t num_tokens() const { return num_tokens_; }
  const absl::Status& status() const { return status_; }

 private:
  absl::BlockingCounter& done_;
  int64_t num_tokens_ = 0;
  absl::Status status_;
};

absl::Status RunInProcess(Engine& engine, const Options& options, int64_t vocab_size) {
  absl::BlockingCounter done(options.streams);
  std::vector<std::shared_ptr<CountingSink>> sinks;
  for (int i = 0; i < options.streams; ++i) {
    Request request;
    request.tokens = PromptOf(i, vocab_size);
    request.max_new_tokens = options.tokens;
    request.sampling.seed = i;
    request.ignore_eos = true;
    sinks.push_back(std::make_shared<CountingSink>(done));
    const auto ticket = engine.Submit(std::move(request), sinks.back());
    if (!ticket.ok()) return ticket.status();
  }
  done.Wait();
  for (const auto& sink : sinks) {
    if (!sink->status().ok()) return sink->status();
    if (sink->num_tokens() != options.tokens) return absl::InternalError("tokens are missing");
  }
  return absl::OkStatus();
}

// --- The same over gRPC. ---

class StreamReader final : public grpc::ClientReadReactor<v1::GenerateResponse> {
 public:
  StreamReader(v1::Generation::Stub& stub, const v1::GenerateRequest& request,
               absl::BlockingCounter& done)
      : request_(request), done_(done) {
    stub.async()->Generate(&context_, &request_, this);
    StartRead(&response_);
    StartCall();
  }
  void OnReadDone(bool ok) override {
    if (!ok) return;
    num_tokens_ += response_.token_ids_size();
    ++num_messages_;
    StartRead(&response_);
  }
  void OnDone(const grpc::Status& status) override {
    status_ = status;
    done_.DecrementCount();
  }
  int64_t num_tokens() const { return num_tokens_; }
  int64_t num_messages() const { return num_messages_; }
  const grpc::Status& status() const { return status_; }

 private:
  const v1::GenerateRequest request_;
  absl::BlockingCounter& done_;
  grpc::ClientContext context_;
  v1::GenerateResponse response_;
  int64_t num_tokens_ = 0, num_messages_ = 0;
  grpc::Status status_;
};

absl::Status RunOverGrpc(v1::Generation::Stub& stub, const Options& options, int64_t vocab_size,
                         int64_t* num_messages) {
  absl::BlockingCounter done(options.streams);
  std::vector<std::unique_ptr<StreamReader>> readers;
  for (int i = 0; i < options.streams; ++i) {
    v1::GenerateRequest request;
    for (const TokenId token : PromptOf(i, vocab_size)) {
      request.mutable_token_ids()->add_ids(static_cast<uint32_t>(token));
    }
    request.mutable_sampling()->set_seed(i);
    request.mutable_stopping()->set_max_new_tokens(options.tokens);
    request.mutable_stopping()->set_ignore_eos(true);
    readers.push_back(std::make_unique<StreamReader>(stub, request, done));
  }
  done.Wait();
  for (const auto& reader : readers) {
    if (!reader->status().ok()) return absl::InternalError(reader->status().error_message());
    if (reader->num_tokens() != options.tokens) return absl::InternalError("tokens are missing");
    *num_messages += reader->num_messages();
  }
  return absl::OkStatus();
}

// --- Both, in turns. ---

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

struct Rates {
  std::vector<double> per_second, per_cpu_second;
  void Add(const Spent& spent, double tokens) {
    per_second.push_back(tokens / spent.wall_seconds);
    per_cpu_second.push_back(tokens / spent.cpu_seconds);
  }
};

absl::StatusOr<ModelParts> Load(const Options& options, const ServerConfig& config) {
  ModelParts parts;
  parts.name = "bench";
  ELA_ASSIGN_OR_RETURN(parts.config, LoadLanguageConfig(options.model));
  const bool has_tokenizer = std::filesystem::exists(options.model + "/tokenizer.json");
  ELA_ASSIGN_OR_RETURN(
      parts.tokenizer,
      Tokenizer::Load(has_tokenizer ? options.model : ELA_SOURCE_DIR "/tests/golden/tokenizer"));
  LanguageWorkerOptions worker;
  worker.directory = options.model;
  worker.num_slots = options.streams;
  worker.num_threads = options.threads;
  worker.max_step_tokens = static_cast<int32_t>(config.step_tokens);
  ELA_ASSIGN_OR_RETURN(parts.worker, CreateLanguageWorker(worker));
  return parts;
}

absl::Status Run(const Options& options) {
  ServerConfig config;
  config.listen = "127.0.0.1:0";
  config.slots = options.streams;
  ELA_ASSIGN_OR_RETURN(ModelParts alone, Load(options, config));
  ELA_ASSIGN_OR_RETURN(ModelParts served, Load(options, config));
  const int64_t vocab_size = alone.config.vocab_size;

  SilentObserver observer;
  const RealClock clock;
  EngineOptions engine_options;  // as the server sets them
  engine_options.step_token_budget = static_cast<int32_t>(config.step_tokens);
  engine_options.prefill_chunk = static_cast<int32_t>(config.prefill_chunk);
  ELA_ASSIGN_OR_RETURN(auto engine, Engine::Create(engine_options, *alone.worker, observer, clock));
  EngineThread thread(*engine);

  std::vector<ModelParts> models;
  models.push_back(std::move(served));
  ELA_ASSIGN_OR_RETURN(auto server, Server::Start(config, std::move(models)));
  const auto stub = v1::Generation::NewStub(
      grpc::CreateChannel(server->address(), grpc::InsecureChannelCredentials()));

  const double tokens = static_cast<double>(options.streams) * options.tokens;
  Rates in_process, over_grpc;
  int64_t num_messages = 0;
  for (int round = -1; round < options.rounds; ++round) {  // the first one warms both up
    absl::Status status;
    const Spent direct = Measure([&] { status = RunInProcess(*engine, options, vocab_size); });
    if (!status.ok()) return status;
    if (round <= 0) num_messages = 0;
    const Spent streamed =
        Measure([&] { status = RunOverGrpc(*stub, options, vocab_size, &num_messages); });
    if (!status.ok()) return status;
    if (round < 0) continue;
    in_process.Add(direct, tokens);
    over_grpc.Add(streamed, tokens);
  }
  const double direct = Median(in_process.per_second), streamed = Median(over_grpc.per_second);
  std::printf(
      "{\"figure\": \"streams over gRPC against the engine in process\", \"streams\": %d, "
      "\"tokens_per_stream\": %d, \"rounds\": %d, \"in_process_tokens_per_second\": %.0f, "
      "\"grpc_tokens_per_second\": %.0f, \"ratio\": %.3f, "
      "\"in_process_tokens_per_cpu_second\": %.0f, \"grpc_tokens_per_cpu_second\": %.0f, "
      "\"tokens_per_message\": %.2f}\n",
      options.streams, options.tokens, options.rounds, direct, streamed, streamed / direct,
      Median(in_process.per_cpu_second), Median(over_grpc.per_cpu_second),
      tokens * options.rounds / std::max<int64_t>(1, num_messages));
  server->Drain(absl::ZeroDuration());
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app("Streams over gRPC against the engine in process.", "stream_bench");
  app.add_option("--model", options.model, "Checkpoint (default: random, paper's configuration)");
  app.add_option("--streams", options.streams, "Concurrent streams")->check(CLI::Range(1, 4096));
  app.add_option("--tokens", options.tokens, "Tokens of each")->check(CLI::PositiveNumber);
  app.add_option("--rounds", options.rounds, "Rounds of each kind")->check(CLI::PositiveNumber);
  app.add_option("--threads", options.threads, "Threads of a worker; 0: one per core");
  CLI11_PARSE(app, argc, argv);
  std::string temporary;
  if (options.model.empty()) {
    temporary =
        std::filesystem::temp_directory_path() / ("ela_stream_bench_" + std::to_string(getpid()));
    std::filesystem::create_directory(temporary);
    WriteRandomCheckpoint(PaperConfig(), 1, temporary, DType::kBF16);
    options.model = temporary;
  }
  const absl::Status status = Run(options);
  if (!temporary.empty()) std::filesystem::remove_all(temporary);
  if (status.ok()) return 0;
  std::fprintf(stderr, "stream_bench: %s\n", status.ToString().c_str());
  return 1;
}

}  // namespace
}  // namespace ela

int main(int argc, char** argv) { return ela::Main(argc, argv); }
