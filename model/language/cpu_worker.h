// The Worker on a CPU: checks the items of a step, runs them through the language model together,
// samples. The whole step is computed in Wait, on the caller's thread and the pool's.
#ifndef ELA_MODEL_LANGUAGE_CPU_WORKER_H_
#define ELA_MODEL_LANGUAGE_CPU_WORKER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/config.h"
#include "model/kernels/thread_pool.h"
#include "model/language/language_model.h"
#include "model/language/language_weights.h"
#include "model/language/lobe.h"
#include "model/language/lobe_table.h"
#include "model/language/sampler.h"
#include "model/language/segment_passes.h"
#include "model/language/state_blob.h"
#include "model/language/state_pool.h"
#include "model/language/worker_factory.h"
#include "model/worker.h"

namespace ela {

// Opens what a bidirectional lobe refuses.
inline constexpr char kBidirectionalLobe[] =
    "the lobe is bidirectional, a new token changes what every earlier one was: ";

// One step in flight. Draft tokens are allowed and none is accepted: what is sampled is the same
// with and without them. Engine thread only.
class CpuWorker : public Worker {
 public:
  static absl::StatusOr<std::unique_ptr<CpuWorker>> Create(const LanguageWorkerOptions& options);

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
  absl::StatusOr<std::unique_ptr<LoadedLobe>> LoadLobe(const std::string& directory) const override;
  absl::Status AddLobe(const std::string& name, std::unique_ptr<LoadedLobe> lobe) override;
  absl::Status RemoveLobe(const std::string& name) override;
  std::vector<LobeInfo> Lobes() const override { return lobes_.List(); }

 private:
  // A row whose logits are wanted.
  struct OutputRow {
    size_t item;
    int64_t row;     // of the step
    int64_t offset;  // within the item's tokens
    int64_t output;  // row of the item's outputs; -1: only its target is scored
    bool sample;
  };

  CpuWorker(const LanguageConfig& config, LanguageWeights weights, std::unique_ptr<Lobe> lobe,
            WorkerInfo info, const Kernels& kernels, int num_threads,
            std::unique_ptr<StatePool> pool);

  absl::Status CheckSlot(int32_t slot) const;
  absl::Status CheckWhole(int32_t slot, const char* purpose) const;
  absl::Status CheckLasting(int32_t slot) const;
  const Lobe* LobeOf(int32_t slot) const { return lobes_.lobe(pool_->slot(slot).lobe); }
  StateShape ShapeOf(const Lobe* lobe) const;
  template <class Change>
  void ChangeState(int32_t slot, int32_t lobe, Change change);
  absl::Status CheckItem(const StepItem& item, int64_t rows_left) const;
  absl::Status CheckPass(const StepItem& item, int64_t tokens) const;
  bool InPasses(const StepItem& item) const;
  void Stage(size_t index, int64_t* rows_left);
  void OrderStaged();
  void Place(size_t index);
  void PlanOutputs(size_t index, int64_t first_row);
  void ProduceOutputs();
  void ProduceRow(const OutputRow& row, const float* logits, Sampler* sampler);
  void Finish(size_t index);

  const LanguageConfig config_;
  const LanguageWeights weights_;
  const WorkerInfo info_;
  ThreadPool threads_;
  const Compute compute_;
  const std::unique_ptr<StatePool> pool_;
  LanguageModel model_;
  SegmentPasses passes_;
  LobeTable lobes_;
  std::vector<Sampler> samplers_;  // by thread
  AlignedBuffer logits_;           // [kLogitRows, padded vocabulary]

  // The step between Enqueue and Wait, and what Wait returned last.
  std::vector<StepItem> items_;
  std::vector<size_t> staged_;  // indices of the items that run, in the order of their rows
  std::vector<TokenId> tokens_;
  std::vector<SequenceRows> sequences_;
  std::vector<int32_t> slot_taken_;  // [slots]: 1 + the item that has the slot, 0: free
  std::vector<OutputRow> output_rows_;
  std::vector<int64_t> row_indices_;  // [kLogitRows]
  StepResult result_;
};

}  // namespace ela

#endif  // ELA_MODEL_LANGUAGE_CPU_WORKER_H_
