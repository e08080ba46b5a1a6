// One attention head on its own: its memory, its inputs, its definition in float64.
#ifndef ELA_TESTS_MODEL_ATTENTION_RIG_H_
#define ELA_TESTS_MODEL_ATTENTION_RIG_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "model/config.h"
#include "model/kernels/aligned_buffer.h"
#include "model/kernels/generic_attention.h"
#include "model/kernels/kernels.h"
#include "model/language/state_layout.h"

namespace ela {

inline float Uniform(std::mt19937* bits, float scale) {
  return scale * (static_cast<float>((*bits)() >> 8) * 0x1p-23f - 1.0f);
}

inline std::vector<float> RandomRows(std::mt19937* bits, int64_t n, float scale) {
  std::vector<float> x(n);
  for (float& value : x) value = Uniform(bits, scale);
  return x;
}

// Inputs of T tokens, row-major [T, D].
struct HeadInputs {
  int64_t width = 0;
  std::vector<float> q, k, v;
  std::vector<float> g;  // log decays; empty: none

  int64_t tokens() const { return static_cast<int64_t>(q.size()) / width; }
};

inline HeadInputs RandomInputs(std::mt19937* bits, int64_t tokens, int64_t width, float scale,
                               bool decay) {
  HeadInputs inputs;
  inputs.width = width;
  inputs.q = RandomRows(bits, tokens * width, scale);
  inputs.k = RandomRows(bits, tokens * width, scale);
  inputs.v = RandomRows(bits, tokens * width, 2.0f);
  if (decay) {
    inputs.g = RandomRows(bits, tokens * width, 0.3f);
    for (float& value : inputs.g) value -= 0.3f;
  }
  return inputs;
}

class HeadRig {
 public:
  HeadRig(const Kernels& kernels, AttentionKernel kernel, int64_t width, bool decay)
      : kernels_(kernels.attention[static_cast<int>(kernel)]),
        layout_(Config(kernel, width, decay)),
        memory_(layout_.slot_bytes() / sizeof(float)),
        scratch_(AttentionScratch(width, width)) {}

  HeadState state() {
    return layout_.View(reinterpret_cast<char*>(memory_.get()), 0, layout_.attention(), 0);
  }
  void Restart() { position_ = 0; }
  int64_t position() const { return position_; }

  // Absorbs inputs [begin, begin + n) and returns their outputs, [n, D].
  std::vector<float> Run(const HeadInputs& inputs, int64_t begin, int64_t n) {
    std::vector<float> y(n * inputs.width);
    RunInto(inputs, begin, n, y.data());
    return y;
  }

  void RunInto(const HeadInputs& inputs, int64_t begin, int64_t n, float* y) {
    const int64_t d = inputs.width;
    const HeadState head = state();
    for (int64_t i = 0; i < n;) {
      const int t = static_cast<int>(position_ % kBlock);
      const int64_t merged = position_ - t;
      const int count = static_cast<int>(std::min<int64_t>(kBlock - t, n - i));
      const int64_t at = (begin + i) * d;
      kernels_.append(head, merged, t, count, &inputs.k[at], d, &inputs.v[at], d,
                      inputs.g.empty() ? nullptr : &inputs.g[at], d, scratch_.get());
      kernels_.attend(head, merged, t, count, &inputs.q[at], d, y + i * d, d, scratch_.get());
      if (t + count == kBlock) kernels_.merge(head, merged, scratch_.get());
      i += count;
      position_ += count;
    }
  }

  // Outputs of n <= 16 queries [n, D] that see all that was absorbed.
  std::vector<float> Query(const float* q, int n) {
    const int64_t d = layout_.attention().width;
    const int tail = static_cast<int>(position_ % kBlock);
    std::vector<float> y(n * d);
    kernels_.query(state(), position_ - tail, tail, n, q, d, y.data(), d, scratch_.get());
    return y;
  }

 private:
  static LanguageConfig Config(AttentionKernel kernel, int64_t width, bool decay) {
    LanguageConfig config;
    config.hidden_size = width;
    config.num_hidden_layers = 1;
    config.num_attention_heads = 1;
    config.attention_kernel = kernel;
    if (decay) config.decay = Decay::kGated;
    return config;
  }

