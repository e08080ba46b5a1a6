// What the engine has said to one stream and the stream has not yet written. The engine appends and
// goes on; whoever writes takes everything at once, so a slow network means fewer, larger messages.
// Bounded: the engine pauses the sequence until there is room.
//
// There is at most one writer of a stream at any time. Its role passes between the delivery thread
// (woken by the engine), gRPC's callback that says a write is done, and the one that says the call
// is cancelled; the outbox decides who has it. Only the writer starts a write or finishes the call.
#ifndef ELA_SERVER_OUTBOX_H_
#define ELA_SERVER_OUTBOX_H_

#include <cstdint>
#include <functional>
#include <mutex>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "scheduler/request.h"

namespace ela {

// Scores of consecutive positions, or tokens with what was asked for beside them. Vectors hold
// `count` rows, or nothing where it was not asked for.
struct OutboxRows {
  size_t count = 0;
  std::vector<TokenId> tokens;  // sampled tokens only: a scored token is the caller's own
  std::vector<float> logprobs;
  std::vector<TokenProbability> top;  // [count, top_logprobs]
  std::vector<int32_t> experts;       // [count, layers, K]
  std::vector<float> expert_weights;
  std::vector<float> logits;  // [count, vocab_size]
  int64_t first_position = 0;

  void Clear();  // keeps the capacity
};

struct OutboxContents {
  OutboxRows scores;  // all of them come before the first token
  OutboxRows tokens;
  bool finished = false;
  absl::Status status;
  FinishReason reason = FinishReason::kNone;
  Usage usage;
};

class Outbox : public TokenSink {
 public:
  // `max_rows` > 0 bounds tokens plus scores; one event may go beyond. `wake` is called on the
  // engine's thread when it has made the idle stream's delivery the writer.
  Outbox(size_t max_rows, std::function<void()> wake);

  // --- Engine thread. ---
  SinkState OnToken(const TokenEvent& event) override;
  SinkState OnScores(const ScoreEvent& event) override;
  void OnFinish(const absl::Status& status, FinishReason reason, const Usage& usage) override;

  // --- The writer. The one who makes the outbox is the first. ---

  enum class Next { kContents, kIdle, kCancelled };
  // kContents: `contents` (empty before) now holds all there was; `*was_full`: the engine waits for
  // Engine::Resume. kIdle: there was nothing, and the caller is no longer the writer.
  Next Take(OutboxContents* contents, bool* was_full);

  // --- Any thread. ---

  // The call is cancelled. True: the caller is now the writer and must finish it.
  bool Cancel();

 private:
  // After an append, with the mutex held: whether the engine shall wake the delivery.
  bool BecomeBusy() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  SinkState StateAfterAppend() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const size_t max_rows_;
  const std::function<void()> wake_;

  std::mutex mutex_;
  OutboxContents queued_ ABSL_GUARDED_BY(mutex_);
  bool has_writer_ ABSL_GUARDED_BY(mutex_) = true;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  bool full_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace ela

#endif  // ELA_SERVER_OUTBOX_H_
