#include "model/language/sampler.h"

#include <algorithm>
#include <limits>

#include "model/language/random.h"

namespace ela {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLargest = std::numeric_limits<float>::max();
constexpr float kGreedyBelow = 1e-5f;
// exp of anything lower is 0 in float32: such tokens are no candidates.
constexpr float kLowestExponent = -87.3f;

}  // namespace

Sampler::Sampler(const Kernels& kernels, int64_t vocab_size)
    : kernels_(kernels),
      vocab_size_(vocab_size),
      adjusted_(vocab_size),
      occurrences_(vocab_size),
      gathered_(vocab_size),
      weights_(vocab_size) {
  candidates_.reserve(vocab_size);
}

LogSoftmax Sampler::Normalise(const float* logits) const {
  LogSoftmax result;
  result.max = kernels_.max(vocab_size_, logits);
  result.log_sum = kernels_.log(kernels_.sum_exp(vocab_size_, logits, result.max, 1.0f, nullptr));
  return result;
}

TokenId Sampler::Draw(const float* logits, const DrawRequest& request) {
  const SamplingParams& params = *request.params;
  logits = Adjust(logits, request);
  const float max = kernels_.max(vocab_size_, logits);
  if (max == -kInfinity) return -1;
  if (params.temperature < kGreedyBelow) {
    return static_cast<TokenId>(std::find(logits, logits + vocab_size_, max) - logits);
  }
  if (params.top_k > 0 && params.top_k < vocab_size_) {
    SelectTop(logits, params.top_k);
  } else {
    SelectAll(logits, max, params.temperature);
  }
  for (size_t i = 0; i < candidates_.size(); ++i) gathered_[i] = candidates_[i].logit;
  kernels_.sum_exp(static_cast<int64_t>(candidates_.size()), gathered_.data(), max,
                   1.0f / params.temperature, weights_.data());
  if (params.top_p < 1.0f) KeepNucleus(params.top_p);
  return Pick(params.min_p, UniformDraw(params.seed, request.choice, request.position));
}

// The logits after penalties and mask; the raw ones where neither applies.
const float* Sampler::Adjust(const float* logits, const DrawRequest& request) {
  const SamplingParams& params = *request.params;
  const bool penalties =
      params.needs_recent_tokens() && (!request.recent_tokens.empty() || request.newest >= 0);
  if (!penalties && request.allowed_tokens.empty()) return logits;
  std::copy(logits, logits + vocab_size_, adjusted_.begin());
  if (penalties) {
    const auto for_recent = [&](auto act) {
      for (TokenId token : request.recent_tokens) act(token);
      act(request.newest);
    };
    for_recent([&](TokenId token) {
      if (token >= 0 && token < vocab_size_) ++occurrences_[token];
    });
    for_recent([&](TokenId token) {
      if (token < 0 || token >= vocab_size_ || occurrences_[token] == 0) return;
      float& logit = adjusted_[token];
      logit = logit > 0 ? logit / params.repetition_penalty : logit * params.repetition_penalty;
      logit -= params.presence_penalty;
      logit -= params.frequency_penalty * static_cast<float>(occurrences_[token]);
      // A penalty of 1e-38 divides to infinity, whose distance to itself is NaN.
      logit = std::clamp(logit, -kLargest, kLargest);
      occurrences_[token] = 0;
    });
  }
  if (!request.allowed_tokens.empty()) {
    const auto& mask = request.allowed_tokens;
    for (int64_t i = 0; i < vocab_size_; ++i) {
      const size_t word = static_cast<size_t>(i / 32);
      if (word >= mask.size() || (mask[word] >> (i % 32) & 1) == 0) adjusted_[i] = -kInfinity;
    }
  }
  return adjusted_.data();
}

// A heap of the best k, its worst on top: one comparison for most tokens.
void Sampler::SelectTop(const float* logits, int64_t k) {
  candidates_.clear();
  for (int64_t i = 0; i < vocab_size_; ++i) {
    const Candidate candidate{logits[i], static_cast<TokenId>(i)};
    if (candidate.logit == -kInfinity) continue;
    if (static_cast<int64_t>(candidates_.size()) < k) {
      candidates_.push_back(candidate);
      std::push_heap(candidates_.begin(), candidates_.end(), Before);
    } else if (candidate.logit > candidates_.front().logit) {
      std::pop_heap(candidates_.begin(), candidates_.end(), Before);
      candidates_.back() = candidate;
      std::push_heap(candidates_.begin(), candidates_.end(), Before);
    }
  }
  std::sort(candidates_.begin(), candidates_.end(), Before);
}

void Sampler::SelectAll(const float* logits, float max, float temperature) {
  candidates_.clear();
  const float lowest = max + kLowestExponent * temperature;
  for (int64_t i = 0; i < vocab_size_; ++i) {
    if (logits[i] >= lowest && logits[i] != -kInfinity) {
      candidates_.push_back({logits[i], static_cast<TokenId>(i)});
    }
  }
}

// The shortest head of the sorted candidates whose weights reach top_p of the whole.
void Sampler::KeepNucleus(float top_p) {
  double total = 0;
  for (size_t i = 0; i < candidates_.size(); ++i) total += weights_[i];
  // All tokens below this weight together hold less than 1 - top_p: none of them is needed, and
  // only the others are sorted.
  const double negligible = (1.0 - top_p) * total / static_cast<double>(candidates_.size());
  size_t kept = 0;
  for (size_t i = 0; i < candidates_.size(); ++i) {
    if (weights_[i] < negligible) continue;
    candidates_[kept] = candidates_[i];
    weights_[kept++] = weights_[i];
  }
  candidates_.resize(kept);
  std::sort(candidates_.begin(), candidates_.end(), Before);
  // A weight is a function of its logit, and a monotonic one: sorting gives the same pairs.
  std::sort(weights_.begin(), weights_.begin() + kept, std::greater<float>());
  const double wanted = top_p * total;
  double sum = 0;
  size_t n = 0;
  while (n < kept && sum < wanted) sum += weights_[n++];
  candidates_.resize(std::max<size_t>(n, 1));
}

TokenId Sampler::Pick(float min_p, double u) const {
  double total = 0;
  for (size_t i = 0; i < candidates_.size(); ++i) {
    if (weights_[i] >= min_p) total += weights_[i];
  }
  const double target = u * total;
  double sum = 0;
  TokenId last = -1;
  for (size_t i = 0; i < candidates_.size(); ++i) {
    if (weights_[i] < min_p || weights_[i] == 0.0f) continue;
    sum += weights_[i];
    last = candidates_[i].token;
    if (sum > target) return last;
  }
  return last;  // u * total was rounded up to the whole sum
}

void Sampler::Top(const float* logits, const LogSoftmax& distribution,
                  absl::Span<TokenProbability> top) {
  SelectTop(logits, static_cast<int64_t>(top.size()));
  for (size_t i = 0; i < top.size() && i < candidates_.size(); ++i) {
    top[i] = {candidates_[i].token, distribution.LogProbability(candidates_[i].logit)};
  }
}

}  // namespace ela
