#include "model/reference/language_model.h"
#include "model/status_macros.h"
#include "tests/golden_paths.h"

namespace ela::golden {
namespace {

class TorchModel : public Model {
 public:
  explicit TorchModel(reference::LanguageModel model) : model_(std::move(model)) {}

  absl::StatusOr<std::vector<float>> Logits(const Case& input) override {
    at::NoGradGuard no_grad;
    std::vector<reference::Segment> segments;
    for (const Segment& segment : input.segments) {
      segments.push_back({segment.length, segment.generated});
    }
    const at::Tensor ids = at::tensor(input.token_ids, at::kInt).to(at::kLong).unsqueeze(0);
    const at::Tensor logits = model_.Logits(ids, segments, {}).contiguous();
    return std::vector<float>(logits.const_data_ptr<float>(),
                              logits.const_data_ptr<float>() + logits.numel());
  }

 private:
  const reference::LanguageModel model_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> LoadTorchModel(const std::string& directory) {
  ELA_ASSIGN_OR_RETURN(auto model, reference::LanguageModel::Load(directory, at::kFloat));
  return std::unique_ptr<Model>(new TorchModel(std::move(model)));
}

}  // namespace ela::golden
