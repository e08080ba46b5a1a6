// The row-wise steps of a layer: normalisation, rotation, convolution, gates, routing, and the sums
// of the sampler. Internal linkage, see simd.h.
#ifndef ELA_MODEL_KERNELS_ROWS_H_
#define ELA_MODEL_KERNELS_ROWS_H_

#include <cstdint>
#include <cstring>

#include "model/kernels/elementary.h"
#include "model/kernels/simd.h"

namespace ela {
namespace {

template <class V>
void RmsNorm(int64_t m, int64_t d, const float* x, int64_t ldx, const float* gain, float eps,
             float* y, int64_t ldy) {
  for (int64_t r = 0; r < m; ++r, x += ldx, y += ldy) {
    const float square = Sum16<V>(d, [&](auto sum, int64_t i) {
      using T = decltype(sum);
      const T value = T::Load(x + i);
      return Fma(value, value, sum);
    });
    const float scale = 1.0f / __builtin_sqrtf(square / static_cast<float>(d) + eps);
    ForLanes<V>(d, [&](auto tag, int64_t i) {
      using T = decltype(tag);
      (T::Load(x + i) * T::Set(scale) * T::Load(gain + i)).Store(y + i);
    });
  }
}

inline void RopeAngles(int64_t position, int64_t pairs, const double* frequency, float* cosine,
                       float* sine) {
  for (int64_t i = 0; i < pairs; ++i) {
    double s, c;
    SinCos(static_cast<double>(position) * frequency[i], &s, &c);
    sine[i] = static_cast<float>(s);
    cosine[i] = static_cast<float>(c);
  }
}

inline void Rope(int64_t heads, int64_t width, const float* cosine, const float* sine, float scale,
                 float* row) {
  if (cosine == nullptr) {
    if (scale == 1.0f) return;
    for (int64_t i = 0; i < heads * width; ++i) row[i] *= scale;
    return;
  }
  for (int64_t h = 0; h < heads; ++h, row += width) {
    for (int64_t i = 0; i < width / 2; ++i) {
      const float even = row[2 * i], odd = row[2 * i + 1];
      row[2 * i] = (even * cosine[i] - odd * sine[i]) * scale;
      row[2 * i + 1] = (even * sine[i] + odd * cosine[i]) * scale;
    }
  }
}

template <class V>
void Convolve(int64_t m, int64_t d, int64_t window, const float* weight, const float* rows,
              int64_t ld, float* y, int64_t ldy) {
  for (int64_t r = 0; r < m; ++r, rows += ld, y += ldy) {
    ForLanes<V>(d, [&](auto tag, int64_t i) {
      using T = decltype(tag);
      T sum = T::Load(weight + i) * T::Load(rows + i);
      for (int64_t j = 1; j < window; ++j) {
        sum = Fma(T::Load(weight + j * d + i), T::Load(rows + j * ld + i), sum);
      }
      sum.Store(y + i);
    });
  }
}

template <class V>
void LogDecay(int64_t m, int64_t d, const float* bias, float* g, int64_t ldg) {
  for (int64_t r = 0; r < m; ++r, g += ldg) {
    ForLanes<V>(d, [&](auto tag, int64_t i) {
      using T = decltype(tag);
      const T value = LogSigmoid(T::Load(g + i) + T::Load(bias + i));
      Max(value * T::Set(0.25f), T::Set(-0.6f)).Store(g + i);
    });
  }
}

template <class V>
void Gate(int64_t m, int64_t d, const float* gate, int64_t ldgate, float* y, int64_t ldy) {
  for (int64_t r = 0; r < m; ++r, gate += ldgate, y += ldy) {
    ForLanes<V>(d, [&](auto tag, int64_t i) {
      using T = decltype(tag);
      (T::Load(y + i) * Silu(T::Load(gate + i))).Store(y + i);
    });
  }
}

template <class V>
void SwiGlu(int64_t m, int64_t h, const float* x, int64_t ldx, float* y, int64_t ldy) {
  for (int64_t r = 0; r < m; ++r, x += ldx, y += ldy) {
    ForLanes<V>(h, [&](auto tag, int64_t i) {
      using T = decltype(tag);
      (Silu(T::Load(x + i)) * T::Load(x + h + i)).Store(y + i);
    });
  }
}

template <class V>
float MaxOf(int64_t n, const float* x) {
  return MaxOver<V>(n, -__builtin_inff(),
                    [&](auto tag, int64_t i) { return decltype(tag)::Load(x + i); });
}

template <class V>
float SumExp(int64_t n, const float* x, float shift, float scale, float* terms) {
  return Sum16<V>(n, [&](auto sum, int64_t i) {
    using T = decltype(sum);
    const T term = Exp((T::Load(x + i) - T::Set(shift)) * T::Set(scale));
    if (terms != nullptr) term.Store(terms + i);
    return sum + term;
  });
}

template <class V>
void Route(int64_t experts, int64_t k, float* scores, const float* bias, int32_t* chosen,
           float* weights) {
  for (int64_t e = 0; e < experts; ++e) scores[e] += bias[e];
  const float total = SumExp<V>(experts, scores, MaxOf<V>(experts, scores), 1.0f, scores);
  float sum = 0.0f;
  for (int64_t rank = 0; rank < k; ++rank) {
    int32_t best = -1;
    for (int64_t e = 0; e < experts; ++e) {
      bool taken = false;
      for (int64_t r = 0; r < rank; ++r) taken = taken || chosen[r] == e;
      if (!taken && (best < 0 || scores[e] > scores[best])) best = static_cast<int32_t>(e);
    }
    chosen[rank] = best;
    weights[rank] = scores[best] / total;
    sum += weights[rank];
  }
  for (int64_t rank = 0; rank < k; ++rank) weights[rank] = weights[rank] / (sum + 1e-8f);
}

template <class V>
void AddExpert(int64_t d, float w, const float* x, const float* b, bool inner, float* y) {
  ForLanes<V>(d, [&](auto tag, int64_t i) {
    using T = decltype(tag);
    const T weight = T::Set(w), out = T::Load(x + i), sum = T::Load(y + i);
    if (b == nullptr) {
      Fma(weight, out, sum).Store(y + i);
    } else if (inner) {
      Fma(weight, out + T::Load(b + i), sum).Store(y + i);
    } else {
      (Fma(weight, out, sum) + T::Load(b + i)).Store(y + i);
    }
  });
}

template <class V>
void Add(int64_t n, const float* a, const float* b, float* y) {
  ForLanes<V>(n, [&](auto tag, int64_t i) {
    using T = decltype(tag);
    const T sum = T::Load(y + i) + T::Load(a + i);
    (b == nullptr ? sum : sum + T::Load(b + i)).Store(y + i);
  });
}

// Exponent bits all set: infinity or NaN.
inline bool AllFinite(int64_t n, const float* x) {
  uint32_t bad = 0;
  for (int64_t i = 0; i < n; ++i) {
    bad |= static_cast<uint32_t>((Bits(x[i]) & 0x7f800000) == 0x7f800000);
  }
  return bad == 0;
}

inline float LogOf(float x) { return Log(F1{x}).v; }

}  // namespace
}  // namespace ela

#endif  // ELA_MODEL_KERNELS_ROWS_H_