  const AttentionKernels kernels_;
  const StateLayout layout_;
  AlignedBuffer memory_;
  AlignedBuffer scratch_;
  int64_t position_ = 0;
};

// The definition, quadratic and in float64: the output of token `row`, [D]. Scores of hadamard_exp
// are taken relative to the largest, so that no finite input overflows.
inline std::vector<double> Definition(AttentionKernel kernel, const HeadInputs& inputs,
                                      int64_t row) {
  const int64_t d = inputs.width;
  const float* q = &inputs.q[row * d];
  const bool hadamard = kernel == AttentionKernel::kHadamardExp;
  std::vector<double> decay(d), exponents((row + 1) * d), weights(row + 1);
  double shift = -1e300;
  for (int64_t j = row; hadamard && j >= 0; --j) {
    for (int64_t i = 0; i < d; ++i) {
      const double e = double{q[i]} + double{inputs.k[j * d + i]} + decay[i];
      exponents[j * d + i] = e;
      shift = std::max(shift, e);
      if (!inputs.g.empty()) decay[i] += double{inputs.g[j * d + i]};
    }
  }
  double qq = 0;
  for (int64_t i = 0; i < d; ++i) qq += double{q[i]} * q[i];
  double total = 0, plain_total = 0;
  std::vector<double> plain(row + 1);  // weights where every kernel value is 0
  for (int64_t j = 0; j <= row; ++j) {
    const float* k = &inputs.k[j * d];
    double kk = 0, dot = 0, sum = 0, difference = 0, exponential = 0;
    for (int64_t i = 0; i < d; ++i) {
      kk += double{k[i]} * k[i];
      dot += double{q[i]} * k[i];
      sum += (double{q[i]} + k[i]) * (double{q[i]} + k[i]);
      difference += (double{q[i]} - k[i]) * (double{q[i]} - k[i]);
      if (hadamard) exponential += std::exp(exponents[j * d + i] - shift);
    }
    const double cosine = dot / (std::max(std::sqrt(qq), 1e-12) * std::max(std::sqrt(kk), 1e-12));
    switch (kernel) {
      case AttentionKernel::kHadamardExp:
        weights[j] = exponential;
        break;
      case AttentionKernel::kSumSq:
        weights[j] = sum;
        break;
      case AttentionKernel::kSubSq:
        weights[j] = difference;
        break;
      case AttentionKernel::kDirMag:
        weights[j] = (cosine + 1) * (kk + 1);
        break;
    }
    total += weights[j];
    plain[j] = kernel == AttentionKernel::kDirMag ? kk + 1 : 1;
    plain_total += plain[j];
  }
  std::vector<double> y(d);
  for (int64_t j = 0; j <= row; ++j) {
    const double weight = total > 0 ? weights[j] / total : plain[j] / plain_total;
    for (int64_t i = 0; i < d; ++i) y[i] += weight * inputs.v[j * d + i];
  }
  return y;
}

// The kernels as feature maps, k(a, b) = phi(a)·psi(b) (docs/model.md 1, the table of kernels).
inline FeatureMaps MapsOf(AttentionKernel kernel, int64_t width) {
  const auto square = [](absl::Span<const double> x) {
    double sum = 0;
    for (double value : x) sum += value * value;
    return sum;
  };
  FeatureMaps maps;
  if (kernel == AttentionKernel::kHadamardExp) {
    maps.features = width;
    maps.phi = [](absl::Span<const double> a, absl::Span<double> f) {
      for (size_t i = 0; i < a.size(); ++i) f[i] = std::exp(a[i]);
    };
    maps.psi = maps.phi;
    return maps;
  }
  if (kernel == AttentionKernel::kDirMag) {
    maps.features = width + 1;
    maps.phi = [square](absl::Span<const double> a, absl::Span<double> f) {
      const double norm = std::max(std::sqrt(square(a)), 1e-12), magnitude = square(a) + 1;
      for (size_t i = 0; i < a.size(); ++i) f[i] = magnitude * a[i] / norm;
      f[a.size()] = magnitude;
    };
    maps.psi = maps.phi;
    return maps;
  }
  const double sign = kernel == AttentionKernel::kSumSq ? 1 : -1;
  maps.features = width + 2;
  maps.phi = [square](absl::Span<const double> a, absl::Span<double> f) {
    std::copy(a.begin(), a.end(), f.begin());
    f[a.size()] = square(a);
    f[a.size() + 1] = 1;
  };
  maps.psi = [square, sign](absl::Span<const double> b, absl::Span<double> f) {
    for (size_t i = 0; i < b.size(); ++i) f[i] = sign * 2 * b[i];
    f[b.size()] = 1;
    f[b.size() + 1] = square(b);
  };
  return maps;
}

// Largest difference between `y` ([n, D], of tokens [begin, begin + n)) and the definition.
inline double WorstError(AttentionKernel kernel, const HeadInputs& inputs, int64_t begin,
                         const std::vector<float>& y) {
  double worst = 0;
  for (int64_t i = 0; i * inputs.width < static_cast<int64_t>(y.size()); ++i) {
    const std::vector<double> want = Definition(kernel, inputs, begin + i);
    for (int64_t c = 0; c < inputs.width; ++c) {
      const double error = std::abs(y[i * inputs.width + c] - want[c]);
      worst = std::isnan(error) ? INFINITY : std::max(worst, error);
    }
  }
  return worst;
}

}  // namespace ela

#endif  // ELA_TESTS_MODEL_ATTENTION_RIG_H_
