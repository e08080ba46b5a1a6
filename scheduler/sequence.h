#ifndef ELA_SCHEDULER_SEQUENCE_H_
#define ELA_SCHEDULER_SEQUENCE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/types.h"
#include "model/worker.h"
#include "scheduler/prompt_cursor.h"
#include "scheduler/request.h"

namespace ela {

using Ticket = uint64_t;

// A live request: what the caller wants, how far it has come, what its next step is. Built on the
// caller's thread, then owned by the engine thread alone.
//
// The token sampled last is known but not absorbed: the next decode step absorbs it and samples its
// successor. So when a sequence ends, its slot holds everything but the final token, which is what
// a session continues from: the next prompt begins with that token.
class Sequence {
 public:
  // Errors: kInvalidArgument (names field, value, limit).
  static absl::StatusOr<std::unique_ptr<Sequence>> Create(Ticket ticket, Request request,
                                                          std::shared_ptr<TokenSink> sink,
                                                          absl::Time submitted,
                                                          const WorkerInfo& worker);

  // --- Constant. ---
  const Ticket ticket;
  Request request;
  const std::shared_ptr<TokenSink> sink;  // shared with the stream, which may end first
  const absl::Time submitted;
  int64_t prompt_tokens() const { return static_cast<int64_t>(request.tokens.size()); }
  int64_t work_tokens() const;  // the most it may cost

  // --- The engine's notes. ---
  int32_t tenant = 0;
  int32_t slot = -1;         // -1: waits
  uint64_t last_served = 0;  // the step that served it last, or that admitted it
  absl::Time paused_since = absl::InfiniteFuture();  // infinite: not paused
  bool finished = false;                             // its sink has been told
  bool paused() const { return paused_since != absl::InfiniteFuture(); }

  // --- Progress. ---
  bool decoding() const { return prompt_.done(); }
  const PromptCursor& prompt() const { return prompt_; }
  int64_t num_generated() const { return num_generated_; }

  // Its part of the next step. Views stay good until the next Absorbed or Sampled. `num_tokens`: at
  // most prompt().left_in_pass() when prefilling, 1 when decoding.
  StepItem NextItem(int32_t num_tokens) const;

  // A step begins at `now` in which it takes part.
  void Started(absl::Time now);

  // Hands out the scores of a step whose item was `item`. Before Absorbed.
  SinkState DeliverScores(const StepItem& item, const StepOutput& output);

  // The step has absorbed `num_tokens`.
  void Absorbed(int32_t num_tokens, absl::Time now);

  // The step has sampled a token: hands it out, remembers it. Returns what the sink said; `why` is
  // kNone if the sequence goes on.
  SinkState DeliverToken(const StepOutput& output, absl::Span<const TokenId> end_of_text,
                         absl::Time now, FinishReason& why);

  // For observers: time from submit to the first token, or between the last two.
  absl::Duration last_interval() const { return last_interval_; }

  Usage usage(absl::Time now) const;

 private:
  Sequence(Ticket ticket, Request request, std::shared_ptr<TokenSink> sink, absl::Time submitted,
           PromptCursor prompt);

  FinishReason ReasonToEnd(TokenId token, absl::Span<const TokenId> end_of_text);
  void Remember(TokenId token);

  // Constant after construction.
  const bool samples_;
  std::vector<TokenId> targets_;  // [tokens], what follows each, -1 where nothing is scored
  // Changing.
  PromptCursor prompt_;
  TokenId last_token_ = -1;
  int64_t num_generated_ = 0;
  std::vector<TokenId> recent_;  // for penalties: the last penalty_window tokens are at its end
  absl::Time started_ = absl::InfiniteFuture();  // of the first step
  absl::Time prefilled_ = absl::InfiniteFuture();
  absl::Time last_token_time_ = absl::InfiniteFuture();
  absl::Duration last_interval_;
};

}  // namespace ela

#endif  // ELA_SCHEDULER_SEQUENCE_H_
