#include "server/convert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/rpc_status.h"
#include "tests/server/byte_tokenizer.h"

namespace ela {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class ConvertTest : public testing::Test {
 protected:
  ConvertTest() {
    card_.name = "tiny";
    card_.config.vocab_size = ByteTokenizer::kVocabSize;
    card_.config.eos_token_ids = {ByteTokenizer::kEndOfText};
    card_.tokenizer = &tokenizer_;
    card_.longest_token_bytes = 7;
    card_.max_prompt_tokens = 16;
    card_.max_new_tokens = 4096;
    card_.max_logit_tokens = 4;
    call_.request_id = "test";
    generate_.set_text("hi");
    score_.set_text("hi");
  }

  absl::StatusOr<GenerateCall> Convert() { return ConvertGenerate(generate_, card_, call_, 77); }

  // The message of the violation of `field`, as a caller decodes it; "" when there is none.
  static std::string ViolationOf(const absl::Status& status, const std::string& field) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    google::rpc::Status wire;
    wire.ParseFromString(ToGrpcStatus(status, "test").error_details());
    google::rpc::BadRequest details;
    for (const auto& any : wire.details()) any.UnpackTo(&details);
    for (const auto& violation : details.field_violations()) {
      if (violation.field() == field) return violation.description();
    }
    return "";
  }

  ByteTokenizer tokenizer_;
  ModelCard card_;
  CallFacts call_;
  v1::GenerateRequest generate_;
  v1::ScoreRequest score_;
};

TEST_F(ConvertTest, AbsentMeansTheDocumentedDefault) {
  const auto call = Convert();
  ASSERT_TRUE(call.ok()) << call.status();
  const Request& request = call->request;
  EXPECT_THAT(request.tokens, ElementsAre('h', 'i'));
  EXPECT_EQ(request.max_new_tokens, 128);
  EXPECT_EQ(request.sampling.temperature, 1.0f);
  EXPECT_EQ(request.sampling.top_k, 0);
  EXPECT_EQ(request.sampling.top_p, 1.0f);
  EXPECT_EQ(request.sampling.repetition_penalty, 1.0f);
  EXPECT_EQ(request.sampling.seed, 77u);
  EXPECT_EQ(request.penalty_window, 64);
  EXPECT_EQ(request.stop_condition, nullptr);
  EXPECT_FALSE(request.score_prompt);
}

TEST_F(ConvertTest, ZeroIsAValueWhereTheContractSaysSo) {
  generate_.mutable_sampling()->set_temperature(0);
  generate_.mutable_sampling()->set_seed(0);
  generate_.mutable_sampling()->set_penalty_window(0);
  generate_.mutable_stopping()->set_max_new_tokens(0);
  const auto call = Convert();
  ASSERT_TRUE(call.ok());
  EXPECT_EQ(call->request.sampling.temperature, 0.0f);
  EXPECT_EQ(call->request.sampling.seed, 0u);
  EXPECT_EQ(call->request.penalty_window, 0);
  EXPECT_EQ(call->request.max_new_tokens, 0);
}

TEST_F(ConvertTest, ReportsAllViolationsAtOnce) {
  generate_.mutable_sampling()->set_top_p(1.5f);
  generate_.mutable_sampling()->set_temperature(-1);
  generate_.mutable_stopping()->set_max_new_tokens(9000);
  generate_.set_priority(101);
  const absl::Status status = Convert().status();
  EXPECT_EQ(ViolationOf(status, "sampling.top_p"), "is 1.5, allowed is (0, 1]");
  EXPECT_EQ(ViolationOf(status, "sampling.temperature"), "is -1, allowed is [0, 10]");
  EXPECT_EQ(ViolationOf(status, "stopping.max_new_tokens"), "is 9000, this server allows 4096");
  EXPECT_EQ(ViolationOf(status, "priority"), "is 101, allowed are -100 to 100");
  EXPECT_THAT(std::string(status.message()), HasSubstr("; "));
}

// One bad thing each: the field that must be named, and a word of the sentence.
struct BadField {
  const char* name;
  std::function<void(v1::GenerateRequest*)> spoil;
  const char* field;
  const char* words;
};

class BadGenerateTest : public ConvertTest, public testing::WithParamInterface<BadField> {};

