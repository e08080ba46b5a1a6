#include "model/config.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ela {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// The paper's configuration (docs/model.md 2), the lobe aside.
LanguageConfig PaperConfig() {
  LanguageConfig config;
  config.vocab_size = 6400;
  config.hidden_size = 256;
  config.num_hidden_layers = 4;
  config.num_attention_heads = 4;
  config.num_experts = 4;
  config.num_experts_per_tok = 2;
  config.moe_intermediate_size = 256;
  return config;
}

LobeConfig CausalLobe(int heads) {
  return {LobeMode::kCausal, heads, AttentionKernel::kHadamardExp};
}

LanguageConfig WithExtensions(LanguageConfig config) {
  config.final_norm = true;
  config.short_conv = 4;
  config.decay = Decay::kGated;
  config.output_gate = true;
  config.position_encoding = PositionEncoding::kNone;
  return config;
}

constexpr char kRequired[] =
    R"("model_type":"ela_gpt","vocab_size":97,"hidden_size":32,"num_hidden_layers":2,)"
    R"("num_attention_heads":2,"num_experts":4,"num_experts_per_tok":2,"moe_intermediate_size":32)";

// A good config with `more` appended: ",\"decay\":\"gated\"".
std::string Json(const std::string& more) { return "{" + std::string(kRequired) + more + "}"; }

std::string ErrorOf(const std::string& text) {
  auto config = ParseLanguageConfig(text, "DIR/config.json");
  if (config.ok()) return "accepted";
  EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(config.status().message());
}

TEST(ConfigTest, PaperConfigurationHasThePaperParameterCount) {
  LanguageConfig config = PaperConfig();
  EXPECT_EQ(NumParameters(config), 5837840);
  config.memory_lobe = CausalLobe(1);
  EXPECT_EQ(NumParameters(config), 6624272);
  config.final_norm = true;
  EXPECT_EQ(NumParameters(config), 6624528);
}

TEST(ConfigTest, StandardResidualHasOneMoreNormPerLayer) {
  LanguageConfig config = PaperConfig();
  config.residual = Residual::kStandard;
  EXPECT_EQ(NumParameters(config), 5838864);
  config.final_norm = true;
  EXPECT_EQ(NumParameters(config), 5839120);
}

TEST(ConfigTest, ExtensionsHaveTheDocumentedParameterCounts) {
  LanguageConfig hyper_link = WithExtensions(PaperConfig());
  hyper_link.memory_lobe = CausalLobe(4);
  EXPECT_EQ(NumParameters(hyper_link), 6932752);

  LanguageConfig standard = WithExtensions(PaperConfig());
  standard.residual = Residual::kStandard;
  EXPECT_EQ(NumParameters(standard), 6147344);
  standard.memory_lobe = CausalLobe(4);
  EXPECT_EQ(NumParameters(standard), 6933776);
}

TEST(ConfigTest, ActiveParametersLeaveOutTheIdleExperts) {
  const LanguageConfig config = PaperConfig();
  EXPECT_EQ(NumActiveParameters(config), 5837840 - 4 * 2 * 3 * 256 * 256);
}

TEST(ConfigTest, TensorsComeInCanonicalOrder) {
  LanguageConfig config = PaperConfig();
  config.num_hidden_layers = 1;
  config.num_experts = 2;
  config.memory_lobe = CausalLobe(1);
  config = WithExtensions(config);
  std::string names;
  for (const TensorSpec& tensor : ExpectedTensors(config)) {
    names += tensor.name;
    for (int64_t size : tensor.shape) names += " " + std::to_string(size);
    names += "\n";
  }
  EXPECT_EQ(names,
            "token_embed.weight 6400 256\n"
            "decoder_layers.0.norm.weight 256\n"
            "decoder_layers.0.self_attn.q_proj.weight 256 256\n"
            "decoder_layers.0.self_attn.k_proj.weight 256 256\n"
            "decoder_layers.0.self_attn.v_proj.weight 256 256\n"
            "decoder_layers.0.self_attn.out_proj.weight 256 256\n"
            "decoder_layers.0.self_attn.q_conv.weight 256 1 4\n"
            "decoder_layers.0.self_attn.k_conv.weight 256 1 4\n"
            "decoder_layers.0.self_attn.v_conv.weight 256 1 4\n"
            "decoder_layers.0.self_attn.decay_in.weight 16 256\n"
            "decoder_layers.0.self_attn.decay_out.weight 256 16\n"
            "decoder_layers.0.self_attn.decay_out.bias 256\n"
            "decoder_layers.0.self_attn.gate_proj.weight 256 256\n"
            "decoder_layers.0.MoE.gate.weight 2 256\n"
            "decoder_layers.0.MoE.gate.bias 2\n"
            "decoder_layers.0.MoE.experts.0.linear.weight 512 256\n"
            "decoder_layers.0.MoE.experts.0.out_proj.weight 256 256\n"
            "decoder_layers.0.MoE.experts.1.linear.weight 512 256\n"
            "decoder_layers.0.MoE.experts.1.out_proj.weight 256 256\n"
            "decoder_layers.0.lob.Q.weight 256 256\n"
            "decoder_layers.0.lob.K.weight 256 256\n"
            "decoder_layers.0.lob.V.weight 256 256\n"
            "final_norm.weight 256\n");
}

