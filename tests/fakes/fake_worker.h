// A worker without a model: the next token is a hash of all tokens that the slot has absorbed, and
// of the lobe, the cuts between segments and the order of passes where a real model would see them.
// A mixed-up slot, a lost chunk, a wrong position or a stale state changes the text, so that every
// bug of a scheduler becomes a readable difference from Expected().
//
// It holds the engine to the numbered rules of model/worker.h: a breach comes back as kInternal in
// that item, is kept in violations(), and ends the process in the destructor unless the test has
// taken it.
#ifndef ELA_TESTS_FAKES_FAKE_WORKER_H_
#define ELA_TESTS_FAKES_FAKE_WORKER_H_

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "model/types.h"
#include "model/worker.h"
#include "scheduler/request.h"
#include "tests/fakes/fake_clock.h"

namespace ela {

struct FakeWorkerOptions {
  int32_t num_slots = 4;
  int64_t vocab_size = 1000;
  int32_t max_step_tokens = 512;
  int32_t max_step_items = 512;
  int32_t segment_passes = 1;
  int64_t max_segment_tokens = 0;  // 0: no limit
  int64_t max_scratch_tokens = 0;  // likewise
  int32_t steps_in_flight = 1;
  int32_t transfer_polls = 0;  // how often PollTransfer says "not yet", as a device would
  int32_t num_layers = 2;
  int32_t num_experts = 4;
  int32_t num_experts_per_token = 2;
  std::vector<std::string> lobes;  // that ResetSlot knows from the start, beside ""

  FakeClock* clock = nullptr;  // moved by every step, when not null
  absl::Duration step_cost;
  absl::Duration token_cost;
};

// What a request must yield, however it is scheduled.
struct FakeText {
  std::vector<TokenId> tokens;
  FinishReason reason = FinishReason::kLength;
};

class FakeWorker final : public Worker {
 public:
  explicit FakeWorker(const FakeWorkerOptions& options = {});
  ~FakeWorker() override;

  // --- Worker ---
  const WorkerInfo& Info() const override { return info_; }
  absl::Status ResetSlot(int32_t slot, const std::string& lobe) override;
  absl::Status CopySlot(int32_t from, int32_t to) override;
  absl::Status RewindSlot(int32_t slot, int64_t position) override;
  void Enqueue(absl::Span<const StepItem> items) override;
  StepResult& Wait() override;
  absl::Status BeginSave(int32_t slot, std::string* blob) override;
  absl::Status BeginLoad(int32_t slot, absl::Span<const char> blob) override;
  absl::Status BeginCopyOut(int32_t slot, absl::Span<char> to) override;
  absl::Status BeginCopyIn(int32_t slot, absl::Span<const char> from) override;
  absl::StatusOr<bool> PollTransfer(int32_t slot) override;
  // A lobe is its directory's name: equal names, equal lobes. "" is not found.
  absl::StatusOr<std::unique_ptr<LoadedLobe>> LoadLobe(const std::string& directory) const override;
  absl::Status AddLobe(const std::string& name, std::unique_ptr<LoadedLobe> lobe) override;
  absl::Status RemoveLobe(const std::string& name) override;
  std::vector<LobeInfo> Lobes() const override;

  // --- What tests expect. ---

  // The text of `request`, up to max_new_tokens, its stop tokens and `end_of_text` (unless
  // ignore_eos); stop strings are not known here. Thread-safe.
  FakeText Expected(const Request& request, absl::Span<const TokenId> end_of_text = {}) const;

  // log p(tokens[i + 1] | tokens[0..i], and with several passes the rest of its segment) for each i
  // in [0, tokens.size() - 1). Thread-safe.
  std::vector<float> ExpectedScores(const Request& request) const;

  // --- What tests script. Before the engine runs, or on its thread. ---

  // The n-th item from now (0: the next one) fails with `status`; its slot must be reset.
  void FailItem(int64_t n, absl::Status status);
  // Asked for every item: not OK fails it.
  void FailWhen(std::function<absl::Status(const StepItem&)> fault) { fault_ = std::move(fault); }

  // --- What tests ask. ---

  std::vector<std::string> TakeViolations();
  int64_t num_steps() const { return num_steps_; }
  int64_t num_tokens() const { return num_tokens_; }  // absorbed, each pass counted
  int64_t position(int32_t slot) const { return slots_[slot].position; }

 private:
  struct Slot {
    bool usable = false;  // reset since it was made, or since its last error
    int32_t in_flight = 0;
    std::string lobe;  // fingerprint; empty: the model's own
    int64_t position = 0;
    uint64_t hash = 0;
    TokenId last_sampled = -1;
    std::vector<uint64_t> since_merge;  // hash at each position since the last multiple of 16
    std::function<void()> transfer;     // what its last poll does; empty: none is under way
    int32_t polls_left = 0;
    // With several passes: the prompt segment under way; length 0: none.
    Segment segment;
    int64_t pass_position = 0;
    uint64_t pass_hash = 0;
  };
  struct Step {
    std::vector<StepItem> items;
    bool pending = false;
  };

  std::vector<LobeInfo> KnownLobes() const;
  void SetLobes(std::vector<LobeInfo> lobes);
  absl::StatusOr<std::string> FindLobe(const std::string& name) const;
  absl::Status CheckLobe(const std::string& fingerprint) const;
  absl::Status CheckIdle(int32_t slot, const char* call);
  absl::Status CheckWhole(int32_t slot, const char* call);
  absl::StatusOr<Slot> Parse(absl::Span<const char> blob) const;
  absl::StatusOr<Slot> FromSnapshot(absl::Span<const char> from) const;
  void StartTransfer(int32_t slot, std::function<void()> last_poll);
  absl::Status Check(const StepItem& item, absl::Span<const StepItem> before) const;
  absl::Status CheckSegment(const Slot& slot, const StepItem& item) const;
  absl::Status Scripted(const StepItem& item);
  void Run(const StepItem& item, StepOutput& output, std::vector<int64_t>& expert_tokens);
  void Absorb(Slot& slot, const Segment& segment, TokenId token);
  uint64_t OutputHash(const Slot& slot) const;
  FakeWorkerOptions TwinOptions() const;
  bool Read(const Request& request, const std::function<void(int64_t, uint64_t)>& each);
  void Report(const StepItem& item, uint64_t hash, size_t row, TokenId token, StepOutput& output);
  TokenId Sample(const StepItem& item, absl::Span<const TokenId> unseen, uint64_t hash,
                 int64_t position) const;
  float Logprob(uint64_t hash, TokenId token) const;
  absl::Status Violation(int rule, const std::string& what);

  const FakeWorkerOptions options_;
  WorkerInfo info_;
  mutable absl::Mutex mutex_;                            // Expected comes from any thread
  std::vector<LobeInfo> lobes_ ABSL_GUARDED_BY(mutex_);  // every one ever; removed: without a name
  std::vector<Slot> slots_;
  std::array<Step, 2> steps_;
  std::array<StepResult, 3> results_;
  int64_t num_enqueued_ = 0;
  int64_t num_steps_ = 0;  // waited for
  int64_t num_tokens_ = 0;
  int64_t num_items_ = 0;
  int64_t failing_item_ = -1;
  absl::Status failing_status_;
  std::function<absl::Status(const StepItem&)> fault_;
  std::vector<std::string> violations_;
};

inline std::unique_ptr<FakeWorker> MakeFakeWorker(const FakeWorkerOptions& options = {}) {
  return std::make_unique<FakeWorker>(options);
}

}  // namespace ela

#endif  // ELA_TESTS_FAKES_FAKE_WORKER_H_
