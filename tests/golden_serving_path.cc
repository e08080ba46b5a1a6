#include <algorithm>
#include <utility>

#include "model/language/worker_factory.h"
#include "model/status_macros.h"
#include "tests/golden_paths.h"

namespace ela::golden {
namespace {

constexpr size_t kChunk = 512;

class ServingModel : public Model {
 public:
  explicit ServingModel(std::unique_ptr<Worker> worker) : worker_(std::move(worker)) {}

  absl::StatusOr<std::vector<float>> Logits(const Case& input) override {
    ELA_RETURN_IF_ERROR(worker_->ResetSlot(0, ""));
    std::vector<float> logits;
    const absl::Span<const TokenId> tokens = input.token_ids;
    for (size_t first = 0; first < tokens.size(); first += kChunk) {
      StepItem item;
      item.tokens = tokens.subspan(first, kChunk);
      item.first_position = static_cast<int64_t>(first);
      item.output = OutputMode::kEvery;
      item.logits = true;
      worker_->Enqueue({&item, 1});
      const StepOutput& output = worker_->Wait().items[0];
      ELA_RETURN_IF_ERROR(output.status);
      logits.insert(logits.end(), output.logits.begin(), output.logits.end());
    }
    return logits;
  }

 private:
  const std::unique_ptr<Worker> worker_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> LoadServingModel(const std::string& directory) {
  LanguageWorkerOptions options;
  options.directory = directory;
  options.num_slots = 1;
  options.max_step_tokens = kChunk;
  options.num_threads = 1;
  ELA_ASSIGN_OR_RETURN(auto worker, CreateLanguageWorker(options));
  return std::unique_ptr<Model>(new ServingModel(std::move(worker)));
}

}  // namespace ela::golden
