#ifndef ELA_SCHEDULER_SEQUENCE_H_
#define ELA_SCHEDULER_SEQUENCE_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/types.h"
#include "model/worker.h"
#include "scheduler/batch_planner.h"
#include "scheduler/prefix_cache.h"
#include "scheduler/prompt_cursor.h"
#include "scheduler/request.h"
#include "scheduler/snapshot_pool.h"
#include "scheduler/token_log.h"

namespace ela {

using Ticket = uint64_t;

// Why a sequence's state is copied out at a place: bits.
enum SnapshotUse : uint32_t {
  kForPrefix = 1,   // others with the same beginning start from it
  kForChoices = 2,  // the request's other choices start from it
  kForSession = 4,  // a later rewind starts from it
};

// A place in a sequence where a step ends and the state is copied out.
struct SnapshotPlace {
  int64_t position = 0;
  uint32_t uses = 0;
};

// What the slot's copy that is under way is for.
enum class Transfer : uint8_t {
  kNone,
  kIn,    // the beginning, or back from being swapped out
  kKeep,  // a snapshot; the sequence goes on
  kOut,   // swapped out: the slot is given up
  kEnd,   // the session's new end; the sequence has ended
  kSave,  // the state is sealed into a blob, for a command
  kSeal,  // likewise, for the store; the sequence has ended
  kLoad,  // a sealed state becomes the slot's
};

class Session;
struct ChoiceGroup;
struct SessionErrand;

// A live request: what the caller wants, how far it has come, what its next step is. Built on the
// caller's thread, then owned by the engine thread alone.
//
// The token sampled last is known but not absorbed: the next decode step absorbs it and samples its
// successor. So when a sequence ends, its slot holds everything but the final token, which is what
// a session continues from: the next prompt begins with that token.
class Sequence {
 public:
  // Errors: kInvalidArgument (names field, value, limit), kFailedPrecondition (keep_at inside a
  // prompt segment of several passes).
  static absl::StatusOr<std::unique_ptr<Sequence>> Create(Ticket ticket, Request request,
                                                          std::shared_ptr<TokenSink> sink,
                                                          absl::Time submitted,
                                                          const WorkerInfo& worker);
  ~Sequence();

  // --- Constant. ---
  const Ticket ticket;
  Request request;  // `tokens`: the prompt; since BeginBehind also what is absorbed before it
  const std::shared_ptr<TokenSink> sink;  // shared with the stream, which may end first
  const absl::Time submitted;
  int64_t prompt_tokens() const { return prompt_tokens_; }
  int64_t work_tokens() const;  // the most it may cost
  // To find a kept prefix by; null: none is looked for, and none is kept.
  const PrefixKey* prefix_key() const { return prefix_key_.get(); }

  // --- The engine's notes. ---
  int32_t tenant = 0;
  bool counted = true;                // in the inbox, among the requests that wait
  bool queued = false;                // in the admission
  absl::Time queued_since;            // and from when it counts there
  bool begun = false;                 // its beginning is settled: session, prefix, places
  int32_t slot = -1;                  // -1: has none
  bool slot_good = true;              // no item failed in it
  bool stays = false;                 // its state cannot be copied out: its lobe was removed
  uint64_t last_served = 0;           // the step that served it last, or that admitted it
  int64_t served_since_admitted = 0;  // tokens
  absl::Time paused_since = absl::InfiniteFuture();  // infinite: not paused
  bool paused() const { return paused_since != absl::InfiniteFuture(); }

  Transfer transfer = Transfer::kNone;
  SnapshotRef moving;  // what the transfer reads or fills
  uint32_t moving_uses = 0;
  SnapshotRef parked;      // swapped out, or the beginning that others made; taken at admission
  bool swapped = false;    // it had a slot and has none
  bool has_claim = false;  // of the pool, for `parked`

