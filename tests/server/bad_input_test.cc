// Every bad input has its own clear error, as a client decodes it.
#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <future>
#include <string>
#include <utility>

#include "tests/server/server_fixture.h"

namespace ela {
namespace {

using testing::HasSubstr;

using BadInputTest = ServerTest;

TEST_F(BadInputTest, AnUnknownModelNamesThoseThatThereAre) {
  Start();
  auto request = Prompt("hi", 1);
  request.set_model("gpt");
  const grpc::Status status = Generate(request).status;
  EXPECT_EQ(status.error_code(), grpc::NOT_FOUND);
  EXPECT_EQ(status.error_message(), "no language model is named \"gpt\"; this server has tiny");
  EXPECT_EQ(ReasonOf(status), "MODEL_NOT_FOUND");

  v1::DescribeModelRequest describe;
  describe.set_model("gpt");
  v1::DescribeModelResponse response;
  grpc::ClientContext context;
  EXPECT_EQ(models_->Describe(&context, describe, &response).error_code(), grpc::NOT_FOUND);
}

// A status travels in HTTP headers: more than 8 KB of them a client refuses with an error of its
// own.
TEST_F(BadInputTest, AVeryLongModelNameIsStillNotFound) {
  Start();
  auto request = Prompt("hi", 1);
  request.set_model(std::string(100000, 'x'));
  const grpc::Status status = Generate(request).status;
  EXPECT_EQ(status.error_code(), grpc::NOT_FOUND);
  EXPECT_THAT(status.error_message(), HasSubstr("(100000 bytes)"));
  EXPECT_EQ(ReasonOf(status), "MODEL_NOT_FOUND");
}

TEST_F(BadInputTest, AHundredThousandBadSegmentsAreOneViolation) {
  Start();
  auto request = Prompt("hi", 1);
  for (int i = 0; i < 100000; ++i) request.add_segments()->set_kind(v1::Segment::KIND_PROMPT);
  const grpc::Status status = Generate(request).status;
  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  const auto details = DetailOf<google::rpc::BadRequest>(status);
  ASSERT_EQ(details.field_violations_size(), 1);
  EXPECT_EQ(details.field_violations(0).field(), "segments[0].num_tokens");
}

TEST_F(BadInputTest, AMessageThatCannotBeReadIsInvalid) {
  Start();
  grpc::GenericStub raw(channel_);
  const std::pair<const char*, std::string> messages[] = {
      {"/ela.v1.Generation/Generate", std::string("\x12\x05"
                                                  "ab")},                    // cut off
      {"/ela.v1.Generation/Generate", std::string("\x12\x03\xff\xfe\x80")},  // text is not UTF-8
      {"/ela.v1.Generation/Score", std::string("\xff\xff\xff")},
      {"/ela.v1.Generation/Tokenize", std::string("\x12\x01\xff")},
      {"/ela.v1.Models/Describe", std::string("\x0a\x01\xff")},
  };
  for (const auto& [method, bytes] : messages) {
    const grpc::Slice slice(bytes);
    const grpc::ByteBuffer request(&slice, 1);
    grpc::ByteBuffer response;
    grpc::ClientContext context;
    std::promise<grpc::Status> ended;
    raw.UnaryCall(&context, method, grpc::StubOptions(), &request, &response,
                  [&ended](grpc::Status status) { ended.set_value(std::move(status)); });
    const grpc::Status status = ended.get_future().get();
    EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT) << method;
    EXPECT_THAT(status.error_message(), HasSubstr("UTF-8")) << method;
    EXPECT_EQ(ReasonOf(status), "INVALID_REQUEST") << method;
  }
  EXPECT_TRUE(Generate(Prompt("hi", 1)).status.ok());
}

TEST_F(BadInputTest, AllViolationsComeInTheDetails) {
  Start();
  auto request = Prompt("", 1);
  request.mutable_sampling()->set_top_p(2);
  const grpc::Status status = Generate(request).status;
  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  const auto details = DetailOf<google::rpc::BadRequest>(status);
  ASSERT_EQ(details.field_violations_size(), 2);
  EXPECT_EQ(details.field_violations(0).field(), "text");
  EXPECT_EQ(details.field_violations(1).field(), "sampling.top_p");
  EXPECT_EQ(ReasonOf(status), "INVALID_REQUEST");
  EXPECT_EQ(Metric("ela_step_tokens_total"), 0);
}

TEST_F(BadInputTest, AnIdThatCannotBeMetadataIsRefused) {
  Start();
  auto request = Prompt("hi", 1);
  request.set_request_id("gr\xC3\xBC\xC3\x9F");
  const Streamed streamed = Generate(request);
  EXPECT_EQ(streamed.status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_NE(streamed.request_id, "");  // one of the server's own
}

TEST_F(BadInputTest, AMessageOverTheLimitIsRefused) {
  config_.max_message_bytes = 4096;
  Start();
  const grpc::Status status = Generate(Prompt(std::string(5000, 'a'), 1)).status;
  EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("4096"));
  EXPECT_TRUE(Generate(Prompt("hi", 1)).status.ok());
}

TEST_F(BadInputTest, AnUnknownTenantIsRefusedWhereTenantsAreConfigured) {
  config_.tenants = {{"alpha", 1}};
  Start();
  grpc::ClientContext known, unknown;
  known.AddMetadata("ela-tenant", "alpha");
  unknown.AddMetadata("ela-tenant", "omega");
  EXPECT_TRUE(Generate(Prompt("hi", 1), &known).status.ok());
  const grpc::Status status = Generate(Prompt("hi", 1), &unknown).status;
  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("ela-tenant"));
}

