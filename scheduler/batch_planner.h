// Who takes part in the next step, and with how many tokens. A pure function of what runs and of
// the limits, so that its promises can be tested over random inputs:
//  - every decoding sequence gets its one token in every step;
//  - what is left of the budget goes to prefills in chunks, the one served longest ago first, so
//    that a short prompt waits for one chunk of each neighbour and not for their whole prompts;
//  - a chunk never crosses the end of its segment, and ends at a multiple of kChunkAlignment
//    wherever that costs no step: the model's blocks are aligned there (docs/model.md 1).
// Who gets a free slot is decided before, by admission: a sequence without a slot has no state to
// advance.
#ifndef ELA_SCHEDULER_BATCH_PLANNER_H_
#define ELA_SCHEDULER_BATCH_PLANNER_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace ela {

constexpr int64_t kChunkAlignment = 16;

// A sequence that holds a slot and is not paused.
struct PlanCandidate {
  int32_t slot = 0;
  bool decoding = false;
  // Of a prefill:
  int64_t position = 0;      // of its next token
  int64_t left_in_pass = 0;  // tokens to the end of its segment, > 0
  uint64_t last_served = 0;  // the step that served it last, or that admitted it
};

struct PlanLimits {
  int32_t token_budget = 0;   // of the step, >= number of candidates' slots
  int32_t prefill_chunk = 0;  // of one sequence, > 0
};

struct PlannedItem {
  int32_t candidate = 0;  // index
  int32_t num_tokens = 0;
};

struct BatchPlan {
  std::vector<PlannedItem> items;  // decoding ones first, in the candidates' order
  int32_t decode_tokens = 0;
  int32_t prefill_tokens = 0;
  std::vector<int32_t> prefills;  // scratch of PlanBatch, kept for its capacity
};

// Overwrites `plan`. O(candidates), and O(n log n) in the prefills among them; allocates nothing
// once the plan's vectors have grown.
void PlanBatch(absl::Span<const PlanCandidate> candidates, const PlanLimits& limits,
               BatchPlan& plan);

}  // namespace ela

#endif  // ELA_SCHEDULER_BATCH_PLANNER_H_
