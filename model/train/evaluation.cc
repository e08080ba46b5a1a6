#include "model/train/evaluation.h"

#include <cmath>

#include "model/train/next_token_loss.h"

namespace ela::train {

BitsPerByte Evaluate(const reference::LanguageModel& model, const std::vector<Document>& documents,
                     reference::Precision precision, int64_t max_tokens) {
  at::NoGradGuard no_grad;
  const reference::ComputeOptions options{reference::AttentionForm::kChunked, precision};
  BitsPerByte result;
  for (const Document& document : documents) {
    if (result.tokens >= max_tokens) break;
    const int64_t predicted = static_cast<int64_t>(document.tokens.size()) - 1;
    ++result.documents;
    result.bytes += document.num_bytes;
    if (predicted == 0) continue;
    const at::Tensor ids = at::tensor(document.tokens, at::kInt).to(at::kLong);
    const at::Tensor hidden =
        model.Hidden(ids.narrow(0, 0, predicted).unsqueeze(0), {}, options).hidden.squeeze(0);
    const at::Tensor nats =
        NextTokenLoss(hidden, model.embedding(), ids.narrow(0, 1, predicted), precision);
    result.bits += nats.item<double>() * static_cast<double>(predicted) / std::log(2.0);
    result.tokens += predicted;
  }
  return result;
}

}  // namespace ela::train
