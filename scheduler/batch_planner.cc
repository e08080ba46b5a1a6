#include "scheduler/batch_planner.h"

#include <algorithm>

namespace ela {
namespace {

// Tokens of the next chunk when `room` of the budget is left.
int32_t ChunkTokens(const PlanCandidate& candidate, int32_t room) {
  if (candidate.left_in_pass <= room) return static_cast<int32_t>(candidate.left_in_pass);
  const int64_t end = candidate.position + room;
  const int64_t aligned = end / kChunkAlignment * kChunkAlignment;
  return static_cast<int32_t>((aligned > candidate.position ? aligned : end) - candidate.position);
}

}  // namespace

void PlanBatch(absl::Span<const PlanCandidate> candidates, const PlanLimits& limits,
               BatchPlan& plan) {
  plan.items.clear();
  plan.prefills.clear();
  plan.decode_tokens = 0;
  plan.prefill_tokens = 0;

  int32_t room = limits.token_budget;
  for (int32_t i = 0; i < static_cast<int32_t>(candidates.size()); ++i) {
    if (!candidates[i].decoding) {
      plan.prefills.push_back(i);
    } else if (room > 0) {
      plan.items.push_back({i, 1});
      ++plan.decode_tokens;
      --room;
    }
  }

  std::sort(plan.prefills.begin(), plan.prefills.end(), [&candidates](int32_t a, int32_t b) {
    const uint64_t served_a = candidates[a].last_served;
    const uint64_t served_b = candidates[b].last_served;
    return served_a != served_b ? served_a < served_b : a < b;
  });
  for (const int32_t i : plan.prefills) {
    if (room == 0) break;
    const int32_t num_tokens = ChunkTokens(candidates[i], std::min(room, limits.prefill_chunk));
    plan.items.push_back({i, num_tokens});
    plan.prefill_tokens += num_tokens;
    room -= num_tokens;
  }
}

}  // namespace ela
