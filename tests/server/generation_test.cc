// What well-behaved callers get, over a real connection.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/server/server_fixture.h"

namespace ela {
namespace {

using testing::ElementsAre;

using GenerationTest = ServerTest;

TEST_F(GenerationTest, StreamsExactlyTheModelsTokens) {
  Start();
  const auto request = Prompt("once upon a time", 200);
  const Streamed streamed = Generate(request);
  ASSERT_TRUE(streamed.status.ok()) << streamed.status.error_message();
  const FakeText expected = Expected(request);
  EXPECT_EQ(streamed.tokens, expected.tokens);
  EXPECT_EQ(streamed.text, tokenizer_.Decode(expected.tokens, true));
  EXPECT_EQ(streamed.finish.reason(), v1::Finish::REASON_LENGTH);
  EXPECT_EQ(streamed.finish.seed(), 11u);
  EXPECT_EQ(streamed.finish.usage().prompt_tokens(), 16u);
  EXPECT_EQ(streamed.finish.usage().generated_tokens(), 200u);
}

TEST_F(GenerationTest, OnlyTheLastMessageCarriesFinish) {
  Start();
  const Streamed streamed = Generate(Prompt("hi", 50));
  ASSERT_FALSE(streamed.messages.empty());
  for (size_t i = 0; i + 1 < streamed.messages.size(); ++i) {
    EXPECT_FALSE(streamed.messages[i].has_finish());
  }
  EXPECT_TRUE(streamed.messages.back().has_finish());
}

TEST_F(GenerationTest, TakesTokenIdsAsWell) {
  Start();
  auto request = Prompt("", 20);
  for (const TokenId id : {104, 105}) request.mutable_token_ids()->add_ids(id);
  EXPECT_EQ(Generate(request).tokens, Generate(Prompt("hi", 20)).tokens);
}

TEST_F(GenerationTest, ADrawnSeedIsReturnedAndRepeats) {
  Start();
  auto request = Prompt("hi", 20);
  request.mutable_sampling()->clear_seed();
  const Streamed first = Generate(request);
  const Streamed other = Generate(request);
  EXPECT_NE(first.finish.seed(), other.finish.seed());
  request.mutable_sampling()->set_seed(first.finish.seed());
  EXPECT_EQ(Generate(request).tokens, first.tokens);
}

TEST_F(GenerationTest, ZeroNewTokensAbsorbsOnly) {
  Start();
  const Streamed streamed = Generate(Prompt("hello there", 0));
  EXPECT_TRUE(streamed.status.ok());
  EXPECT_TRUE(streamed.tokens.empty());
  EXPECT_EQ(streamed.finish.reason(), v1::Finish::REASON_LENGTH);
}

TEST_F(GenerationTest, AStopTokenEndsAndIsNoOutput) {
  Start();
  auto request = Prompt("stop soon", 300);
  const std::vector<TokenId> plain = Expected(request).tokens;
  request.mutable_stopping()->add_stop_token_ids(plain[5]);
  const Streamed streamed = Generate(request);
  EXPECT_EQ(streamed.finish.reason(), v1::Finish::REASON_STOP_TOKEN);
  EXPECT_EQ(streamed.finish.stop_token_id(), static_cast<uint32_t>(plain[5]));
  const auto first = std::find(plain.begin(), plain.end(), plain[5]);
  EXPECT_EQ(streamed.tokens, std::vector<TokenId>(plain.begin(), first));
}

TEST_F(GenerationTest, TheModelsEndOfTextEnds) {
  Start();
  auto request = Prompt("end", 60000);
  request.mutable_stopping()->set_ignore_eos(false);
  const Streamed streamed = Generate(request);
  EXPECT_EQ(streamed.finish.reason(), v1::Finish::REASON_END_OF_TEXT);
  EXPECT_EQ(streamed.finish.stop_token_id(), static_cast<uint32_t>(ByteTokenizer::kEndOfText));
  EXPECT_THAT(streamed.tokens, testing::Not(testing::Contains(ByteTokenizer::kEndOfText)));
}

TEST_F(GenerationTest, TheTextEndsBeforeAStopString) {
  Start();
  auto request = Prompt("to the stop", 100);
  const std::string plain = Generate(request).text;
  // Two characters of the text itself: split across tokens, for most of the fake's tokens are
  // bytes.
  size_t begin = 40;
  while ((plain[begin] & 0xC0) == 0x80) ++begin;
  size_t end = begin + 2;
  while (end < plain.size() && (plain[end] & 0xC0) == 0x80) ++end;
  const std::string stop = plain.substr(begin, end - begin);
  if (stop.find("\xEF\xBF\xBD") == std::string::npos) {
    request.mutable_stopping()->add_stop(stop);
    request.mutable_stopping()->add_stop("never in the text");
    const Streamed streamed = Generate(request);
    EXPECT_EQ(streamed.finish.reason(), v1::Finish::REASON_STOP_STRING);
    EXPECT_EQ(streamed.finish.stop_string(), stop);
    EXPECT_EQ(streamed.text, plain.substr(0, plain.find(stop)));
  }
}

TEST_F(GenerationTest, GivesLogprobsTopAndRoutingInStep) {
  Start();
  auto request = Prompt("hi", 30);
  request.mutable_output()->set_logprobs(true);
  request.mutable_output()->set_top_logprobs(3);
  request.mutable_output()->set_routing(true);
  size_t rows = 0;
  for (const auto& message : Generate(request).messages) {
    const int n = message.token_ids_size();
    rows += n;
    EXPECT_EQ(message.logprobs_size(), n);
    ASSERT_EQ(message.top_logprobs_size(), n);
    ASSERT_EQ(message.routing_size(), n);
    for (int i = 0; i < n; ++i) {
      EXPECT_LE(message.logprobs(i), 0);
      EXPECT_EQ(message.top_logprobs(i).token_ids_size(), 3);
      EXPECT_EQ(message.top_logprobs(i).logprobs_size(), 3);
      EXPECT_EQ(message.routing(i).expert_ids_size(), 2 * 2);  // layers × experts per token
      EXPECT_EQ(message.routing(i).weights_size(), 2 * 2);
    }
  }
  EXPECT_EQ(rows, 30u);
}

TEST_F(GenerationTest, WithoutAskingThereIsNothingBesideTheTokens) {
  Start();
  for (const auto& message : Generate(Prompt("hi", 30)).messages) {
    EXPECT_EQ(message.logprobs_size() + message.top_logprobs_size() + message.routing_size(), 0);
    EXPECT_FALSE(message.has_prompt());
  }
}

TEST_F(GenerationTest, PromptLogprobsComeBeforeTheFirstToken) {
  Start();
  auto request = Prompt("hello", 5);
  request.mutable_output()->set_prompt_logprobs(true);
  const Streamed streamed = Generate(request);
  std::vector<uint32_t> scored;
  bool tokens_seen = false;
  for (const auto& message : streamed.messages) {
    tokens_seen |= message.token_ids_size() > 0;
    for (const uint32_t id : message.prompt().token_ids()) {
      EXPECT_FALSE(tokens_seen);
      scored.push_back(id);
    }
  }
  EXPECT_THAT(scored, ElementsAre('e', 'l', 'l', 'o'));
  EXPECT_EQ(streamed.tokens.size(), 5u);
}

TEST_F(GenerationTest, TextCanBeLeftOut) {
  Start();
  auto request = Prompt("hi", 30);
  request.mutable_output()->set_omit_text(true);
  const Streamed streamed = Generate(request);
  EXPECT_EQ(streamed.text, "");
  EXPECT_EQ(streamed.tokens.size(), 30u);
}

TEST_F(GenerationTest, TheRequestIdComesBack) {
  Start();
  auto request = Prompt("hi", 1);
  request.set_request_id("job-7");
  EXPECT_EQ(Generate(request).request_id, "job-7");
  EXPECT_NE(Generate(Prompt("hi", 1)).request_id, "");
}

TEST_F(GenerationTest, ManyStreamsAtOnceEachGetTheirOwn) {
  worker_options_.num_slots = 8;
  Start();
  std::vector<std::thread> callers;
  for (int i = 0; i < 24; ++i) {
    callers.emplace_back([this, i] {
      const auto request = Prompt("caller " + std::to_string(i), 150);
      EXPECT_EQ(Generate(request).tokens, Expected(request).tokens);
    });
  }
  for (std::thread& caller : callers) caller.join();
}

TEST_F(GenerationTest, ALongTextIsTokenizedAndScoredWhole) {
  Start();
  v1::ScoreRequest request;
  request.set_text(std::string(3 * kLongTextBytes, 'a'));
  grpc::ClientContext context;
  const auto reader = stub_->Score(&context, request);
  v1::ScoreResponse message;
  uint64_t next = 1;
  double total = 0;
  v1::ScoreSummary summary;
  while (reader->Read(&message)) {
    if (message.has_summary()) summary = message.summary();
    if (!message.has_scores()) continue;
    EXPECT_EQ(message.scores().first_position(), next);
    EXPECT_EQ(message.scores().token_ids_size(), message.scores().logprobs_size());
    next += message.scores().token_ids_size();
    for (const float logprob : message.scores().logprobs()) total += logprob;
  }
  ASSERT_TRUE(reader->Finish().ok());
  EXPECT_EQ(next, 3 * kLongTextBytes);
  EXPECT_EQ(summary.num_tokens(), 3 * kLongTextBytes - 1);
  EXPECT_EQ(summary.num_bytes(), 3 * kLongTextBytes - 1);
  EXPECT_DOUBLE_EQ(summary.total_logprob(), total);
  EXPECT_DOUBLE_EQ(summary.bits_per_byte(), -total / std::log(2.0) / (3 * kLongTextBytes - 1));
}

TEST_F(GenerationTest, ScoreFromTheEndOfTextCoversEveryToken) {
  Start();
  v1::ScoreRequest request;
  request.set_text("abc");
  request.set_start_with_eos(true);
  request.set_logits(true);
  request.set_top_logprobs(2);
  request.set_routing(true);
  grpc::ClientContext context;
  const auto reader = stub_->Score(&context, request);
  v1::ScoreResponse message;
  v1::Scores scores;
  v1::ScoreSummary summary;
  while (reader->Read(&message)) {
    scores.MergeFrom(message.scores());
    if (message.has_summary()) summary = message.summary();
  }
  ASSERT_TRUE(reader->Finish().ok());
  EXPECT_EQ(scores.first_position(), 0u);
  EXPECT_THAT(scores.token_ids(), ElementsAre('a', 'b', 'c'));
  EXPECT_EQ(scores.logprobs_size(), 3);
  EXPECT_EQ(scores.top_logprobs_size(), 3);
  EXPECT_EQ(scores.routing_size(), 3);
  EXPECT_EQ(scores.logits_size(), 3 * ByteTokenizer::kVocabSize);
  EXPECT_EQ(summary.num_bytes(), 3u);
}

TEST_F(GenerationTest, ASingleTokenHasNoScore) {
  Start();
  v1::ScoreRequest request;
  request.set_text("a");
  grpc::ClientContext context;
  const auto reader = stub_->Score(&context, request);
  v1::ScoreResponse message;
  ASSERT_TRUE(reader->Read(&message));
  EXPECT_EQ(message.summary().num_tokens(), 0u);
  EXPECT_EQ(message.summary().bits_per_byte(), 0);
  EXPECT_FALSE(reader->Read(&message));
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(GenerationTest, TokenizesAndDetokenizes) {
  Start();
  v1::TokenizeRequest tokenize;
  tokenize.set_text("hi<|end|>");
  tokenize.set_plain(true);
  v1::TokenizeResponse tokens;
  grpc::ClientContext first, second;
  ASSERT_TRUE(stub_->Tokenize(&first, tokenize, &tokens).ok());
  EXPECT_EQ(tokens.ids_size(), 9);
  v1::DetokenizeRequest detokenize;
  *detokenize.mutable_ids() = tokens.ids();
  v1::DetokenizeResponse text;
  ASSERT_TRUE(stub_->Detokenize(&second, detokenize, &text).ok());
  EXPECT_EQ(text.text(), "hi<|end|>");
}

TEST_F(GenerationTest, DescribesItsModel) {
  config_.max_new_tokens = 321;
  Start();
  v1::ListModelsResponse list;
  grpc::ClientContext first, second;
  ASSERT_TRUE(models_->List(&first, {}, &list).ok());
  ASSERT_EQ(list.models_size(), 1);
  EXPECT_EQ(list.models(0).name(), "tiny");
  EXPECT_TRUE(list.models(0).ready());
  v1::DescribeModelResponse model;
  ASSERT_TRUE(models_->Describe(&second, {}, &model).ok());
  EXPECT_EQ(model.name(), "tiny");
  EXPECT_EQ(model.language().architecture().vocab_size(), uint64_t{ByteTokenizer::kVocabSize});
  EXPECT_EQ(model.language().limits().max_new_tokens(), 321u);
  EXPECT_EQ(model.language().num_slots(), 4u);
  EXPECT_THAT(model.language().eos_token_ids(), ElementsAre(ByteTokenizer::kEndOfText));
}

TEST_F(GenerationTest, MetricsMoveWithTheWork) {
  Start();
  Generate(Prompt("hi", 30));
  AwaitMetric("ela_generated_tokens_total", 30);
  AwaitMetric("ela_prompt_tokens_total", 2);
  AwaitMetric("ela_slots_used", 0);
  AwaitMetric("ela_rpc_calls_total", 1);
}

}  // namespace
}  // namespace ela