TEST_P(BadGenerateTest, NamesFieldValueAndLimit) {
  GetParam().spoil(&generate_);
  EXPECT_THAT(ViolationOf(Convert().status(), GetParam().field), HasSubstr(GetParam().words));
}

const BadField kBadFields[] = {
    {"NoPrompt", [](auto* r) { r->clear_prompt(); }, "prompt", "is absent"},
    {"EmptyText", [](auto* r) { r->set_text(""); }, "text", "is empty"},
    {"EmptyIds", [](auto* r) { r->mutable_token_ids(); }, "token_ids", "is empty"},
    {"IdOutOfRange", [](auto* r) { r->mutable_token_ids()->add_ids(261); }, "token_ids.ids[0]",
     "is 261, the ids of model tiny are 0 to 260"},
    {"HugeId", [](auto* r) { r->mutable_token_ids()->add_ids(0xFFFFFFFFu); }, "token_ids.ids[0]",
     "is 4294967295"},
    {"LongText", [](auto* r) { r->set_text(std::string(17, 'a')); }, "text",
     "has 17 tokens, this server allows 16"},
    {"HopelesslyLongText", [](auto* r) { r->set_text(std::string(5000, 'a')); }, "text",
     "has 5000 bytes"},
    {"LongIds",
     [](auto* r) {
       for (int i = 0; i < 17; ++i) r->mutable_token_ids()->add_ids(1);
     },
     "token_ids", "has 17 tokens, this server allows 16"},
    {"NanTemperature", [](auto* r) { r->mutable_sampling()->set_temperature(std::nanf("")); },
     "sampling.temperature", "is nan"},
    {"InfiniteTemperature", [](auto* r) { r->mutable_sampling()->set_temperature(INFINITY); },
     "sampling.temperature", "is inf"},
    {"ZeroTopP", [](auto* r) { r->mutable_sampling()->set_top_p(0); }, "sampling.top_p", "(0, 1]"},
    {"FullMinP", [](auto* r) { r->mutable_sampling()->set_min_p(1); }, "sampling.min_p", "[0, 1)"},
    {"NanMinP", [](auto* r) { r->mutable_sampling()->set_min_p(std::nanf("")); }, "sampling.min_p",
     "is nan"},
    {"TopKBeyondVocabulary", [](auto* r) { r->mutable_sampling()->set_top_k(262); },
     "sampling.top_k", "is 262, allowed are 0 to 261"},
    {"ZeroRepetitionPenalty", [](auto* r) { r->mutable_sampling()->set_repetition_penalty(0); },
     "sampling.repetition_penalty", "(0, 10]"},
    {"AbsurdPresencePenalty", [](auto* r) { r->mutable_sampling()->set_presence_penalty(1e30f); },
     "sampling.presence_penalty", "[-10, 10]"},
    {"NegativeFrequencyPenalty", [](auto* r) { r->mutable_sampling()->set_frequency_penalty(-11); },
     "sampling.frequency_penalty", "is -11"},
    {"LongPenaltyWindow", [](auto* r) { r->mutable_sampling()->set_penalty_window(4097); },
     "sampling.penalty_window", "is 4097"},
    {"TooManyNewTokens", [](auto* r) { r->mutable_stopping()->set_max_new_tokens(~0ull); },
     "stopping.max_new_tokens", "is 18446744073709551615, this server allows 4096"},
    {"NineStops",
     [](auto* r) {
       for (int i = 0; i < 9; ++i) r->mutable_stopping()->add_stop("a");
     },
     "stopping.stop", "has 9 strings, allowed are 8"},
    {"EmptyStop", [](auto* r) { r->mutable_stopping()->add_stop(""); }, "stopping.stop[0]",
     "has 0 bytes, allowed are 1 to 128"},
    {"LongStop", [](auto* r) { r->mutable_stopping()->add_stop(std::string(129, 'a')); },
     "stopping.stop[0]", "has 129 bytes"},
    {"ManyStopTokens",
     [](auto* r) {
       for (int i = 0; i < 33; ++i) r->mutable_stopping()->add_stop_token_ids(i);
     },
     "stopping.stop_token_ids", "has 33 ids, allowed are 32"},
    {"StopTokenOutOfRange", [](auto* r) { r->mutable_stopping()->add_stop_token_ids(300); },
     "stopping.stop_token_ids[0]", "is 300"},
    {"ManyTopLogprobs", [](auto* r) { r->mutable_output()->set_top_logprobs(21); },
     "output.top_logprobs", "is 21, allowed are 0 to 20"},
    {"SegmentWithoutKind", [](auto* r) { r->add_segments()->set_num_tokens(2); },
     "segments[0].kind", "is 0"},
    {"EmptySegment", [](auto* r) { r->add_segments()->set_kind(v1::Segment::KIND_PROMPT); },
     "segments[0].num_tokens", "is 0"},
    {"SegmentsThatDoNotAddUp",
     [](auto* r) {
       r->add_segments()->set_kind(v1::Segment::KIND_PROMPT);
       r->mutable_segments(0)->set_num_tokens(1);
     },
     "segments", "has a sum of 1 tokens, the input has 2"},
};