TEST(ConfigTest, AbsentKeysHaveTheirDocumentedDefaults) {
  auto config = ParseLanguageConfig(Json(""), "config.json");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->attention_kernel, AttentionKernel::kHadamardExp);
  EXPECT_EQ(config->qk_scale, 1.0f);
  EXPECT_EQ(config->rope_theta, 10000.0);
  EXPECT_EQ(config->moe_bias, MoeBias::kNone);
  EXPECT_EQ(config->residual, Residual::kHyperLink);
  EXPECT_EQ(config->short_conv, 0);
  EXPECT_EQ(config->decay, Decay::kNone);
  EXPECT_FALSE(config->output_gate);
  EXPECT_EQ(config->position_encoding, PositionEncoding::kRope);
  EXPECT_TRUE(config->moe_residual);
  EXPECT_FALSE(config->final_norm);
  EXPECT_EQ(config->rms_norm_eps, 1.1920929e-07f);
  EXPECT_FALSE(config->memory_lobe.has_value());
  EXPECT_FALSE(config->bos_token_id.has_value());
  EXPECT_TRUE(config->eos_token_ids.empty());
  EXPECT_EQ(config->head_size(), 16);
}

TEST(ConfigTest, EveryGoldenConfigIsReadAndWrittenBack) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(ELA_SOURCE_DIR "/tests/golden/lm")) {
    auto config = LoadLanguageConfig(entry.path());
    ASSERT_TRUE(config.ok()) << config.status();
    auto again = ParseLanguageConfig(ToJson(*config), "written");
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(ToJson(*config), ToJson(*again));
    EXPECT_EQ(NumParameters(*config), NumParameters(*again));
    ++count;
  }
  EXPECT_GT(count, 0);
}

TEST(ConfigTest, EveryFieldSurvivesTheRoundTrip) {
  const std::string text = Json(
      R"(,"attention_kernel":"dir_mag","qk_scale":8.5,"rope_theta":500000.0,"moe_bias":"inner",)"
      R"("residual":"standard","short_conv":3,"output_gate":true,"position_encoding":"none",)"
      R"("moe_residual":false,"final_norm":true,"rms_norm_eps":1e-5,"memory_lobe":)"
      R"({"mode":"prefix","heads":4,"kernel":"sum_sq"},"bos_token_id":1,"eos_token_id":[2,3],)"
      R"("pad_token_id":0)");
  auto first = ParseLanguageConfig(text, "first");
  ASSERT_TRUE(first.ok()) << first.status();
  auto config = ParseLanguageConfig(ToJson(*first), "second");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->attention_kernel, AttentionKernel::kDirMag);
  EXPECT_EQ(config->qk_scale, 8.5f);
  EXPECT_EQ(config->rope_theta, 500000.0);
  EXPECT_EQ(config->moe_bias, MoeBias::kInner);
  EXPECT_EQ(config->residual, Residual::kStandard);
  EXPECT_EQ(config->short_conv, 3);
  EXPECT_TRUE(config->output_gate);
  EXPECT_EQ(config->position_encoding, PositionEncoding::kNone);
  EXPECT_FALSE(config->moe_residual);
  EXPECT_TRUE(config->final_norm);
  EXPECT_EQ(config->rms_norm_eps, 1e-5f);
  ASSERT_TRUE(config->memory_lobe.has_value());
  EXPECT_EQ(config->memory_lobe->mode, LobeMode::kPrefix);
  EXPECT_EQ(config->memory_lobe->heads, 4);
  EXPECT_EQ(config->memory_lobe->kernel, AttentionKernel::kSumSq);
  EXPECT_EQ(config->bos_token_id, 1);
  EXPECT_EQ(config->eos_token_ids, (std::vector<int32_t>{2, 3}));
  EXPECT_EQ(config->pad_token_id, 0);
}

