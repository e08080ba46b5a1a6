// The one interface between the scheduler and a model. A worker owns a pool of equal slots, each
// holding the fixed-size state of one sequence, and advances many of them by one step at a time.
//
// The contract, numbered; every implementation is held to it by tests/model/worker_contract_test:
//  1. One thread calls (the engine thread). Nothing here blocks except Create and Wait.
//  2. Slots in a step are distinct; two steps in flight may name the same slot, one after the
//     other. A slot between Enqueue and its Wait is not reset, copied, rewound or transferred.
//  3. A slot is reset before its first use, and after an error on it before it is used again.
//  4. What a slot contains, and what is sampled from it, never depends on which or how many other
//     items are in the step, or on how a segment was cut into chunks: the same bits, per numerics
//     id.
//  5. Random numbers are a function of (seed, choice, absolute position), nothing else.
//  6. An item fails alone: its StepOutput carries the Status, the other items of the step go on.
//  7. With segment_passes > 1 the caller sends all chunks of a prompt segment for pass 0, then all
//     for pass 1, and so on; outputs come from the last pass. Between passes the segment's scratch
//     is not part of the slot: an interrupted segment starts again from its beginning, in a slot
//     that was restored or reset. Till its end such a slot cannot be copied, rewound, saved or
//     copied out (kFailedPrecondition). A segment is refused with kResourceExhausted when all those
//     under way together would pass max_scratch_tokens; the caller sees to it that they do not.
//  8. Up to steps_in_flight steps are in flight; Wait returns them in order. An item without tokens
//     absorbs the token that was sampled last in that slot, so that a device need not wait for the
//     host; the worker counts that token among the recent ones, the caller does not.
//  9. With drafts the slot ends behind `tokens` and the accepted drafts, and `sampled` follows the
//     last of these. A caller that may have to take tokens back (a stop string within the drafts, a
//     step that was enqueued before the end was known) lets them end before the next multiple of
//     16: there the tail merges, and RewindSlot goes back no further.
// 10. A transfer (save, load, copy out, copy in) is under way from its Begin until PollTransfer has
//     said true or an error. Until then its slot takes part in nothing else, and the memory that it
//     was given stays where it is, untouched. Errors that can be known at once come from Begin, and
//     then nothing is under way.
#ifndef ELA_MODEL_WORKER_H_
#define ELA_MODEL_WORKER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/types.h"

namespace ela {

// Constant after creation.
struct WorkerInfo {
  std::string model_fingerprint;  // SHA-256 of config and weights without lobes, hex
  std::string lobe_fingerprint;   // of the model's own lobe, config and weights; empty: it has none
  std::string numerics_id;        // equal ids give equal bits: "cpu-f32-1"
  std::string device;             // "cpu", "cuda:0"
  int32_t num_slots = 0;
  int64_t state_bytes = 0;   // of one slot, whatever the context; the size of a snapshot
  int64_t weight_bytes = 0;  // resident
  int64_t vocab_size = 0;
  int32_t num_layers = 0;
  int32_t num_experts = 0;
  int32_t num_experts_per_token = 0;
  int32_t max_step_tokens = 0;  // tokens over all items of one step
  int32_t max_step_items = 0;
  // With segment_passes > 1: of a prompt segment, and of all those under way at a time (at least
  // one of the largest); else 0, no limit.
  int64_t max_segment_tokens = 0;
  int64_t max_scratch_tokens = 0;
  int32_t segment_passes = 1;   // num_layers + 1 where a lobe may see ahead
  int32_t steps_in_flight = 1;  // 1 or 2
};

// A pluggable lobe that the worker holds (docs/model.md 2; paper 5.3).
struct LobeInfo {
  std::string name;  // empty: removed, and slots still hold states under it
  std::string fingerprint;
  int64_t weight_bytes = 0;  // resident
  int32_t num_slots = 0;     // that hold a state under it, or held one and were not reset since
};

// A lobe that was read and checked and waits to be added. Only the worker that made it looks into
// it. Thread-compatible.
class LoadedLobe {
 public:
  virtual ~LoadedLobe() = default;
};

// What one slot does in a step. All views are borrowed until the step's Wait has returned.
struct StepItem {
  int32_t slot = 0;
  // To absorb, in order; empty: the token sampled last in this slot.
  absl::Span<const TokenId> tokens;
  int64_t first_position = 0;  // of tokens[0] in the sequence; equals the slot's position
  Segment segment;
  OutputMode output = OutputMode::kNone;
  absl::Span<const TokenId> drafts;  // proposed continuation after `tokens`; empty: none
  // To score: targets[i] follows tokens[i]. Empty or tokens.size() long; < 0: skip.
  absl::Span<const TokenId> targets;
  bool logits = false;       // return raw logits for each output row
  bool routing = false;      // return experts for each output row
  int32_t top_logprobs = 0;  // [0, kMaxTopLogprobs] most probable tokens per output row
  // Null: nothing is sampled; else once, after the last output row.
  const SamplingParams* sampling = nullptr;
  absl::Span<const TokenId> recent_tokens;  // for penalties, oldest first; empty when they are off
  uint32_t choice = 0;                      // index among the n choices of a request
  // Bit i of word i/32: token i may be sampled; empty: all.
  absl::Span<const uint32_t> allowed_tokens;
};

// Owned by the worker. Rows: one per output position, 1 for kLast, tokens.size() for kEvery.
struct StepOutput {
  absl::Status status;        // kDataLoss: NaN or infinity in the logits; kInternal: device fault
  TokenId sampled = -1;       // -1: nothing was sampled
  float sampled_logprob = 0;  // of the raw distribution
  std::vector<TokenId> accepted_drafts;
  std::vector<float> target_logprobs;  // [targets.size()], 0 where the target was negative
  std::vector<float> logits;           // [rows, vocab_size] if asked
  std::vector<TokenProbability> top;   // [rows, top_logprobs], most probable first
  std::vector<Routing> routing;        // [rows] if asked