INSTANTIATE_TEST_SUITE_P(Fields, BadGenerateTest, testing::ValuesIn(kBadFields),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_F(ConvertTest, ASegmentMayNotBeLongerThanTheModelAllows) {
  card_.worker.max_segment_tokens = 3;
  generate_.set_text("four");
  EXPECT_THAT(ViolationOf(Convert().status(), "segments"), HasSubstr("may have 3"));
}

TEST_F(ConvertTest, ScoresWithTheEndOfTextInFront) {
  score_.set_start_with_eos(true);
  v1::Segment* segment = score_.add_segments();
  segment->set_kind(v1::Segment::KIND_PROMPT);
  segment->set_num_tokens(2);
  const auto call = ConvertScore(score_, card_, call_);
  ASSERT_TRUE(call.ok()) << call.status();
  EXPECT_THAT(call->request.tokens, ElementsAre(ByteTokenizer::kEndOfText, 'h', 'i'));
  EXPECT_THAT(call->request.segment_lengths, ElementsAre(3));
  EXPECT_TRUE(call->request.score_prompt);
  EXPECT_EQ(call->request.max_new_tokens, 0);
}

TEST_F(ConvertTest, ScoreRefusesWhatItCannotDo) {
  card_.config.eos_token_ids.clear();
  score_.set_start_with_eos(true);
  EXPECT_THAT(ViolationOf(ConvertScore(score_, card_, call_).status(), "start_with_eos"),
              HasSubstr("no end-of-text"));
  score_.set_start_with_eos(false);
  score_.set_text("five!");
  score_.set_logits(true);
  EXPECT_THAT(ViolationOf(ConvertScore(score_, card_, call_).status(), "logits"),
              HasSubstr("for 5 tokens, this server allows 4"));
}

TEST_F(ConvertTest, TokenizesAndBack) {
  v1::TokenizeRequest tokenize;
  tokenize.set_text("a<|end|>");
  v1::TokenizeResponse tokens;
  ASSERT_TRUE(ConvertTokenize(tokenize, card_, &tokens).ok());
  EXPECT_THAT(tokens.ids(), ElementsAre('a', ByteTokenizer::kEndOfText));
  EXPECT_THAT(tokens.pieces(), ElementsAre("a", "<|end|>"));

  v1::DetokenizeRequest detokenize;
  *detokenize.mutable_ids() = tokens.ids();
  v1::DetokenizeResponse text;
  ASSERT_TRUE(ConvertDetokenize(detokenize, card_, &text).ok());
  EXPECT_EQ(text.text(), "a");
  detokenize.add_ids(261);
  EXPECT_THAT(ViolationOf(ConvertDetokenize(detokenize, card_, &text), "ids[2]"),
              HasSubstr("is 261"));
}

TEST_F(ConvertTest, ARequestIdIsPrintableAndShort) {
  EXPECT_TRUE(CheckRequestId("job 7/line 3").ok());
  EXPECT_THAT(ViolationOf(CheckRequestId("a\nb"), "request_id"), HasSubstr("printable"));
  EXPECT_THAT(ViolationOf(CheckRequestId(std::string(129, 'a')), "request_id"),
              HasSubstr("has 129 bytes"));
}

}  // namespace
}  // namespace ela