TEST(ConfigTest, DecayAndHadamardExpSurviveTheRoundTrip) {
  auto config = ParseLanguageConfig(Json(R"(,"decay":"gated","memory_lobe":{"heads":2})"), "first");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->memory_lobe->mode, LobeMode::kCausal);
  config = ParseLanguageConfig(ToJson(*config), "second");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->decay, Decay::kGated);
  EXPECT_EQ(config->memory_lobe->heads, 2);
}

TEST(ConfigTest, ContradictionsAreRefusedByName) {
  EXPECT_THAT(ErrorOf(Json(R"(,"decay":"gated","attention_kernel":"sum_sq")")),
              HasSubstr("decay is gated, which only attention_kernel hadamard_exp allows, not "
                        "sum_sq"));
  EXPECT_THAT(ErrorOf(Json(R"(,"moe_residual":false)")),
              HasSubstr("moe_residual is false with residual hyper_link"));
  EXPECT_THAT(ErrorOf(Json(R"(,"memory_lobe":{"heads":5})")),
              HasSubstr("memory_lobe.heads is 5, which does not divide hidden_size 32"));
  EXPECT_THAT(ErrorOf(Json(R"(,"tie_word_embeddings":false)")),
              HasSubstr("tie_word_embeddings is false, which is not supported"));
}

// kRequired with one value replaced.
std::string Replaced(const std::string& from, const std::string& to) {
  std::string text = Json("");
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos);
  return text.replace(at, from.size(), to);
}

TEST(ConfigTest, ShapesThatDoNotFitAreRefused) {
  EXPECT_THAT(ErrorOf(Replaced("\"num_attention_heads\":2", "\"num_attention_heads\":3")),
              HasSubstr("num_attention_heads is 3, which does not divide hidden_size 32"));
  EXPECT_THAT(ErrorOf(Replaced("\"num_attention_heads\":2", "\"num_attention_heads\":32")),
              HasSubstr("a head is 1 wide; the width must be even"));
  EXPECT_THAT(ErrorOf(Replaced("\"num_experts_per_tok\":2", "\"num_experts_per_tok\":5")),
              HasSubstr("num_experts_per_tok is 5, more than num_experts 4"));
  EXPECT_THAT(ErrorOf(Replaced("\"hidden_size\":32", "\"hidden_size\":0")),
              HasSubstr("hidden_size is 0, allowed are 2 to 65536"));
  EXPECT_THAT(ErrorOf(Replaced("\"vocab_size\":97", "\"vocab_size\":18446744073709551615")),
              HasSubstr("vocab_size is 18446744073709551615, allowed are 1 to 16777216"));
}

TEST(ConfigTest, WrongTypesAreRefused) {
  EXPECT_THAT(ErrorOf(Replaced("\"hidden_size\":32", "\"hidden_size\":\"32\"")),
              HasSubstr("hidden_size must be an integer, not \"32\""));
  EXPECT_THAT(ErrorOf(Replaced("\"hidden_size\":32", "\"hidden_size\":32.0")),
              HasSubstr("hidden_size must be an integer, not 32.0"));
  EXPECT_THAT(ErrorOf(Json(R"(,"final_norm":1)")), HasSubstr("final_norm must be true or false"));
  EXPECT_THAT(ErrorOf(Json(R"(,"qk_scale":"big")")), HasSubstr("qk_scale must be a number"));
  EXPECT_THAT(ErrorOf(Json(R"(,"qk_scale":1e39)")), HasSubstr("qk_scale is 1e+39"));
  EXPECT_THAT(ErrorOf(Json(R"(,"rope_theta":-1)")), HasSubstr("rope_theta is -1"));
  EXPECT_THAT(ErrorOf(Json(R"(,"memory_lobe":[1])")), HasSubstr("memory_lobe must be null or"));
  EXPECT_THAT(ErrorOf(Json(R"(,"residual":null)")), HasSubstr("residual is null, known are"));
  EXPECT_THAT(ErrorOf(Json(R"(,"eos_token_id":[2,"x"])")), HasSubstr("eos_token_id must be an"));
  EXPECT_THAT(ErrorOf(Json(R"(,"bos_token_id":97)")),
              HasSubstr("bos_token_id is 97, allowed are 0 to 96"));
  EXPECT_THAT(ErrorOf("[1]"), HasSubstr("must be a JSON object, not a list"));
}

TEST(ConfigTest, AllProblemsComeAtOnceOnePerLine) {
  EXPECT_EQ(ErrorOf(R"({"model_type":"gpt2","hidden_size":32,"num_hidden_layers":2,)"
                    R"("num_attention_heads":2,"num_experts":4,"num_experts_per_tok":9,)"
                    R"("moe_intermediate_size":32,"attention_kernel":"cosine","colour":1,)"
                    R"("memory_lobe":{"mode":"causal","head":3}})"),
            "DIR/config.json: model_type is \"gpt2\", not \"ela_gpt\"\n"
            "DIR/config.json: vocab_size is missing\n"
            "DIR/config.json: attention_kernel is \"cosine\", known are hadamard_exp, sum_sq, "
            "sub_sq, dir_mag\n"
            "DIR/config.json: memory_lobe.head is not a known key\n"
            "DIR/config.json: num_experts_per_tok is 9, more than num_experts 4\n"
            "DIR/config.json: colour is not a known key");
}

