// From logits to a token. Candidates are found first, then the softmax runs over the survivors
// alone: a top-40 of 6,400 costs a few microseconds instead of a full sort. Every sum runs in a
// fixed order, so equal logits and parameters give equal tokens.
#ifndef ELA_MODEL_LANGUAGE_SAMPLER_H_
#define ELA_MODEL_LANGUAGE_SAMPLER_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "model/kernels/kernels.h"
#include "model/types.h"

namespace ela {

// The raw distribution of a row of logits: log p(i) = (logits[i] - max) - log_sum.
struct LogSoftmax {
  float max = 0;
  float log_sum = 0;

  float LogProbability(float logit) const { return (logit - max) - log_sum; }
};

struct DrawRequest {
  const SamplingParams* params = nullptr;
  absl::Span<const TokenId> recent_tokens;    // for penalties
  absl::Span<const uint32_t> allowed_tokens;  // bitmask; empty: all
  uint32_t choice = 0;
  int64_t position = 0;  // of the drawn token
  TokenId newest = -1;   // recent as well, but not among recent_tokens; -1: none
};

// Owns scratch for one row: one per thread. REQUIRES: finite logits.
class Sampler {
 public:
  Sampler(const Kernels& kernels, int64_t vocab_size);

  LogSoftmax Normalise(const float* logits) const;
  // Draws by penalties, mask, temperature (below 1e-5: greedy), top_k, top_p, min_p, in this order.
  // -1 when no token is allowed.
  TokenId Draw(const float* logits, const DrawRequest& request);
  // The most probable tokens, ties by lower id; fills `top`.
  void Top(const float* logits, const LogSoftmax& distribution, absl::Span<TokenProbability> top);

 private:
  struct Candidate {
    float logit;
    TokenId token;
  };
  // More probable first, then the lower id.
  static bool Before(const Candidate& a, const Candidate& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
  }

  const float* Adjust(const float* logits, const DrawRequest& request);
  void SelectTop(const float* logits, int64_t k);
  void SelectAll(const float* logits, float max, float temperature);
  void KeepNucleus(float top_p);
  TokenId Pick(float min_p, double u) const;

  const Kernels& kernels_;
  const int64_t vocab_size_;

  // Scratch of one call.
  std::vector<float> adjusted_;        // [V]
  std::vector<int32_t> occurrences_;   // [V], zero between calls
  std::vector<Candidate> candidates_;  // capacity V
  std::vector<float> gathered_;        // [V]: the candidates' logits
  std::vector<float> weights_;         // [V]: exp((logit - max) / temperature) of candidates
};

}  // namespace ela

#endif  // ELA_MODEL_LANGUAGE_SAMPLER_H_