  // As if nothing had come out, all capacity kept. `routing` keeps its rows too, since these own
  // memory of their own: who fills an output resizes it to the rows that were asked for.
  void Clear() {
    status = absl::OkStatus();
    sampled = -1;
    sampled_logprob = 0;
    accepted_drafts.clear();
    target_logprobs.clear();
    logits.clear();
    top.clear();
  }
};

struct StepResult {
  // In the order of the step's items; may be longer than num_items (kept capacity).
  std::vector<StepOutput> items;
  size_t num_items = 0;
  std::vector<int64_t> expert_tokens;  // [num_layers, num_experts]: tokens routed in this step
};

// Engine thread only, unless said otherwise.
class Worker {
 public:
  virtual ~Worker() = default;

  // Thread-safe.
  virtual const WorkerInfo& Info() const = 0;

  // Makes `slot` an empty sequence at position 0. `lobe` names a pluggable lobe; empty: the model's
  // own. Errors: kNotFound (no such lobe).
  virtual absl::Status ResetSlot(int32_t slot, const std::string& lobe) = 0;

  // `to` becomes a bit-equal copy of `from`. O(state_bytes). Errors: kFailedPrecondition (of a
  // removed lobe).
  virtual absl::Status CopySlot(int32_t from, int32_t to) = 0;

  // Takes the slot back to `position`, which lies at or after the last merge (the greatest multiple
  // of 16 not greater than the slot's position) and not after the slot's position: the tail holds
  // what is needed. With a lobe that sees ahead it does not lie before the end of the last prompt
  // segment either. Errors: kOutOfRange, naming the lowest position that can be reached.
  virtual absl::Status RewindSlot(int32_t slot, int64_t position) = 0;

  // Starts a step. Checks every item (slot, position, token range, limits): a bad one is our own
  // bug and comes back as kInternal in its output; the step's other items run. REQUIRES:
  // items.size() <= max_step_items, tokens <= max_step_tokens, fewer than steps_in_flight pending.
  virtual void Enqueue(absl::Span<const StepItem> items) = 0;

  // Blocks until the oldest pending step is done. The result is borrowed until the next Enqueue but
  // one. The caller may move vectors out of it.
  virtual StepResult& Wait() = 0;

  // The canonical form of a slot's state (docs/state.md): device-independent, little-endian,
  // checked to the last byte. Immediate on a CPU, asynchronous on a GPU: Begin, then Poll until it
  // says true (rule 10). Save: `blob` is filled. Load: a blob that is refused leaves the slot as it
  // was; the lobe it was saved under is found by its fingerprint, whatever its name. Errors:
  // kFailedPrecondition (another model or layout; a lobe that is not loaded), kDataLoss (damaged).
  virtual absl::Status BeginSave(int32_t slot, std::string* blob) = 0;
  virtual absl::Status BeginLoad(int32_t slot, absl::Span<const char> blob) = 0;

  // A snapshot: the slot's bytes as they lie, for parking a sequence in host memory. One plain copy
  // of Info().state_bytes, nothing hashed, nothing converted. It means something to this very
  // worker alone: it never goes to a file, to another process or to another worker. REQUIRES:
  // exactly Info().state_bytes of memory. A slot that is copied in continues as the one that was
  // copied out, with the same bits, whatever either slot did in between. Errors: kInternal (memory
  // of another size, or no snapshot of this worker), kFailedPrecondition (of a removed lobe).
  virtual absl::Status BeginCopyOut(int32_t slot, absl::Span<char> to) = 0;
  virtual absl::Status BeginCopyIn(int32_t slot, absl::Span<const char> from) = 0;

  // True: the slot's transfer is done, or none was under way. After an error the slot needs a
  // reset.
  virtual absl::StatusOr<bool> PollTransfer(int32_t slot) = 0;

  // Pluggable lobes: other lobes over the same base, one per slot, which ResetSlot chooses by name.
  //
  // Any thread, may take seconds: reads the lobe in `directory` and checks that this worker can
  // serve it. Errors: kNotFound, kInvalidArgument, kDataLoss (files), kFailedPrecondition (of
  // another base; no room for its state in a slot; its mode sees ahead and segment_passes is 1).
  virtual absl::StatusOr<std::unique_ptr<LoadedLobe>> LoadLobe(
      const std::string& directory) const = 0;
  // From here on `name` can be asked for. Errors: kInvalidArgument (an empty name), kAlreadyExists.
  virtual absl::Status AddLobe(const std::string& name, std::unique_ptr<LoadedLobe> lobe) = 0;
  // From here on it cannot. Slots that hold a state under it go on to its end where they are; the
  // last of them to be reset, or to take another state, frees its memory. A state under it moves to
  // no other slot, unless an equal lobe (by fingerprint) is there. Errors: kNotFound.
  virtual absl::Status RemoveLobe(const std::string& name) = 0;
  // Those that were added, removed ones that slots still hold among them.
  virtual std::vector<LobeInfo> Lobes() const = 0;
};

}  // namespace ela

#endif  // ELA_MODEL_WORKER_H_
