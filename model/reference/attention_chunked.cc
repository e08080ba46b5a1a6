// Within a chunk of T tokens the weights are one small product of features, Φ·Ψᵀ, masked to the
// past; what came before the chunk is one state S = Σ ψ(k_j)ᵀ v_j. So all chunks of all heads run
// as batched products, and only the states pass from chunk to chunk, by a short loop of additions.
#include <algorithm>
#include <limits>

#include "model/reference/attention.h"

namespace ela::reference {
namespace {

// [B, H, L, D] -> [B·H, N, T, D], the end padded: later positions are never seen by earlier ones.
at::Tensor Chunks(const at::Tensor& x, int64_t chunk, double fill = 0) {
  const int64_t length = x.size(2), padding = (chunk - length % chunk) % chunk;
  at::Tensor padded = x;
  if (padding > 0) padded = at::constant_pad_nd(x, {0, 0, 0, padding}, fill);
  return padded.reshape({x.size(0) * x.size(1), (length + padding) / chunk, chunk, x.size(3)});
}

// Φ·(what stands before the chunk, and the chunk's own past), numerator over denominator.
// phi, psi: [BH, N, T, F]; v: [BH, N, T, Dv]. carry: [BH, N, F], the factor by which the state
// before chunk n is scaled when chunk n begins (undefined: 1).
at::Tensor Combine(const at::Tensor& phi, const at::Tensor& psi, const at::Tensor& v,
                   const at::Tensor& carry) {
  const at::Tensor weights = at::matmul(phi, psi.transpose(2, 3)).tril();
  at::Tensor numerator = at::matmul(weights, v), denominator = weights.sum(-1);
  const int64_t chunks = phi.size(1);
  if (chunks == 1) return numerator / denominator.unsqueeze(-1);

  const std::vector<at::Tensor> sums = at::matmul(psi.transpose(2, 3), v).unbind(1);  // [BH, F, Dv]
  const std::vector<at::Tensor> counts = psi.sum(2).unbind(1);                        // [BH, F]
  std::vector<at::Tensor> carries;
  if (carry.defined()) carries = carry.unbind(1);
  at::Tensor sum = at::zeros_like(sums[0]), count = at::zeros_like(counts[0]);
  std::vector<at::Tensor> states{sum}, totals{count};
  for (int64_t n = 1; n < chunks; ++n) {
    sum = sum + sums[n - 1];
    count = count + counts[n - 1];
    if (carry.defined()) {
      sum = sum * carries[n].unsqueeze(-1);
      count = count * carries[n];
    }
    states.push_back(sum);
    totals.push_back(count);
  }
  numerator = numerator + at::matmul(phi, at::stack(states, 1));
  denominator = denominator + at::matmul(phi, at::stack(totals, 1).unsqueeze(-1)).squeeze(-1);
  return numerator / denominator.unsqueeze(-1);
}

// Scale of each chunk's features: the largest log weight per feature among the past, decayed to the
// chunk's start, and the chunk's own keys. The result does not depend on it, so it needs no
// gradient. key: k_j − G_j [BH, N, T, F]; total: the chunk's whole log decay [BH, N, F] or
// undefined. -> [BH, N, F]
at::Tensor Anchors(const at::Tensor& key, const at::Tensor& total) {
  const std::vector<at::Tensor> own = key.amax(2).unbind(1);
  std::vector<at::Tensor> anchors{own[0]};
  for (size_t n = 1; n < own.size(); ++n) {
    at::Tensor past = anchors.back();
    if (total.defined()) past = past + total.select(1, n - 1);
    anchors.push_back(at::maximum(past, own[n]));
  }
  return at::stack(anchors, 1);
}

at::Tensor ChunkedHadamard(const AttentionInputs& inputs, int64_t chunk) {
  // Padding keys weigh nothing: a 0 would raise the anchor above keys that are all very negative.
  at::Tensor q = Chunks(inputs.q, chunk);
  at::Tensor k = Chunks(inputs.k, chunk, -std::numeric_limits<double>::infinity());
  const at::Tensor v = Chunks(inputs.v, chunk);
  at::Tensor total;
  if (inputs.log_decay.defined()) {
    const at::Tensor decay = Chunks(inputs.log_decay, chunk);
    // The running sum as a product with a triangle of ones: faster both ways than cumsum over a
    // strided axis.
    const at::Tensor g = at::matmul(at::ones({chunk, chunk}, decay.options()).tril(), decay);
    total = g.select(2, chunk - 1);
    q = q + g;
    k = k - g;
  }
  at::Tensor anchor;
  {
    at::NoGradGuard no_grad;
    anchor = Anchors(k.detach(), total.defined() ? total.detach() : total);
  }
  at::Tensor before =
      anchor;  // what scales the state after the chunk: its decay keeps its gradient
  if (total.defined()) before = before + total;
  const int64_t chunks = anchor.size(1);
  const at::Tensor carry =
      at::cat({at::zeros_like(anchor.narrow(1, 0, 1)),
               (before.narrow(1, 0, chunks - 1) - anchor.narrow(1, 1, chunks - 1)).exp()},
              1);

  const at::Tensor psi = (k - anchor.unsqueeze(2)).exp();
  const at::Tensor query = q + anchor.unsqueeze(2);
  const at::Tensor phi = (query - query.detach().amax(-1, true)).exp();
  return Combine(phi, psi, v, carry);
}

at::Tensor Unit(const at::Tensor& x) {
  return x / x.norm(2, {-1}, /*keepdim=*/true).clamp_min(1e-12);
}

// φ and ψ of the kernels with plain sums (docs/model.md 1, table).
at::Tensor Phi(AttentionKernel kernel, const at::Tensor& q) {
  const at::Tensor square = q.square().sum(-1, true), one = at::ones_like(square);
  if (kernel == AttentionKernel::kDirMag) return at::cat({Unit(q), one}, -1) * (square + 1);
  return at::cat({q, square, one}, -1);
}
at::Tensor Psi(AttentionKernel kernel, const at::Tensor& k) {
  const at::Tensor square = k.square().sum(-1, true), one = at::ones_like(square);
  if (kernel == AttentionKernel::kDirMag) return at::cat({Unit(k), one}, -1) * (square + 1);
  return at::cat({kernel == AttentionKernel::kSumSq ? 2 * k : -2 * k, one, square}, -1);
}

}  // namespace

at::Tensor ChunkedAttention(AttentionKernel kernel, const AttentionInputs& inputs, int64_t chunk) {
  chunk = std::min(chunk, inputs.q.size(2));
  at::Tensor y;
  if (kernel == AttentionKernel::kHadamardExp) {
    y = ChunkedHadamard(inputs, chunk);
  } else {
    y = Combine(Phi(kernel, Chunks(inputs.q, chunk)), Psi(kernel, Chunks(inputs.k, chunk)),
                Chunks(inputs.v, chunk), at::Tensor());
  }
  const at::Tensor& v = inputs.v;
  y = y.reshape({v.size(0), v.size(1), -1, v.size(3)});
  return y.size(2) == v.size(2) ? y : y.narrow(2, 0, v.size(2));
}

}  // namespace ela::reference
