#include <algorithm>
#include <utility>

#include "model/language/worker_factory.h"
#include "model/status_macros.h"
#include "scheduler/prompt_cursor.h"
#include "tests/golden_paths.h"

namespace ela::golden {
namespace {

constexpr int64_t kChunk = 512;

class ServingModel : public Model {
 public:
  explicit ServingModel(std::unique_ptr<Worker> worker) : worker_(std::move(worker)) {}

  absl::StatusOr<std::vector<float>> Logits(const Case& input) override {
    ELA_RETURN_IF_ERROR(worker_->ResetSlot(0, ""));
    std::vector<int64_t> lengths;
    std::vector<SegmentKind> kinds;
    for (const Segment& segment : input.segments) {
      lengths.push_back(segment.length);
      kinds.push_back(segment.generated ? SegmentKind::kGenerated : SegmentKind::kPrompt);
    }
    const WorkerInfo& info = worker_->Info();
    const absl::Span<const TokenId> tokens = input.token_ids;
    ELA_ASSIGN_OR_RETURN(PromptCursor cursor,
                         PromptCursor::Create(static_cast<int64_t>(tokens.size()), lengths, kinds,
                                              info.segment_passes, info.max_segment_tokens));
    std::vector<float> logits;
    while (!cursor.done()) {
      const int64_t n = std::min(kChunk, cursor.left_in_pass());
      StepItem item;
      item.tokens = tokens.subspan(cursor.position(), n);
      item.first_position = cursor.position();
      item.segment = cursor.segment();
      item.output = cursor.in_output_pass() ? OutputMode::kEvery : OutputMode::kNone;
      item.logits = true;
      worker_->Enqueue({&item, 1});
      const StepOutput& output = worker_->Wait().items[0];
      ELA_RETURN_IF_ERROR(output.status);
      logits.insert(logits.end(), output.logits.begin(), output.logits.end());
      cursor.Advance(n);
    }
    return logits;
  }

 private:
  const std::unique_ptr<Worker> worker_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> LoadServingModel(const std::string& directory) {
  return LoadServingModelOn("", directory);
}

absl::StatusOr<std::unique_ptr<Model>> LoadServingModelOn(const std::string& kernels,
                                                          const std::string& directory) {
  LanguageWorkerOptions options;
  options.directory = directory;
  options.num_slots = 1;
  options.max_step_tokens = kChunk;
  options.num_threads = 1;
  options.kernels = kernels;
  ELA_ASSIGN_OR_RETURN(auto worker, CreateLanguageWorker(options));
  return std::unique_ptr<Model>(new ServingModel(std::move(worker)));
}

}  // namespace ela::golden
