#include "model/train/next_token_loss.h"

#include <algorithm>

namespace ela::train {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kRows = 512;  // logits of 512 rows and 6,400 tokens: 13 MB, within L3

struct LossAndGradients {
  at::Tensor loss, dhidden, dembedding;
};

LossAndGradients Compute(const at::Tensor& hidden, const at::Tensor& embedding,
                         const at::Tensor& targets, bool low_precision, bool want_gradients) {
  const int64_t n = hidden.size(0);
  const at::ScalarType type = hidden.scalar_type();
  const at::ScalarType operand = low_precision ? at::kBFloat16 : type;
  const at::Tensor x = hidden.to(operand), e = embedding.to(operand);
  LossAndGradients result;
  result.loss = at::zeros({}, hidden.options());
  if (want_gradients) {
    result.dhidden = at::empty_like(hidden);
    result.dembedding = at::zeros_like(embedding);
  }
  for (int64_t first = 0; first < n; first += kRows) {
    const int64_t rows = std::min(kRows, n - first);
    const at::Tensor part = x.narrow(0, first, rows);
    const at::Tensor target = targets.narrow(0, first, rows).unsqueeze(1);
    at::Tensor p = at::log_softmax(at::linear(part, e).to(type), -1);
    result.loss -= p.gather(1, target).sum();
    if (!want_gradients) continue;
    p.exp_();
    p.scatter_add_(1, target, at::full({rows, 1}, -1.0, p.options()));
    p.mul_(1.0 / n);
    const at::Tensor dlogits = p.to(operand);
    result.dhidden.narrow(0, first, rows).copy_(at::matmul(dlogits, e));
    result.dembedding += at::matmul(dlogits.t(), part);
  }
  result.loss /= static_cast<double>(n);
  return result;
}

struct NextTokenLossFunction : torch::autograd::Function<NextTokenLossFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& hidden,
                            const at::Tensor& embedding, const at::Tensor& targets,
                            bool low_precision) {
    LossAndGradients result = Compute(hidden, embedding, targets, low_precision, true);
    context->save_for_backward({result.dhidden, result.dembedding});
    return result.loss;
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    return {saved[0] * gradients[0], saved[1] * gradients[0], {}, {}};
  }
};

}  // namespace

at::Tensor NextTokenLoss(const at::Tensor& hidden, const at::Tensor& embedding,
                         const at::Tensor& targets, reference::Precision precision) {
  const bool low = precision == reference::Precision::kBFloat16;
  if (!at::GradMode::is_enabled()) return Compute(hidden, embedding, targets, low, false).loss;
  return NextTokenLossFunction::apply(hidden, embedding, targets, low);
}

}  // namespace ela::train
