#ifndef ELA_TESTS_SERVER_SERVER_FIXTURE_H_
#define ELA_TESTS_SERVER_SERVER_FIXTURE_H_

#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "ela/v1/generation.grpc.pb.h"
#include "ela/v1/model.grpc.pb.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/server.h"
#include "tests/fakes/fake_worker.h"
#include "tests/server/byte_tokenizer.h"

namespace ela {

// All that a stream gave.
struct Streamed {
  std::vector<v1::GenerateResponse> messages;
  std::vector<TokenId> tokens;
  std::string text;
  v1::Finish finish;
  grpc::Status status;
  std::string request_id;  // initial metadata
};

// A real server over loopback, port 0, with a fake worker behind it.
class ServerTest : public testing::Test {
 protected:
  ServerTest() {
    config_.listen = "127.0.0.1:0";
    config_.stream_buffer_tokens = 32;
    worker_options_.vocab_size = ByteTokenizer::kVocabSize;
  }

  // Once per test, after the options are as it wants them. `gate` is asked before each item of each
  // step, on the engine's thread; it may block.
  void Start(std::function<void()> gate = nullptr) {
    auto worker = std::make_unique<FakeWorker>(worker_options_);
    worker_ = worker.get();
    if (gate) {
      worker_->FailWhen([gate](const StepItem&) {
        gate();
        return absl::OkStatus();
      });
    }
    ModelParts parts;
    parts.name = "tiny";
    parts.config = Config();
    parts.tokenizer = std::make_unique<ByteTokenizer>();
    parts.worker = std::move(worker);
    std::vector<ModelParts> models;
    models.push_back(std::move(parts));
    Serve(std::move(models));
  }

  // With `detectors_`, if a test has put some there.
  void Serve(std::vector<ModelParts> models) {
    auto server = Server::Start(config_, std::move(models), std::move(detectors_));
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    channel_ = grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials());
    stub_ = v1::Generation::NewStub(channel_);
    models_ = v1::Models::NewStub(channel_);
  }

  LanguageConfig Config() const {
    LanguageConfig config;
    config.vocab_size = worker_options_.vocab_size;
    config.hidden_size = 8;
    config.num_hidden_layers = worker_options_.num_layers;
    config.num_attention_heads = 2;
    config.num_experts = worker_options_.num_experts;
    config.num_experts_per_tok = worker_options_.num_experts_per_token;
    config.moe_intermediate_size = 8;
    config.eos_token_ids = {ByteTokenizer::kEndOfText};
    return config;
  }

  // A request that runs to its length: no token of the fake ends it.
  static v1::GenerateRequest Prompt(const std::string& text, uint64_t max_new_tokens) {
    v1::GenerateRequest request;
    request.set_text(text);
    request.mutable_stopping()->set_max_new_tokens(max_new_tokens);
    request.mutable_stopping()->set_ignore_eos(true);
    request.mutable_sampling()->set_seed(11);
    return request;
  }

  // What the fake must say to `message`.
  FakeText Expected(const v1::GenerateRequest& message) const {
    Request request;
    request.tokens = message.has_text() ? tokenizer_.Encode(message.text(), true)
                                        : std::vector<TokenId>(message.token_ids().ids().begin(),
                                                               message.token_ids().ids().end());
    request.max_new_tokens = static_cast<int64_t>(message.stopping().max_new_tokens());
    request.ignore_eos = message.stopping().ignore_eos();
    request.sampling.seed = message.sampling().seed();
    if (message.sampling().has_temperature()) {
      request.sampling.temperature = message.sampling().temperature();
    }
    for (const uint32_t id : message.stopping().stop_token_ids()) {
      request.stop_tokens.push_back(static_cast<TokenId>(id));
    }
    return worker_->Expected(request, {ByteTokenizer::kEndOfText});
  }

  static void Add(const v1::GenerateResponse& message, Streamed* streamed) {
    streamed->messages.push_back(message);
    for (const uint32_t id : message.token_ids()) {
      streamed->tokens.push_back(static_cast<TokenId>(id));
    }
    streamed->text += message.text();
    if (message.has_finish()) streamed->finish = message.finish();
  }

  Streamed Generate(const v1::GenerateRequest& request) {
    grpc::ClientContext context;
    return Generate(request, &context);
  }
  Streamed Generate(const v1::GenerateRequest& request, grpc::ClientContext* context) {
    Streamed streamed;
    const auto reader = stub_->Generate(context, request);
    v1::GenerateResponse message;
    while (reader->Read(&message)) Add(message, &streamed);
    streamed.status = reader->Finish();
    const auto found = context->GetServerInitialMetadata().find("ela-request-id");
    if (found != context->GetServerInitialMetadata().end()) {
      streamed.request_id.assign(found->second.data(), found->second.size());
    }
    return streamed;
  }

  // The sum of a family's samples as /metrics shows them, of those with this label value unless it
  // is empty; -1 when the family is not there.
  double Metric(const std::string& name, const std::string& label = "") const {
    for (const auto& family : server_->metrics()->Collect()) {
      if (family.name != name) continue;
      double sum = 0;
      for (const auto& sample : family.metric) {
        const bool counts =
            label.empty() || std::any_of(sample.label.begin(), sample.label.end(),
                                         [&label](const auto& one) { return one.value == label; });
        if (counts) sum += sample.counter.value + sample.gauge.value;
      }
      return sum;
    }
    return -1;
  }

  // Lets the other threads run until the metric has that value; fails after a generous while.
  void AwaitMetric(const std::string& name, double value, const std::string& label = "") const {
    const absl::Time limit = absl::Now() + absl::Seconds(60);
    while (Metric(name, label) != value) {
      ASSERT_LT(absl::Now(), limit)
          << name << " is " << Metric(name, label) << ", awaited " << value;
      std::this_thread::yield();
    }
  }

  template <typename Detail>
  static Detail DetailOf(const grpc::Status& status) {
    google::rpc::Status wire;
    wire.ParseFromString(status.error_details());
    Detail detail;
    for (const auto& any : wire.details()) any.UnpackTo(&detail);
    return detail;
  }
  static std::string ReasonOf(const grpc::Status& status) {
    return DetailOf<google::rpc::ErrorInfo>(status).reason();
  }

  ServerConfig config_;
  FakeWorkerOptions worker_options_;
  std::vector<DetectorParts> detectors_;
  ByteTokenizer tokenizer_;
  std::unique_ptr<Server> server_;
  FakeWorker* worker_ = nullptr;  // the server's; safe to ask once it is drained
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Generation::Stub> stub_;
  std::unique_ptr<v1::Models::Stub> models_;
};

}  // namespace ela

#endif  // ELA_TESTS_SERVER_SERVER_FIXTURE_H_