TEST(ConfigTest, OneMistakeIsReportedOnce) {
  EXPECT_THAT(ErrorOf(Json(R"(,"residual":"other","moe_residual":false)")),
              Not(HasSubstr("moe_residual")));
}

TEST(ConfigTest, TextThatIsNotStrictJsonIsRefused) {
  EXPECT_THAT(ErrorOf(""), HasSubstr("DIR/config.json: not JSON"));
  EXPECT_THAT(ErrorOf("{\"model_type\":"), HasSubstr("not JSON"));
  EXPECT_THAT(ErrorOf(Json("") + "x"), HasSubstr("not JSON"));
  EXPECT_THAT(ErrorOf(Json(",\"hidden_size\":64")), HasSubstr("\"hidden_size\" stands twice"));
  EXPECT_THAT(ErrorOf(Json(",\"a\":\"\xff\"")), HasSubstr("not JSON"));
  EXPECT_THAT(ErrorOf(Json(",\"a\":1e999")), HasSubstr("not JSON"));
  EXPECT_THAT(ErrorOf(std::string(100000, '[')), HasSubstr("config.json"));
  EXPECT_THAT(ErrorOf(std::string(1000, '[') + std::string(1000, ']')),
              HasSubstr("nested deeper than 64"));
}

TEST(ConfigTest, MissingDirectoryAndFileAreNotFound) {
  auto config = LoadLanguageConfig("/nonexistent/model");
  EXPECT_EQ(config.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(config.status().message()),
              HasSubstr("/nonexistent/model/config.json: No such file"));
}

TEST(PluggableLobeConfigTest, WhatIsWrittenIsReadBack) {
  const PluggableLobeConfig lobe = {std::string(64, 'b'),
                                    {LobeMode::kPrefix, 4, AttentionKernel::kDirMag}};
  auto read = ParsePluggableLobeConfig(ToJson(lobe), "DIR/config.json", PaperConfig());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->base_fingerprint, lobe.base_fingerprint);
  EXPECT_EQ(read->memory_lobe.mode, LobeMode::kPrefix);
  EXPECT_EQ(read->memory_lobe.heads, 4);
  EXPECT_EQ(read->memory_lobe.kernel, AttentionKernel::kDirMag);
}

TEST(PluggableLobeConfigTest, EveryProblemIsNamedAtOnce) {
  const auto error = [](const std::string& text) {
    auto config = ParsePluggableLobeConfig(text, "DIR/config.json", PaperConfig());
    return config.ok() ? "accepted" : std::string(config.status().message());
  };
  const std::string empty = error("{}");
  EXPECT_THAT(empty, HasSubstr("model_type is missing; a pluggable lobe says \"ela_lobe\""));
  EXPECT_THAT(empty, HasSubstr("base_fingerprint is missing"));
  EXPECT_THAT(empty, HasSubstr("memory_lobe is missing"));
  const std::string wrong =
      error(R"({"model_type":"ela_lobe","base_fingerprint":5,"memory_lobe":{"heads":3},"d":1})");
  EXPECT_THAT(wrong, HasSubstr("base_fingerprint must be a string"));
  EXPECT_THAT(wrong, HasSubstr("memory_lobe.heads is 3, which does not divide hidden_size 256"));
  EXPECT_THAT(wrong, HasSubstr("d is not a known key"));
  EXPECT_THAT(wrong, Not(HasSubstr("memory_lobe is missing")));
  EXPECT_THAT(error("[]"), HasSubstr("must be a JSON object"));
}

TEST(PluggableLobeConfigTest, ItsTensorsAreTheModelsOwnLobes) {
  LanguageConfig config = PaperConfig();
  const size_t without = ExpectedTensors(config).size();
  const std::vector<TensorSpec> lobe = LobeTensors(config);
  ASSERT_EQ(lobe.size(), 12u);
  EXPECT_EQ(lobe.back().name, "decoder_layers.3.lob.V.weight");
  EXPECT_EQ(lobe.back().shape, (std::vector<int64_t>{256, 256}));
  config.memory_lobe = CausalLobe(1);
  EXPECT_EQ(ExpectedTensors(config).size(), without + lobe.size());
}

}  // namespace
}  // namespace ela
