// What generating and scoring share: segments, what stands beside a token, what a call has used.
#ifndef ELA_CLIENT_USAGE_H_
#define ELA_CLIENT_USAGE_H_

#include <cstdint>
#include <vector>

#include "absl/time/time.h"

namespace ela::client {

// A stretch of tokens that came in as one prompt, or that was generated. Only models with a prefix
// lobe see the difference.
struct Segment {
  bool generated = false;
  uint64_t num_tokens = 0;  // > 0
};

struct TopToken {
  uint32_t token_id = 0;
  float logprob = 0;  // natural logarithm
};

// Which experts one token went to. Row-major [layers, experts_per_token], in rank order.
struct TokenRouting {
  std::vector<uint32_t> expert_ids;
  std::vector<float> weights;
};

struct Usage {
  uint64_t prompt_tokens = 0;
  uint64_t cached_tokens = 0;  // of the prompt, taken from a kept state instead of computed
  uint64_t generated_tokens = 0;
  absl::Duration queue_time;    // arrival at the server to first compute
  absl::Duration prefill_time;  // first compute to first token
  absl::Duration decode_time;   // first token to last
};

}  // namespace ela::client

#endif  // ELA_CLIENT_USAGE_H_
