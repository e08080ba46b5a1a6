#include "model/reference/attention.h"

namespace ela::reference {
namespace {

at::Tensor Outer(const at::Tensor& a, const at::Tensor& b) {
  return a.unsqueeze(-1) * b.unsqueeze(-2);
}
at::Tensor Apply(const at::Tensor& row, const at::Tensor& matrix) {  // [.., F] · [.., F, Dv]
  return at::matmul(row.unsqueeze(-2), matrix).squeeze(-2);
}
at::Tensor NormSquared(const at::Tensor& x) { return x.square().sum(-1, true); }

// Per feature: m, the largest log weight; c, the sum of weights relative to it; mean, the weighted
// mean of v.
struct HadamardState {
  at::Tensor m, c, mean;

  void Absorb(const at::Tensor& k, const at::Tensor& v, const at::Tensor& decay) {
    if (!m.defined()) {
      m = k;
      c = at::ones_like(k);
      mean = v.unsqueeze(-2).expand({k.size(0), k.size(1), k.size(2), v.size(2)}).clone();
      return;
    }
    const at::Tensor past = decay.defined() ? m + decay : m;
    const at::Tensor largest = at::maximum(past, k), weight = (k - largest).exp();
    c = (past - largest).exp() * c + weight;
    mean = mean + (weight / c).unsqueeze(-1) * (v.unsqueeze(-2) - mean);
    m = largest;
  }
  at::Tensor Query(const at::Tensor& q) const {
    return Apply(at::softmax(q + m + c.log(), -1), mean);
  }
};

// Centred moments of the squared kernels; sign +1 for sum_sq, −1 for sub_sq.
struct MomentState {
  explicit MomentState(double sign) : sign(sign) {}

  double sign;
  double n = 0;
  at::Tensor key, value, cov, spread, skew;  // k̄, v̄, Cov, Q, T

  void Absorb(const at::Tensor& k, const at::Tensor& v) {
    if (n == 0) {
      key = at::zeros_like(k);
      value = at::zeros_like(v);
      cov = Outer(key, value);
      spread = NormSquared(key);
      skew = at::zeros_like(v);
    }
    const double a = 1 / (n + 1), g = n * a;
    const at::Tensor dk = k - key, du = v - value, h = a * dk, u = a * du;
    skew = g * (skew - 2 * Apply(h, cov) - spread * u - NormSquared(h) * u) +
           a * g * g * g * NormSquared(dk) * du;
    cov = g * (cov + a * Outer(dk, du));
    spread = g * (spread + a * NormSquared(dk));
    key = key + h;
    value = value + u;
    n += 1;
  }
  at::Tensor Query(const at::Tensor& q) const {
    const at::Tensor z = q + sign * key, denominator = NormSquared(z) + spread;
    const at::Tensor shift = (2 * sign * Apply(z, cov) + skew) / denominator;
    return value + at::where(denominator == 0, at::zeros_like(shift), shift);
  }
};

struct DirectionState {
  at::Tensor total, key, value, cov;  // W, mean of k̂, v̄, Cov, all weighted with ‖k‖²+1

  static at::Tensor Unit(const at::Tensor& x) {
    return x / x.norm(2, {-1}, /*keepdim=*/true).clamp_min(1e-12);
  }
  void Absorb(const at::Tensor& k, const at::Tensor& v) {
    const at::Tensor weight = NormSquared(k) + 1, unit = Unit(k);
    if (!total.defined()) {
      total = weight;
      key = unit;
      value = v;
      cov = at::zeros_like(Outer(unit, v));
      return;
    }
    total = total + weight;
    const at::Tensor a = weight / total;
    cov = (1 - a).unsqueeze(-1) * (cov + a.unsqueeze(-1) * Outer(unit - key, v - value));
    key = key + a * (unit - key);
    value = value + a * (v - value);
  }
  at::Tensor Query(const at::Tensor& q) const {
    const at::Tensor unit = Unit(q), denominator = 1 + (unit * key).sum(-1, true);
    const at::Tensor shift = Apply(unit, cov) / denominator;
    return value + at::where(denominator == 0, at::zeros_like(shift), shift);
  }
};

template <typename Absorb, typename Query>
at::Tensor Scan(const AttentionInputs& inputs, const Absorb& absorb, const Query& query) {
  std::vector<at::Tensor> rows;
  for (int64_t i = 0; i < inputs.q.size(2); ++i) {
    absorb(i);
    rows.push_back(query(inputs.q.select(2, i)));
  }
  return at::stack(rows, 2);
}

}  // namespace

at::Tensor RecurrentAttention(AttentionKernel kernel, const AttentionInputs& inputs) {
  at::NoGradGuard no_grad;
  const auto k = [&](int64_t i) { return inputs.k.select(2, i); };
  const auto v = [&](int64_t i) { return inputs.v.select(2, i); };
  if (kernel == AttentionKernel::kHadamardExp) {
    HadamardState state;
    const auto decay = [&](int64_t i) {
      return inputs.log_decay.defined() ? inputs.log_decay.select(2, i) : at::Tensor();
    };
    return Scan(
        inputs, [&](int64_t i) { state.Absorb(k(i), v(i), decay(i)); },
        [&](const at::Tensor& q) { return state.Query(q); });
  }
  if (kernel == AttentionKernel::kDirMag) {
    DirectionState state;
    return Scan(
        inputs, [&](int64_t i) { state.Absorb(k(i), v(i)); },
        [&](const at::Tensor& q) { return state.Query(q); });
  }
  MomentState state(kernel == AttentionKernel::kSumSq ? 1.0 : -1.0);
  return Scan(
      inputs, [&](int64_t i) { state.Absorb(k(i), v(i)); },
      [&](const at::Tensor& q) { return state.Query(q); });
}

}  // namespace ela::reference