TEST_F(BadInputTest, WithoutTenantsTheMetadataIsIgnored) {
  Start();
  grpc::ClientContext context;
  context.AddMetadata("ela-tenant", "anyone");
  EXPECT_TRUE(Generate(Prompt("hi", 1), &context).status.ok());
}

TEST_F(BadInputTest, ANotFiniteModelOutputIsDataLossForThatStreamAlone) {
  Start();
  server_.reset();
  auto worker = std::make_unique<FakeWorker>(worker_options_);
  worker->FailItem(0, absl::DataLossError("the logits hold NaN"));
  ModelParts parts;
  parts.name = "tiny";
  parts.config = Config();
  parts.tokenizer = std::make_unique<ByteTokenizer>();
  parts.worker = std::move(worker);
  std::vector<ModelParts> models;
  models.push_back(std::move(parts));
  server_ = *Server::Start(config_, std::move(models));
  stub_ = v1::Generation::NewStub(
      grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials()));
  const grpc::Status status = Generate(Prompt("hi", 5)).status;
  EXPECT_EQ(status.error_code(), grpc::DATA_LOSS);
  EXPECT_EQ(ReasonOf(status), "MODEL_OUTPUT_NOT_FINITE");
  EXPECT_TRUE(Generate(Prompt("hi", 5)).status.ok());
}

TEST_F(BadInputTest, APortInUseIsAPlainError) {
  Start();
  ServerConfig second = config_;
  second.listen = server_->address();
  const auto server = Server::Start(second, {});
  EXPECT_EQ(server.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(server.status().message()),
              HasSubstr("cannot listen on " + second.listen + ": the port is in use"));
}

TEST_F(BadInputTest, AnAddressThatIsNoneIsAPlainError) {
  config_.listen = "not an address";
  const auto server = Server::Start(config_, {});
  EXPECT_THAT(std::string(server.status().message()), HasSubstr("cannot listen on not an address"));
}

TEST_F(BadInputTest, ATokenizerLargerThanTheVocabularyIsRefused) {
  worker_options_.vocab_size = 100;
  ModelParts parts;
  parts.name = "small";
  parts.config = Config();
  parts.tokenizer = std::make_unique<ByteTokenizer>();
  parts.worker = std::make_unique<FakeWorker>(worker_options_);
  std::vector<ModelParts> models;
  models.push_back(std::move(parts));
  const auto server = Server::Start(config_, std::move(models));
  EXPECT_EQ(std::string(server.status().message()),
            "model small: the tokenizer has 261 tokens, the model's vocabulary only 100");
}

}  // namespace
}  // namespace ela
