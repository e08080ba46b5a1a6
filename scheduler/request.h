// What a caller wants of the engine, after all limits have been checked and text has become tokens.
// All three public contracts become this one type.
#ifndef ELA_SCHEDULER_REQUEST_H_
#define ELA_SCHEDULER_REQUEST_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "model/types.h"
#include "model/worker.h"

namespace ela {

// Decides on stop strings: asked for every sampled token, in order. Engine thread only;
// microseconds. True: generation ends with this token, which is not absorbed into the state.
class StopCondition {
 public:
  virtual ~StopCondition() = default;
  virtual bool StopsAfter(TokenId token) = 0;
};

// kError: the model failed on this request. kCancelled: it was ended from outside before it was
// done (Cancel, its deadline, a reader that is too slow, a shutdown); the status says which.
enum class FinishReason { kNone, kLength, kEndOfText, kStopToken, kStopString, kCancelled, kError };

// One sampled token with what was asked for beside it. Views are borrowed for the call.
struct TokenEvent {
  TokenId token = 0;
  int64_t position = 0;  // in the sequence, the prompt's tokens counted
  float logprob = 0;     // of the raw distribution
  absl::Span<const TokenProbability> top;
  const Routing* routing = nullptr;  // null: not asked for
};

// Log-probabilities of given tokens, in order of position, each position once. Views are borrowed
// for the call.
struct ScoreEvent {
  int64_t first_position = 0;              // of the token that logprobs[0] is about
  absl::Span<const float> logprobs;        // log p(token at position | all before)
  absl::Span<const TokenProbability> top;  // [logprobs.size(), top_logprobs]
  absl::Span<const float> logits;          // [logprobs.size(), vocab_size] if asked
  absl::Span<const Routing> routing;       // [logprobs.size()] if asked
};

struct Usage {
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;  // of those, not computed again
  int64_t generated_tokens = 0;
  absl::Duration queue_time;    // Submit to the first step
  absl::Duration prefill_time;  // first step to first token (or to the end of absorbing)
  absl::Duration decode_time;   // first token to the last
};

// kFull: the receiver's buffer is full. The sequence pauses, keeping its slot, until
// Engine::Resume; after EngineOptions::slow_reader_timeout it ends with kResourceExhausted.
enum class SinkState { kReady, kFull };

// Where a request's results go. Engine thread only; a call appends and returns, it never blocks and
// never calls back into the engine. After OnFinish, which comes exactly once, no other call comes.
// The token that ends the generation (end of text, a stop token, the one that completes a stop
// string) comes through OnToken like every other and counts as generated; what of it belongs to the
// output is the receiver's affair.
class TokenSink {
 public:
  virtual ~TokenSink() = default;
  virtual SinkState OnToken(const TokenEvent& event) = 0;
  virtual SinkState OnScores(const ScoreEvent& event) = 0;
  // `status` is OK for every FinishReason but kCancelled and kError.
  virtual void OnFinish(const absl::Status& status, FinishReason reason, const Usage& usage) = 0;
};

struct Request {
  std::string id;        // for logs; not unique
  std::string tenant;    // "" or one of EngineOptions::tenants
  int32_t priority = 0;  // [-100, 100]; higher goes first
  absl::Time deadline = absl::InfiniteFuture();

  std::vector<TokenId> tokens;             // the prompt, at least one
  std::vector<int64_t> segment_lengths;    // cuts `tokens` into prompt and generated segments, in
                                           // order; empty: one prompt
  std::vector<SegmentKind> segment_kinds;  // as long as segment_lengths
  std::string lobe;                        // a pluggable lobe; empty: the model's own

  int64_t max_new_tokens = 0;  // 0: absorb (and score) only
  SamplingParams sampling;
  int32_t penalty_window = 64;  // the last tokens that penalties look at
  uint32_t choice = 0;
  std::vector<TokenId> stop_tokens;  // end-of-text ids are added by the engine unless ignore_eos
  bool ignore_eos = false;
  std::unique_ptr<StopCondition> stop_condition;  // null: no stop strings

  // OnScores for tokens[1..]; the first token has nothing before it. With several segment passes,
  // tokens that their own prompt segment lets the model see are left out: what remains are
  // generated segments and each prompt segment's first token.
  bool score_prompt = false;
  bool logits = false;       // with score_prompt: raw logits too
  int32_t top_logprobs = 0;  // [0, 20]
  bool routing = false;
};

// Overload is answered with a hint of when to come back. It travels as a payload of the Status.
absl::Status WithRetryAfter(absl::Status status, absl::Duration delay);
std::optional<absl::Duration> RetryAfter(const absl::Status& status);

}  // namespace ela

#endif  // ELA_SCHEDULER_REQUEST_H_
