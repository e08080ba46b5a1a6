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
#include "scheduler/session_id.h"

namespace ela {

inline constexpr int32_t kMaxPriority = 100;
inline constexpr int32_t kMaxChoices = 16;
inline constexpr size_t kMaxKeepAt = 16;

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
  int64_t position = 0;  // in the sequence: a session's past and the prompt's tokens counted
  uint32_t choice = 0;   // [0, num_choices)
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

// Of several choices: the prompt is counted once, what was generated is added up.
struct Usage {
  int64_t prompt_tokens = 0;    // of this request, a session's past not counted
  int64_t cached_tokens = 0;    // of those, taken from a kept prefix
  int64_t session_tokens = 0;   // of the session's log before this request
  int64_t replayed_tokens = 0;  // of those, computed again
  int64_t durable_tokens = 0;   // of the log behind this request, that the store has acknowledged
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
  // One of several choices has ended well; OnFinish follows when all have. Never called for a
  // request of one choice.
  virtual void OnChoiceFinish(uint32_t /*choice*/, FinishReason /*reason*/) {}
  // The store has acknowledged the first `num_tokens` of the session's log. Only with durability
  // kEveryMessage: what a message says must not leave before.
  virtual void OnDurable(int64_t /*num_tokens*/) {}
  // `status` is OK for every FinishReason but kCancelled and kError.
  virtual void OnFinish(const absl::Status& status, FinishReason reason, const Usage& usage) = 0;
};

// A session (Engine::CreateSession) as the beginning of a request: it goes on behind the session's
// last token, and the session's log grows by its prompt and by what is generated.
struct SessionUse {
  SessionId id;
  bool wait = false;                  // for other requests on the session; false: kAborted at once
  std::optional<int64_t> num_tokens;  // the log's length that the caller believes in; another:
                                      // kAborted; none: not checked
};

// Snapshots of prompts that others with the same beginning start from (scheduler/prefix_cache.h).
struct PrefixOptions {
  bool no_reading = false;       // absorb everything
  bool no_keeping = false;       // keep nothing of this prompt
  std::vector<int64_t> keep_at;  // also at these positions of the prompt: ascending, in
                                 // [1, tokens.size()], at most kMaxKeepAt. With several segment
                                 // passes at segment ends and in generated segments only
};

struct Request {
  std::string id;  // for logs; not unique
  std::string
      tenant;  // "" or one of EngineOptions::tenants; sees its own sessions and prefixes only
  int32_t priority = 0;  // [-kMaxPriority, kMaxPriority]; higher goes first
  absl::Time deadline = absl::InfiniteFuture();

  std::optional<SessionUse> session;
  std::string record;  // with a durable session: what it takes to make this request again, opaque;
                       // kept as SessionCall::record
  PrefixOptions prefix;

  std::vector<TokenId> tokens;             // the prompt, at least one; with a session that is not
                                           // empty: may be none
  std::vector<int64_t> segment_lengths;    // cuts `tokens` into prompt and generated segments, in
                                           // order; empty: one prompt
  std::vector<SegmentKind> segment_kinds;  // as long as segment_lengths
  std::string lobe;                        // a pluggable lobe; empty: the session's, else the
                                           // model's own

  int64_t max_new_tokens = 0;  // 0: absorb (and score) only
  SamplingParams sampling;
  int32_t penalty_window = 64;  // the last tokens that penalties look at
  uint32_t choice = 0;          // of the random numbers; of several choices the first one's
  int32_t num_choices = 1;  // [1, kMaxChoices]: continuations of one prompt, absorbed once (with
                            // several segment passes: but for its last prompt segment). Not with a
                            // session. They end together with an error if one of them does
  std::vector<TokenId> stop_tokens;  // end-of-text ids are added by the engine unless ignore_eos
  bool ignore_eos = false;
  std::unique_ptr<StopCondition> stop_condition;  // null: no stop strings
  // With stop strings and several choices: one for each choice behind the first.
  std::vector<std::unique_ptr<StopCondition>> more_stop_conditions;

  // OnScores for tokens[1..]; the first token has nothing before it, unless a session does. With
  // several segment passes, tokens that their own prompt segment lets the model see are left out:
  // what remains are generated segments and each prompt segment's first token.
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