  // A sealed state that it begins from, which stands at sealed_position or can be taken back.
  std::shared_ptr<const std::string> sealed;  // shared with the session
  int64_t sealed_position = 0;
  std::shared_ptr<std::string> sealing;  // what is sealed for the store, which shares it
  bool held = false;                     // it has ended, and is told when that is kept
  int64_t durable_tokens = 0;

  Session* session = nullptr;  // it has the session
  bool awaits_session = false;
  int64_t reserved_log_bytes = 0;
  std::shared_ptr<ChoiceGroup> group;     // shared by the choices of a request; null: there is one
  std::unique_ptr<SessionErrand> errand;  // a command that needed a slot; null: a request

  bool ended = false;  // its outcome is known: it takes part in no more steps
  absl::Status outcome;
  FinishReason reason = FinishReason::kNone;
  bool told = false;  // its sink has been told

  // --- Its beginning. Engine thread, before its first step. ---

  // The session's.
  void SetLobe(const std::string& lobe);

  // A kept prefix or another choice's state holds the first `position` tokens.
  void BeginAt(int64_t position);
  // Behind a session's past, of which the first `start` tokens are absorbed. If nothing is sampled,
  // `leave_last` keeps the last token for the next call.
  void BeginBehind(const Session& session, int64_t start, bool leave_last);
  // Ascending; those at or before the beginning are left out.
  void SetPlaces(std::vector<SnapshotPlace> places);
  // Choice `index` > 0 of the same prompt. It begins at `start`; at 0 its beginning is not settled.
  std::unique_ptr<Sequence> MakeChoice(Ticket ticket, uint32_t index, int64_t start);

  // Back in a slot that holds position() tokens.
  void Restored() {
    if (!decoding()) prompt_.StartAt(prompt_.position());
  }

  // --- Progress. ---
  bool decoding() const { return prompt_.done(); }
  const PromptCursor& prompt() const { return prompt_; }
  int64_t num_generated() const { return num_generated_; }
  uint32_t choice_index() const { return choice_index_; }
  // Tokens that the slot has absorbed. REQUIRES: whole().
  int64_t position() const {
    return num_generated_ > 0 ? prompt_end_ + num_generated_ - 1 : prompt_.position();
  }
  bool whole() const { return prompt_.whole(); }
  // The lowest position that a slot with this state can be taken back to.
  int64_t lowest() const {
    return std::max(position() / kChunkAlignment * kChunkAlignment, prompt_.last_prompt_end());
  }
  int64_t prompt_end() const { return prompt_end_; }
  int64_t session_tokens() const { return session_tokens_; }
  // Tokens until a step must end: the segment's end or the next place.
  int64_t left_in_step() const;
  // There is nothing to absorb and nothing to sample.
  bool idle() const { return decoding() && !samples_; }
  // The place that has just been reached, once; null: none.
  const SnapshotPlace* TakeReachedPlace();

  // Its part of the next step. Views stay good until the next Absorbed or Sampled. `num_tokens`: at
  // most left_in_step() when prefilling, 1 when decoding.
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

  void MakeTargets();
  void MakeRecent(absl::Span<const TokenId> tokens);

  FinishReason ReasonToEnd(TokenId token, absl::Span<const TokenId> end_of_text);
  void Remember(TokenId token);

  // Constant after construction.
  const bool samples_;
  int64_t prompt_tokens_;
  std::unique_ptr<PrefixKey> prefix_key_;
  uint32_t choice_index_ = 0;
  // Constant after its beginning.
  int64_t tokens_begin_ = 0;  // position of request.tokens[0]
  int64_t prompt_end_;
  int64_t session_tokens_ = 0;
  int64_t cached_tokens_ = 0;
  int64_t computed_tokens_ = 0;   // of the session's log, computed once before
  std::vector<TokenId> targets_;  // [tokens], what follows each, -1 where nothing is scored
  std::vector<SnapshotPlace> places_;
  // Changing.
  size_t next_place_ = 0;
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
