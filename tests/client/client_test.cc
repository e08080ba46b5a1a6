#include "client/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>
#include <utility>

#include "tests/client/fake_server.h"

namespace ela {
namespace {

using client::ClientOptions;
using client::Finish;
using client::GenerateChunk;
using client::GenerateParams;
using client::GenerateStream;
using client::ScoreParams;
using client::ScoreStream;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// One token per message, then the finish.
FakeServer::GenerateHandler Says(std::vector<std::string> words) {
  return [words](grpc::ServerContext*, const v1::GenerateRequest&,
                 grpc::ServerWriter<v1::GenerateResponse>* writer) {
    for (const std::string& word : words) {
      v1::GenerateResponse response;
      response.set_text(word);
      response.add_token_ids(word.size());
      writer->Write(response);
    }
    v1::GenerateResponse last;
    last.mutable_finish()->set_reason(v1::Finish::REASON_END_OF_TEXT);
    last.mutable_finish()->set_stop_token_id(2);
    last.mutable_finish()->set_seed(77);
    last.mutable_finish()->mutable_usage()->set_generated_tokens(words.size());
    last.mutable_finish()->mutable_usage()->set_decode_seconds(0.25);
    writer->Write(last);
    return grpc::Status::OK;
  };
}

FakeServer::GenerateHandler Fails(grpc::Status status) {
  return [status](auto...) { return status; };
}

// Sends one token, then nothing until the client is gone.
FakeServer::GenerateHandler OneTokenThenSilence(absl::Notification& cancelled) {
  return [&cancelled](grpc::ServerContext* context, const v1::GenerateRequest&,
                      grpc::ServerWriter<v1::GenerateResponse>* writer) {
    v1::GenerateResponse response;
    response.set_text("one");
    response.add_token_ids(1);
    writer->Write(response);
    while (!context->IsCancelled()) std::this_thread::yield();
    cancelled.Notify();
    return grpc::Status::CANCELLED;
  };
}

class ClientTest : public ::testing::Test {
 protected:
  std::unique_ptr<Client> Connect(ClientOptions options = {}) {
    options.address = server_.address();
    options.first_pause = absl::Milliseconds(1);
    return *Client::Connect(std::move(options));
  }

  static GenerateParams Prompt(const std::string& text) {
    GenerateParams params;
    params.text = text;
    return params;
  }

