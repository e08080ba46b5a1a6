#include "model/language/sampler.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <numeric>
#include <random>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "model/language/random.h"

namespace ela {
namespace {

const Kernels& Fastest() { return *FindKernels(""); }

class SamplerTest : public testing::Test {
 protected:
  explicit SamplerTest(int64_t vocab = 50) : vocab_(vocab), sampler_(Fastest(), vocab) {
    std::mt19937 bits(1);
    logits_.resize(vocab);
    for (float& logit : logits_) logit = static_cast<float>(bits() % 8000) / 1000 - 4;
  }

  TokenId Draw(const SamplingParams& params, int64_t position = 0, uint32_t choice = 0) {
    DrawRequest request;
    request.params = &params;
    request.recent_tokens = recent_;
    request.allowed_tokens = allowed_;
    request.position = position;
    request.choice = choice;
    return sampler_.Draw(logits_.data(), request);
  }

  std::map<TokenId, int> Histogram(const SamplingParams& params, int draws) {
    std::map<TokenId, int> counts;
    for (int i = 0; i < draws; ++i) ++counts[Draw(params, i)];
    return counts;
  }

  // exp((logit - max) / temperature) / sum, the most probable first.
  std::vector<std::pair<double, TokenId>> Distribution(double temperature) {
    std::vector<std::pair<double, TokenId>> p;
    double total = 0;
    for (size_t i = 0; i < logits_.size(); ++i) {
      p.push_back({std::exp(logits_[i] / temperature), static_cast<TokenId>(i)});
      total += p.back().first;
    }
    for (auto& [weight, token] : p) weight /= total;
    std::sort(p.begin(), p.end(), [](const auto& a, const auto& b) {
      return a.first > b.first || (a.first == b.first && a.second < b.second);
    });
    return p;
  }

