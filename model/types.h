// Words that every room shares: what is absorbed, what is sampled, what comes back.
#ifndef ELA_MODEL_TYPES_H_
#define ELA_MODEL_TYPES_H_

#include <cstdint>
#include <string>
#include <vector>

namespace ela {

using TokenId = int32_t;

// How the next token is drawn from the logits. Ranges are checked where a request enters
// (server/convert). Order: penalties, temperature, top_k, top_p, min_p; then one draw with the
// random number of (seed, choice, position of the drawn token).
struct SamplingParams {
  float temperature = 1.0f;  // [0, 10]; 0: greedy, the largest logit, lowest id on ties
  int32_t top_k = 0;         // [0, vocab_size]; 0: all
  float top_p = 1.0f;        // (0, 1]; 1: all
  float min_p = 0.0f;        // [0, 1): at least this share of the largest probability; 0: all
  float repetition_penalty = 1.0f;  // (0, 10]; positive logits of recent tokens are divided by it,
                                    // negative multiplied; 1: off
  float presence_penalty =
      0.0f;  // [-10, 10], subtracted once from each recent token's logit; 0: off
  float frequency_penalty =
      0.0f;  // [-10, 10], subtracted per occurrence among the recent tokens; 0: off
  uint64_t seed = 0;

  bool needs_recent_tokens() const {
    return repetition_penalty != 1.0f || presence_penalty != 0.0f || frequency_penalty != 0.0f;
  }
};

// A stretch of a sequence that came in as one prompt, or that was generated. Only a lobe in prefix
// mode sees the difference (docs/model.md 2, Memory Lobe); every worker is told.
enum class SegmentKind : uint8_t { kPrompt, kGenerated };

struct Segment {
  SegmentKind kind = SegmentKind::kPrompt;
  int64_t begin = 0;   // position of the segment's first token
  int64_t length = 0;  // tokens; of a generated segment: 0, its end is not known
  int32_t pass = 0;    // 0 <= pass < WorkerInfo::segment_passes; always 0 in a generated segment
};

enum class OutputMode : uint8_t {
  kNone,   // absorb only
  kLast,   // after the last absorbed token
  kEvery,  // after each absorbed token
};

struct TokenProbability {
  TokenId token = 0;
  float logprob = 0;  // natural log of softmax(raw logits), before penalties and temperature
};

// Of StepItem::top_logprobs; the public contracts have the same limit.
inline constexpr int32_t kMaxTopLogprobs = 20;

// Which experts a token went to: [layers, K], row-major, in rank order.
struct Routing {
  std::vector<int32_t> experts;
  std::vector<float> weights;
};

}  // namespace ela

#endif  // ELA_MODEL_TYPES_H_
