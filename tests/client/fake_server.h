// A server of ela.v1 in this process that does what a test tells it to: enough to see what a client
// sends and how it takes what comes back. No model: a prompt's tokens are its bytes.
#ifndef ELA_TESTS_CLIENT_FAKE_SERVER_H_
#define ELA_TESTS_CLIENT_FAKE_SERVER_H_

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "ela/v1/generation.grpc.pb.h"
#include "ela/v1/model.grpc.pb.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "tests/client/fake_detection.h"

namespace ela {

// A gRPC status with google.rpc details in the trailer, as the server makes them.
inline grpc::Status WithDetails(grpc::StatusCode code, const std::string& message,
                                const std::vector<const google::protobuf::Message*>& details) {
  google::rpc::Status status;
  status.set_code(code);
  status.set_message(message);
  for (const google::protobuf::Message* detail : details) status.add_details()->PackFrom(*detail);
  return grpc::Status(code, message, status.SerializeAsString());
}

inline grpc::Status Busy(grpc::StatusCode code, const std::string& message,
                         absl::Duration retry_after) {
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(absl::ToInt64Seconds(retry_after));
  retry.mutable_retry_delay()->set_nanos(absl::ToInt64Nanoseconds(retry_after % absl::Seconds(1)));
  return WithDetails(code, message, {&retry});
}

// What a handler leaves for the test. A call's end orders the two in truth, but over a socket,
// where the thread sanitizer does not see it.
template <typename T>
class Seen {
 public:
  void Set(T value) {
    absl::MutexLock lock(&mutex_);
    value_ = std::move(value);
  }
  T Get() const {
    absl::MutexLock lock(&mutex_);
    return value_;
  }

 private:
  mutable absl::Mutex mutex_;
  T value_ ABSL_GUARDED_BY(mutex_);
};

class FakeServer final : public v1::Generation::Service {
 public:
  using GenerateHandler = std::function<grpc::Status(
      grpc::ServerContext*, const v1::GenerateRequest&, grpc::ServerWriter<v1::GenerateResponse>*)>;
  using ScoreHandler = std::function<grpc::Status(grpc::ServerContext*, const v1::ScoreRequest&,
                                                  grpc::ServerWriter<v1::ScoreResponse>*)>;

  FakeServer() {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(this);
    builder.RegisterService(&models_);
    builder.RegisterService(&detection_);
    server_ = builder.BuildAndStart();
    address_ = "127.0.0.1:" + std::to_string(port);
  }
  ~FakeServer() override { server_->Shutdown(std::chrono::system_clock::now()); }

  const std::string& address() const { return address_; }
  grpc::Server& server() { return *server_; }
  FakeDetection& detection() { return detection_; }

  // What the next calls do, in the order of arrival; the last one serves all that follow.
  void OnGenerate(std::vector<GenerateHandler> handlers) {
    absl::MutexLock lock(&mutex_);
    generate_ = std::move(handlers);
  }
  void OnScore(ScoreHandler handler) {
    absl::MutexLock lock(&mutex_);
    score_ = std::move(handler);
  }

  int num_generate_calls() {
    absl::MutexLock lock(&mutex_);
    return num_generate_calls_;
  }

 private:
  // A detector and a language model, to have one of each kind.
  class FakeModels final : public v1::Models::Service {
   public:
    explicit FakeModels(const FakeDetection& detection) : detection_(detection) {}

   private:
    grpc::Status List(grpc::ServerContext*, const v1::ListModelsRequest*,
                      v1::ListModelsResponse* response) override {
      v1::ModelSummary* model = response->add_models();
      model->set_name("tiny");
      model->set_kind(v1::ModelSummary::KIND_LANGUAGE);
      model->set_ready(true);
      model = response->add_models();
      model->set_name("eyes");
      model->set_kind(v1::ModelSummary::KIND_DETECTOR);
      model->set_ready(true);
      return grpc::Status::OK;
    }
    grpc::Status Describe(grpc::ServerContext*, const v1::DescribeModelRequest* request,
                          v1::DescribeModelResponse* response) override {
      if (request->model() == "eyes") {
        response->set_name("eyes");
        response->set_kind(v1::ModelSummary::KIND_DETECTOR);
        *response->mutable_detector() = detection_.description();
        return grpc::Status::OK;
      }
      if (!request->model().empty() && request->model() != "tiny") {
        return {grpc::StatusCode::NOT_FOUND,
                "no model \"" + request->model() + "\", there is tiny"};
      }
      response->set_name("tiny");
      response->set_kind(v1::ModelSummary::KIND_LANGUAGE);
      v1::LanguageModel* language = response->mutable_language();
      language->mutable_architecture()->set_vocab_size(256);
      language->mutable_architecture()->set_config_json(R"({"vocab_size": 256})");
      language->mutable_limits()->set_max_new_tokens(4096);
      language->set_num_parameters(6624272);
      language->set_state_bytes(1600000);
      language->set_num_slots(64);
      language->set_device("cpu");
      language->add_eos_token_ids(2);
      return grpc::Status::OK;
    }

    const FakeDetection& detection_;
  };

  grpc::Status Generate(grpc::ServerContext* context, const v1::GenerateRequest* request,
                        grpc::ServerWriter<v1::GenerateResponse>* writer) override {
    GenerateHandler handler;
    {
      absl::MutexLock lock(&mutex_);
      const size_t index = num_generate_calls_++;
      handler = generate_[std::min(index, generate_.size() - 1)];
    }
    return handler(context, *request, writer);
  }
  grpc::Status Score(grpc::ServerContext* context, const v1::ScoreRequest* request,
                     grpc::ServerWriter<v1::ScoreResponse>* writer) override {
    ScoreHandler handler;
    {
      absl::MutexLock lock(&mutex_);
      handler = score_;
    }
    return handler(context, *request, writer);
  }
  grpc::Status Tokenize(grpc::ServerContext*, const v1::TokenizeRequest* request,
                        v1::TokenizeResponse* response) override {
    for (const char byte : request->text()) {
      response->add_ids(static_cast<unsigned char>(byte));
      response->add_pieces(std::string(1, byte));
    }
    return grpc::Status::OK;
  }
  grpc::Status Detokenize(grpc::ServerContext*, const v1::DetokenizeRequest* request,
                          v1::DetokenizeResponse* response) override {
    for (const uint32_t id : request->ids()) *response->mutable_text() += static_cast<char>(id);
    return grpc::Status::OK;
  }

  FakeDetection detection_;
  FakeModels models_{detection_};
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
  absl::Mutex mutex_;
  std::vector<GenerateHandler> generate_ ABSL_GUARDED_BY(mutex_);
  ScoreHandler score_ ABSL_GUARDED_BY(mutex_);
  int num_generate_calls_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace ela

#endif  // ELA_TESTS_CLIENT_FAKE_SERVER_H_