  const int64_t vocab_;
  Sampler sampler_;
  std::vector<float> logits_;
  std::vector<TokenId> recent_;
  std::vector<uint32_t> allowed_;
};

TEST_F(SamplerTest, GreedyTakesTheLargestLogitAndTheLowerIdOnTies) {
  SamplingParams params;
  params.temperature = 0;
  logits_[41] = logits_[17] = logits_[30] = 9.0f;
  EXPECT_EQ(Draw(params), 17);
}

TEST_F(SamplerTest, DrawsFollowTheSoftmaxAtTheTemperature) {
  SamplingParams params;
  params.temperature = 0.7f;
  const int draws = 40000;
  const std::map<TokenId, int> counts = Histogram(params, draws);
  for (const auto& [p, token] : Distribution(0.7)) {
    const auto found = counts.find(token);
    const double share = found == counts.end() ? 0 : found->second / static_cast<double>(draws);
    EXPECT_NEAR(share, p, 5 * std::sqrt(p * (1 - p) / draws) + 1e-4) << token;
  }
}

TEST_F(SamplerTest, TopKDrawsFromTheKMostProbableAlone) {
  SamplingParams params;
  params.top_k = 5;
  std::set<TokenId> expected;
  for (int i = 0; i < 5; ++i) expected.insert(Distribution(1.0)[i].second);
  std::set<TokenId> seen;
  for (const auto& [token, count] : Histogram(params, 4000)) seen.insert(token);
  EXPECT_EQ(seen, expected);
}

TEST_F(SamplerTest, TopKBreaksTiesByTheLowerId) {
  SamplingParams params;
  params.top_k = 2;
  std::fill(logits_.begin(), logits_.end(), 1.0f);
  for (const auto& [token, count] : Histogram(params, 200)) EXPECT_LT(token, 2);
}

TEST_F(SamplerTest, TopPDrawsFromTheShortestHeadThatReachesIt) {
  for (const float top_p : {0.1f, 0.5f, 0.9f, 0.99f}) {
    SamplingParams params;
    params.top_p = top_p;
    std::set<TokenId> expected;
    double sum = 0;
    for (const auto& [p, token] : Distribution(1.0)) {
      if (sum >= top_p) break;
      expected.insert(token);
      sum += p;
    }
    std::set<TokenId> seen;
    for (const auto& [token, count] : Histogram(params, 20000)) seen.insert(token);
    EXPECT_TRUE(std::includes(expected.begin(), expected.end(), seen.begin(), seen.end())) << top_p;
    EXPECT_GE(seen.size() + 2, expected.size()) << top_p;
  }
}

TEST_F(SamplerTest, MinPDropsWhatIsFarBelowTheMostProbable) {
  SamplingParams params;
  params.min_p = 0.3f;
  const auto distribution = Distribution(1.0);
  std::set<TokenId> expected;
  for (const auto& [p, token] : distribution) {
    if (p >= 0.3 * distribution[0].first) expected.insert(token);
  }
  std::set<TokenId> seen;
  for (const auto& [token, count] : Histogram(params, 20000)) seen.insert(token);
  EXPECT_EQ(seen, expected);
}

TEST_F(SamplerTest, TopKThenTopPCountsTheMassOfTheKAlone) {
  SamplingParams params;
  params.top_k = 4;
  params.top_p = 0.6f;
  const auto distribution = Distribution(1.0);
  double total = 0, sum = 0;
  for (int i = 0; i < 4; ++i) total += distribution[i].first;
  std::set<TokenId> expected;
  for (int i = 0; i < 4 && sum < 0.6 * total; ++i) {
    expected.insert(distribution[i].second);
    sum += distribution[i].first;
  }
  std::set<TokenId> seen;
  for (const auto& [token, count] : Histogram(params, 5000)) seen.insert(token);
  EXPECT_EQ(seen, expected);
}

TEST_F(SamplerTest, PenaltiesActOnRecentTokensOnce) {
  SamplingParams params;
  params.temperature = 0;
  std::fill(logits_.begin(), logits_.end(), 0.0f);
  logits_[3] = 4.0f;
  logits_[4] = 3.0f;
  logits_[5] = 2.5f;
  recent_ = {3, 4, 3};
  EXPECT_EQ(Draw(params), 3);        // all off
  params.repetition_penalty = 1.5f;  // 4/1.5, 3/1.5, 2.5
  EXPECT_EQ(Draw(params), 3);
  params.repetition_penalty = 2.0f;  // 2, 1.5, 2.5
  EXPECT_EQ(Draw(params), 5);
  params = SamplingParams();
  params.temperature = 0;
  params.presence_penalty = 1.2f;  // 2.8, 1.8, 2.5
  EXPECT_EQ(Draw(params), 3);
  params.frequency_penalty = 0.2f;  // 2.4, 1.6, 2.5
  EXPECT_EQ(Draw(params), 5);
  params.frequency_penalty = -1.0f;  // 4.8, ...
  EXPECT_EQ(Draw(params), 3);
}

TEST_F(SamplerTest, APenaltyThatDividesToInfinityStillDraws) {
  SamplingParams params;
  params.repetition_penalty = 1.2e-38f;
  logits_[3] = 30.0f;
  logits_[4] = -30.0f;
  recent_ = {3, 4};
  for (const float temperature : {0.0f, 1.0f}) {
    params.temperature = temperature;
    EXPECT_EQ(Draw(params), 3);
  }
}

TEST_F(SamplerTest, TheMaskAdmitsItsTokensAlone) {
  SamplingParams params;
  allowed_.assign(2, 0);
  allowed_[0] = 1u << 7;
  allowed_[1] = 1u << (40 - 32);
  for (const float temperature : {0.0f, 1.0f, 10.0f}) {
    params.temperature = temperature;
    for (const auto& [token, count] : Histogram(params, 300))
      EXPECT_TRUE(token == 7 || token == 40);
  }
  params.top_k = 10;
  for (const auto& [token, count] : Histogram(params, 300)) EXPECT_TRUE(token == 7 || token == 40);
  allowed_.assign(2, 0);
  EXPECT_EQ(Draw(params), -1);
}

TEST_F(SamplerTest, ADrawIsAFunctionOfSeedChoiceAndPosition) {
  SamplingParams params;
  params.temperature = 10;
  params.seed = 5;
  std::vector<TokenId> first, again, other_seed, other_choice;
  SamplingParams other = params;
  other.seed = 6;
  for (int64_t p = 0; p < 60; ++p) {
    first.push_back(Draw(params, p));
    other_seed.push_back(Draw(other, p));
    other_choice.push_back(Draw(params, p, 1));
  }
  for (int64_t p = 59; p >= 0; --p) again.push_back(Draw(params, p));  // another order of calls
  std::reverse(again.begin(), again.end());
  EXPECT_EQ(first, again);
  EXPECT_NE(first, other_seed);
  EXPECT_NE(first, other_choice);
}

TEST_F(SamplerTest, LogProbabilitiesAreThoseOfTheRawSoftmax) {
  const LogSoftmax distribution = sampler_.Normalise(logits_.data());
  std::vector<TokenProbability> top(20);
  sampler_.Top(logits_.data(), distribution, absl::MakeSpan(top));
  const auto expected = Distribution(1.0);
  for (size_t i = 0; i < top.size(); ++i) {
    EXPECT_EQ(top[i].token, expected[i].second);
    EXPECT_NEAR(top[i].logprob, std::log(expected[i].first), 2e-6);
  }
}

// Logits so far apart, or a temperature so low, that one token has all the weight.
TEST_F(SamplerTest, ExtremeLogitsAndTemperatures) {
  SamplingParams params;
  logits_.assign(vocab_, -3e38f);
  logits_[9] = 3e38f;
  EXPECT_EQ(Draw(params), 9);
  params.temperature = 1e-4f;
  params.top_p = 0.5f;
  EXPECT_EQ(Draw(params), 9);
  params.temperature = 1e-30f;
  EXPECT_EQ(Draw(params), 9);
}

// Published vectors of Random123, philox4x32-10.
TEST(RandomTest, PhiloxGivesThePublishedNumbers) {
  EXPECT_EQ(Philox({0, 0, 0, 0}, {0, 0}),
            (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (std::array<uint32_t, 4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(RandomTest, DrawsAreUniformBelowOne) {
  double sum = 0, largest = 0;
  for (int64_t p = 0; p < 100000; ++p) {
    const double u = UniformDraw(3, 0, p);
    ASSERT_GE(u, 0);
    largest = std::max(largest, u);
    sum += u;
  }
  EXPECT_LT(largest, 1.0);
  EXPECT_NEAR(sum / 100000, 0.5, 0.005);
}

}  // namespace
}  // namespace ela