  FakeServer server_;
};

TEST_F(ClientTest, StreamsTextAndEndsWithUsage) {
  server_.OnGenerate({Says({"Once ", "upon ", "a time"})});
  auto client = Connect();

  GenerateStream stream = client->Generate(Prompt("tell"));
  std::vector<std::string> words;
  while (std::optional<GenerateChunk> chunk = stream.Next()) words.push_back(chunk->text);

  ASSERT_TRUE(stream.status().ok()) << stream.status();
  EXPECT_THAT(words, ElementsAre("Once ", "upon ", "a time"));
  EXPECT_EQ(stream.finish().reason, Finish::Reason::kEndOfText);
  EXPECT_EQ(stream.finish().stop_token_id, 2);
  EXPECT_EQ(stream.finish().seed, 77);
  EXPECT_EQ(stream.finish().usage.generated_tokens, 3);
  EXPECT_EQ(stream.finish().usage.decode_time, absl::Milliseconds(250));
}

TEST_F(ClientTest, RangeCallbackAndCollectReadTheSameStream) {
  server_.OnGenerate({Says({"a", "bc"})});
  auto client = Connect();

  std::string by_range;
  GenerateStream stream = client->Generate(Prompt("x"));
  for (const GenerateChunk& chunk : stream) by_range += chunk.text;
  std::string by_callback;
  const absl::Status status =
      client->Generate(Prompt("x")).ForEach([&by_callback](const GenerateChunk& chunk) {
        by_callback += chunk.text;
      });
  const absl::StatusOr<client::Generated> collected = client->Generate(Prompt("x")).Collect();

  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(by_range, "abc");
  EXPECT_EQ(by_callback, "abc");
  ASSERT_TRUE(collected.ok()) << collected.status();
  EXPECT_EQ(collected->text, "abc");
  EXPECT_THAT(collected->token_ids, ElementsAre(1, 2));
}

TEST_F(ClientTest, SendsEveryFieldAndLeavesAbsentOnesAbsent) {
  Seen<v1::GenerateRequest> seen_request;
  Seen<std::string> tenant;
  server_.OnGenerate({[&](grpc::ServerContext* context, const v1::GenerateRequest& request,
                          grpc::ServerWriter<v1::GenerateResponse>* writer) {
    seen_request.Set(request);
    const auto found = context->client_metadata().find("ela-tenant");
    if (found != context->client_metadata().end()) {
      tenant.Set(std::string(found->second.data(), found->second.size()));
    }
    return Says({})(context, request, writer);
  }});
  ClientOptions options;
  options.model = "tiny";
  options.tenant = "press";
  auto client = Connect(options);
  GenerateParams params;
  params.token_ids = {5, 6};
  params.temperature = 0.0f;
  params.seed = 0;
  params.max_new_tokens = 0;
  params.stop = {"###"};
  params.stop_token_ids = {9};
  params.segments = {{false, 1}, {true, 1}};
  params.priority = -3;
  params.logprobs = true;

  ASSERT_TRUE(client->Generate(params).Collect().ok());

  const v1::GenerateRequest seen = seen_request.Get();
  EXPECT_EQ(tenant.Get(), "press");
  EXPECT_EQ(seen.model(), "tiny");
  EXPECT_THAT(seen.token_ids().ids(), ElementsAre(5, 6));
  EXPECT_TRUE(seen.sampling().has_temperature());
  EXPECT_EQ(seen.sampling().temperature(), 0.0f);
  EXPECT_TRUE(seen.sampling().has_seed());
  EXPECT_FALSE(seen.sampling().has_top_k());
  EXPECT_FALSE(seen.sampling().has_top_p());
  EXPECT_TRUE(seen.stopping().has_max_new_tokens());
  EXPECT_EQ(seen.stopping().max_new_tokens(), 0);
  EXPECT_THAT(seen.stopping().stop(), ElementsAre("###"));
  EXPECT_THAT(seen.stopping().stop_token_ids(), ElementsAre(9));
  ASSERT_EQ(seen.segments_size(), 2);
  EXPECT_EQ(seen.segments(1).kind(), v1::Segment::KIND_GENERATED);
  EXPECT_EQ(seen.priority(), -3);
  EXPECT_TRUE(seen.output().logprobs());
}

TEST_F(ClientTest, ReturnsLogprobsRoutingAndPromptScores) {
  server_.OnGenerate({[](grpc::ServerContext*, const v1::GenerateRequest&,
                         grpc::ServerWriter<v1::GenerateResponse>* writer) {
    v1::GenerateResponse response;
    response.mutable_prompt()->set_first_position(1);
    response.mutable_prompt()->add_logprobs(-2.5f);
    response.add_token_ids(4);
    response.add_logprobs(-0.5f);
    v1::TopLogprobs* top = response.add_top_logprobs();
    top->add_token_ids(4);
    top->add_logprobs(-0.5f);
    v1::TokenRouting* routing = response.add_routing();
    routing->add_expert_ids(3);
    routing->add_weights(0.75f);
    response.mutable_finish()->set_reason(v1::Finish::REASON_LENGTH);
    writer->Write(response);
    return grpc::Status::OK;
  }});

  GenerateStream stream = Connect()->Generate(Prompt("x"));
  const std::optional<GenerateChunk> chunk = stream.Next();

  ASSERT_TRUE(chunk.has_value()) << stream.status();
  EXPECT_THAT(chunk->logprobs, ElementsAre(-0.5f));
  EXPECT_EQ(chunk->top_logprobs.at(0).at(0).token_id, 4);
  EXPECT_THAT(chunk->routing.at(0).expert_ids, ElementsAre(3));
  ASSERT_TRUE(chunk->prompt.has_value());
  EXPECT_EQ(chunk->prompt->first_position, 1);
  EXPECT_THAT(chunk->prompt->logprobs, ElementsAre(-2.5f));
  EXPECT_FALSE(stream.Next().has_value());
  EXPECT_EQ(stream.finish().reason, Finish::Reason::kLength);
}

TEST_F(ClientTest, RefusesAPromptOfTwoKindsOrNoneWithoutACall) {
  auto client = Connect();
  GenerateParams both = Prompt("x");
  both.token_ids = {1};

  EXPECT_EQ(client->Generate(both).Collect().status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(client->Generate({}).Collect().status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(client->Score({}).Finish().status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(server_.num_generate_calls(), 0);
}

TEST_F(ClientTest, ErrorsNameEveryViolationInWordsAndAsData) {
  google::rpc::BadRequest bad;
  auto* violation = bad.add_field_violations();
  violation->set_field("sampling.top_p");
  violation->set_description("is 1.5, must be in (0, 1]");
  violation = bad.add_field_violations();
  violation->set_field("stopping.max_new_tokens");
  violation->set_description("is 9000, this server allows 4096");
  google::rpc::ErrorInfo info;
  info.set_reason("BAD_FIELDS");
  info.set_domain("ela");
  server_.OnGenerate({Fails(
      WithDetails(grpc::StatusCode::INVALID_ARGUMENT, "2 fields are wrong", {&bad, &info}))});

  const absl::Status status = Connect()->Generate(Prompt("x")).Collect().status();

  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("2 fields are wrong"), HasSubstr("sampling.top_p: is 1.5"),
                    HasSubstr("stopping.max_new_tokens: is 9000, this server allows 4096")));
  const client::ErrorDetails details = client::DetailsOf(status);
  ASSERT_EQ(details.field_violations.size(), 2);
  EXPECT_EQ(details.field_violations[1].field, "stopping.max_new_tokens");
  EXPECT_EQ(details.reason, "BAD_FIELDS");
  EXPECT_EQ(server_.num_generate_calls(), 1);
}

TEST_F(ClientTest, OverloadIsTheCallersToWaitFor) {
  server_.OnGenerate({Fails(
      Busy(grpc::StatusCode::RESOURCE_EXHAUSTED, "the queue is full", absl::Milliseconds(1500)))});

  const absl::Status status = Connect()->Generate(Prompt("x")).Collect().status();

  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(client::DetailsOf(status).retry_after, absl::Milliseconds(1500));
  EXPECT_THAT(std::string(status.message()), HasSubstr("try again in 1.5s"));
  EXPECT_EQ(server_.num_generate_calls(), 1);
}

TEST_F(ClientTest, TriesAgainAfterUnavailableWithRetryInfo) {
  const auto draining =
      Fails(Busy(grpc::StatusCode::UNAVAILABLE, "draining", absl::Milliseconds(2)));
  server_.OnGenerate({draining, draining, Says({"at last"})});

  const absl::StatusOr<client::Generated> result = Connect()->Generate(Prompt("x")).Collect();

  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->text, "at last");
  EXPECT_EQ(server_.num_generate_calls(), 3);
}

TEST_F(ClientTest, GivesUpAfterMaxAttempts) {
  server_.OnGenerate({Fails({grpc::StatusCode::UNAVAILABLE, "loading"})});
  ClientOptions options;
  options.max_attempts = 3;

  const absl::Status status = Connect(options)->Generate(Prompt("x")).Collect().status();

  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(server_.num_generate_calls(), 3);
}

TEST_F(ClientTest, NeverRepeatsACallOfWhichSomethingWasReceived) {
  server_.OnGenerate({[](grpc::ServerContext*, const v1::GenerateRequest&,
                         grpc::ServerWriter<v1::GenerateResponse>* writer) {
    v1::GenerateResponse response;
    response.set_text("half");
    response.add_token_ids(1);
    writer->Write(response);
    return Busy(grpc::StatusCode::UNAVAILABLE, "shutting down", absl::Milliseconds(1));
  }});

  GenerateStream stream = Connect()->Generate(Prompt("x"));

  EXPECT_EQ(stream.Next()->text, "half");
  EXPECT_FALSE(stream.Next().has_value());
  EXPECT_EQ(stream.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(server_.num_generate_calls(), 1);
}

TEST_F(ClientTest, DoesNotWaitPastTheDeadlineForARetry) {
  server_.OnGenerate({Fails(Busy(grpc::StatusCode::UNAVAILABLE, "draining", absl::Seconds(4)))});
  GenerateParams params = Prompt("x");
  params.timeout = absl::Seconds(3);

  const absl::Time start = absl::Now();
  const absl::Status status = Connect()->Generate(params).Collect().status();

  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_LT(absl::Now() - start, absl::Seconds(3));
}

TEST_F(ClientTest, CancelFromAnotherThreadEndsTheStreamOnBothSides) {
  absl::Notification cancelled;
  server_.OnGenerate({OneTokenThenSilence(cancelled)});
  GenerateStream stream = Connect()->Generate(Prompt("x"));
  ASSERT_EQ(stream.Next()->text, "one");

  std::thread canceller([&stream] { stream.Cancel(); });
  EXPECT_FALSE(stream.Next().has_value());
  canceller.join();

  EXPECT_EQ(stream.status().code(), absl::StatusCode::kCancelled);
  cancelled.WaitForNotification();
}

TEST_F(ClientTest, DestroyingAStreamCancelsIt) {
  absl::Notification cancelled;
  server_.OnGenerate({OneTokenThenSilence(cancelled)});
  {
    GenerateStream stream = Connect()->Generate(Prompt("x"));
    ASSERT_EQ(stream.Next()->text, "one");
  }
  cancelled.WaitForNotification();
}

TEST_F(ClientTest, CancelEndsAPauseBetweenAttempts) {
  absl::Notification refused;
  server_.OnGenerate({[&refused](auto...) {
    refused.Notify();
    return Busy(grpc::StatusCode::UNAVAILABLE, "draining", absl::Hours(1));
  }});
  ClientOptions options;
  options.longest_pause = absl::Hours(2);
  GenerateStream stream = Connect(options)->Generate(Prompt("x"));

  std::thread canceller([&] {
    refused.WaitForNotification();
    stream.Cancel();
  });
  EXPECT_FALSE(stream.Next().has_value());
  canceller.join();

  EXPECT_EQ(stream.status().code(), absl::StatusCode::kCancelled);
}

TEST_F(ClientTest, ADeadlineEndsTheStream) {
  absl::Notification cancelled;
  server_.OnGenerate({OneTokenThenSilence(cancelled)});
  GenerateParams params = Prompt("x");
  params.timeout = absl::Milliseconds(200);

  const absl::Status status = Connect()->Generate(params).Collect().status();

  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  cancelled.WaitForNotification();
}

TEST_F(ClientTest, AStreamWithoutAFinishIsAnError) {
  server_.OnGenerate({[](auto...) { return grpc::Status::OK; }});

  EXPECT_EQ(Connect()->Generate(Prompt("x")).Collect().status().code(),
            absl::StatusCode::kInternal);
}

TEST_F(ClientTest, ScoreSumsWhatItStreamsAndReturnsTheServersSummary) {
  Seen<v1::ScoreRequest> seen;
  server_.OnScore([&seen](grpc::ServerContext*, const v1::ScoreRequest& request,
                          grpc::ServerWriter<v1::ScoreResponse>* writer) {
    seen.Set(request);
    for (int i = 0; i < 2; ++i) {
      v1::ScoreResponse response;
      response.mutable_scores()->set_first_position(1 + 2 * i);
      response.mutable_scores()->add_logprobs(-1.0f);
      response.mutable_scores()->add_logprobs(-0.5f);
      writer->Write(response);
    }
    v1::ScoreResponse last;
    last.mutable_summary()->set_num_tokens(4);
    last.mutable_summary()->set_num_bytes(8);
    last.mutable_summary()->set_total_logprob(-3);
    last.mutable_summary()->set_bits_per_byte(0.541);
    writer->Write(last);
    return grpc::Status::OK;
  });
  ScoreParams params;
  params.text = "a text";
  params.start_with_eos = true;

  ScoreStream stream = Connect()->Score(params);
  std::vector<uint64_t> positions;
  while (auto chunk = stream.Next()) positions.push_back(chunk->first_position);

  ASSERT_TRUE(stream.status().ok()) << stream.status();
  EXPECT_TRUE(seen.Get().start_with_eos());
  EXPECT_THAT(positions, ElementsAre(1, 3));
  EXPECT_EQ(stream.so_far().num_tokens, 4);
  EXPECT_EQ(stream.so_far().total_logprob, -3.0);
  EXPECT_EQ(stream.summary().num_bytes, 8);
  EXPECT_EQ(stream.summary().bits_per_byte, 0.541);
}

TEST_F(ClientTest, TokenizesThereAndBack) {
  auto client = Connect();

  const absl::StatusOr<client::Tokens> tokens = client->Tokenize({"", "hi\xC3\xA9"});
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_THAT(tokens->ids, ElementsAre('h', 'i', 0xC3, 0xA9));
  EXPECT_THAT(tokens->pieces, ElementsAre("h", "i", "\xC3", "\xA9"));
  EXPECT_EQ(*client->Detokenize({"", tokens->ids}), "hi\xC3\xA9");
}

TEST_F(ClientTest, ListsAndDescribesModels) {
  auto client = Connect();

  const auto models = client->ListModels();
  ASSERT_TRUE(models.ok()) << models.status();
  ASSERT_EQ(models->size(), 2);
  EXPECT_EQ((*models)[0].name, "tiny");
  EXPECT_TRUE((*models)[0].ready);
  EXPECT_EQ((*models)[1].kind, client::ModelKind::kDetector);
  const auto tiny = client->DescribeModel();
  ASSERT_TRUE(tiny.ok()) << tiny.status();
  EXPECT_EQ(tiny->state_bytes, 1600000);
  EXPECT_EQ(tiny->architecture.vocab_size, 256);
  EXPECT_EQ(tiny->limits.max_new_tokens, 4096);
  EXPECT_THAT(tiny->eos_token_ids, ElementsAre(2));
  const absl::Status missing = client->DescribeModel("huge").status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), HasSubstr("there is tiny"));
}

TEST_F(ClientTest, HealthFollowsTheServer) {
  auto client = Connect();

  EXPECT_EQ(*client->CheckHealth(), client::Health::kServing);
  server_.server().GetHealthCheckService()->SetServingStatus(false);
  EXPECT_EQ(*client->CheckHealth(), client::Health::kNotServing);
  EXPECT_EQ(client->CheckHealth("no.such.Service").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ClientTest, ManyThreadsShareOneClient) {
  server_.OnGenerate({Says({"a", "b", "c"})});
  auto client = Connect();

  std::vector<std::thread> threads;
  std::vector<std::string> texts(8);
  for (std::string& text : texts) {
    threads.emplace_back([&client, &text] {
      for (int i = 0; i < 20; ++i) text += client->Generate(Prompt("x")).Collect()->text;
    });
  }
  for (std::thread& thread : threads) thread.join();

  for (const std::string& text : texts) EXPECT_EQ(text.size(), 60);
}

TEST_F(ClientTest, AStreamOutlivesItsClient) {
  server_.OnGenerate({Says({"still ", "here"})});
  auto client = Connect();
  GenerateStream stream = client->Generate(Prompt("x"));
  client.reset();

  EXPECT_EQ(stream.Collect()->text, "still here");
}

TEST(ClientConnectTest, SaysWhichServerDoesNotAnswer) {
  ClientOptions options;
  options.address = "127.0.0.1:1";
  options.max_attempts = 1;
  const absl::Status call = (*Client::Connect(options))->ListModels().status();
  EXPECT_EQ(call.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(call.message()), HasSubstr("no server answers at 127.0.0.1:1"));

  options.wait_for_server = absl::Milliseconds(50);
  EXPECT_EQ(Client::Connect(options).status().code(), absl::StatusCode::kUnavailable);
}

TEST(ClientConnectTest, RefusesOptionsThatCannotWork) {
  ClientOptions options;
  options.max_attempts = 0;
  EXPECT_EQ(Client::Connect(options).status().code(), absl::StatusCode::kInvalidArgument);
  options = {};
  options.address = "";
  EXPECT_EQ(Client::Connect(options).status().code(), absl::StatusCode::kInvalidArgument);
  options = {};
  options.timeout = absl::ZeroDuration();
  EXPECT_EQ(Client::Connect(options).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(DetailsOfTest, IsEmptyForAForeignStatus) {
  const client::ErrorDetails details = client::DetailsOf(absl::InternalError("ours"));

  EXPECT_TRUE(details.field_violations.empty());
  EXPECT_FALSE(details.retry_after.has_value());
}

}  // namespace
}  // namespace ela
