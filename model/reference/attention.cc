#include "model/reference/attention.h"

#include <algorithm>
#include <limits>

namespace ela::reference {
namespace {

// Rows per block: keeps the [rows, L, D] intermediate of 200 heads·positions in cache-sized pieces.
constexpr int64_t kRowsPerBlock = 32;

at::Tensor Unit(const at::Tensor& x) {  // the paper's â = a / max(‖a‖, 1e-12)
  return x / x.norm(2, {-1}, /*keepdim=*/true).clamp_min(1e-12);
}

// k(q_i, k_j) for the rows of q and all of k, [B, H, rows, L]; of hadamard_exp the logarithm.
at::Tensor Scores(AttentionKernel kernel, const at::Tensor& q, const at::Tensor& k) {
  const at::Tensor rows = q.unsqueeze(3), columns = k.unsqueeze(2);
  switch (kernel) {
    case AttentionKernel::kHadamardExp:
      return at::logsumexp(rows + columns, {-1});
    case AttentionKernel::kSumSq:
      return (rows + columns).square().sum(-1);
    case AttentionKernel::kSubSq:
      return (rows - columns).square().sum(-1);
    case AttentionKernel::kDirMag:
      break;
  }
  const at::Tensor cosine = (Unit(q).unsqueeze(3) * Unit(k).unsqueeze(2)).sum(-1);
  return (cosine + 1) * (rows.square().sum(-1) + 1) * (columns.square().sum(-1) + 1);
}

}  // namespace

Visibility CausalVisibility(int64_t length) {
  Visibility end(length);
  for (int64_t i = 0; i < length; ++i) end[i] = i + 1;
  return end;
}

at::Tensor QuadraticAttention(AttentionKernel kernel, const AttentionInputs& inputs,
                              const Visibility& visibility) {
  const int64_t length = inputs.q.size(2);
  at::Tensor q = inputs.q, k = inputs.k;
  if (inputs.log_decay.defined()) {  // q_i + k_j + sum of the decays of j+1..i
    const at::Tensor total = inputs.log_decay.cumsum(2);
    q = q + total;
    k = k - total;
  }
  const at::Tensor end = at::tensor(visibility, at::kLong).unsqueeze(1);
  std::vector<at::Tensor> blocks;
  for (int64_t first = 0; first < length; first += kRowsPerBlock) {
    const int64_t rows = std::min(kRowsPerBlock, length - first);
    const int64_t seen =
        *std::max_element(visibility.begin() + first, visibility.begin() + first + rows);
    const at::Tensor hidden = at::arange(seen).unsqueeze(0) >= end.narrow(0, first, rows);
    const at::Tensor v = inputs.v.narrow(2, 0, seen);
    at::Tensor scores = Scores(kernel, q.narrow(2, first, rows), k.narrow(2, 0, seen));
    if (kernel == AttentionKernel::kHadamardExp) {
      scores = scores.masked_fill(hidden, -std::numeric_limits<double>::infinity());
      blocks.push_back(at::matmul(at::softmax(scores, -1), v));
      continue;
    }
    scores = scores.masked_fill(hidden, 0);
    const at::Tensor all_zero = scores.sum(-1, true) == 0;
    scores = at::where(all_zero & ~hidden, at::ones_like(scores), scores);
    blocks.push_back(at::matmul(scores / scores.sum(-1, true), v));
  }
  return at::cat(blocks, 2);
}

}  // namespace ela::reference
