// hadamard_exp attention over all positions of a map, without a mask: the paper's
//   y_i = sum_d phi_id (sum_j psi_jd v_j) / sum_d phi_id (sum_j psi_jd), phi = exp(q), psi = exp(k)
// as two softmaxes, so that no exponential of a large number is ever taken. With m_d = max_j k_jd
// and c_d = sum_j exp(k_jd - m_d),
//   M_d = sum_j exp(k_jd - m_d) v_j / c_d           (softmax over positions, per feature)
//   y_i = sum_d w_id M_d / sum_d w_id,  w_id = c_d exp(q_id + m_d - max_d (q_id + m_d)).
// q + m is kept as a rounded sum and its rounding error: at |q|, |k| = 1e4 one rounding alone would
// cost 5e-4. Sums over positions go in blocks of 32, joined block by block. Internal linkage, see
// simd.h.
#ifndef ELA_MODEL_KERNELS_GLOBAL_ATTENTION_H_
#define ELA_MODEL_KERNELS_GLOBAL_ATTENTION_H_

#include <algorithm>
#include <cstdint>

#include "model/kernels/convolution.h"
#include "model/kernels/elementary.h"
#include "model/kernels/simd.h"

namespace ela {
namespace {

template <class V>
class GlobalAttention {
 public:
  static void Run(int64_t positions, int64_t heads, int64_t width, const float* qkv, float* y,
                  float* scratch) {
    const int64_t row = heads * width;
    for (int64_t head = 0; head < heads; ++head) {
      const float* q = qkv + head * width;
      const Head state = {positions,
                          width,
                          3 * row,
                          q + row,
                          q + 2 * row,
                          scratch,
                          scratch + width,
                          scratch + 2 * width,
                          scratch + 3 * width,
                          scratch + 4 * width,
                          scratch + (4 + kRun) * width};
      Gather(state);
      for (int64_t i = 0; i < positions; ++i) {
        Answer(state, q + i * 3 * row, y + i * row + head * width);
      }
    }
  }

 private:
  static constexpr int64_t kRun = 32;  // positions of a block

  struct Head {
    int64_t positions, width;
    int64_t stride;  // from one position's keys to the next one's
    const float* keys;
    const float* values;
    float* max;    // m: [width]
    float* mass;   // c: [width]
    float* low;    // [width]
    float* high;   // [width]
    float* share;  // [32, width]
    float* mean;   // M: [width, width]
  };

  static void Gather(const Head& h) {
    ForLanes<V>(h.width, [&](auto tag, int64_t d) {
      using T = decltype(tag);
      T largest = T::Load(h.keys + d);
      for (int64_t j = 1; j < h.positions; ++j) {
        largest = Max(T::Load(h.keys + j * h.stride + d), largest);
      }
      largest.Store(h.max + d);
      T::Set(0.0f).Store(h.mass + d);
    });
    std::fill(h.mean, h.mean + h.width * h.width, 0.0f);
    for (int64_t first = 0; first < h.positions; first += kRun) {
      const int64_t run = std::min(kRun, h.positions - first);
      ForLanes<V>(h.width, [&](auto tag, int64_t d) {
        using T = decltype(tag);
        T total = T::Set(0.0f);
        for (int64_t j = 0; j < run; ++j) {
          const T key = T::Load(h.keys + (first + j) * h.stride + d);
          const T share = Exp(key - T::Load(h.max + d));
          share.Store(h.share + j * h.width + d);
          total = total + share;
        }
        (T::Load(h.mass + d) + total).Store(h.mass + d);
      });
      const float* values = h.values + first * h.stride;
      for (int64_t d = 0; d < h.width; ++d) {
        ForLanes<V>(h.width, [&](auto tag, int64_t column) {
          using T = decltype(tag);
          T sum = T::Set(0.0f);
          for (int64_t j = 0; j < run; ++j) {
            sum =
                Fma(T::Set(h.share[j * h.width + d]), T::Load(values + j * h.stride + column), sum);
          }
          float* mean = h.mean + d * h.width + column;
          (T::Load(mean) + sum).Store(mean);
        });
      }
    }
    for (int64_t d = 0; d < h.width; ++d) {
      ForLanes<V>(h.width, [&](auto tag, int64_t column) {
        using T = decltype(tag);
        float* mean = h.mean + d * h.width + column;
        (T::Load(mean) / T::Set(h.mass[d])).Store(mean);
      });
    }
  }

  static void Answer(const Head& h, const float* q, float* y) {
    ForLanes<V>(h.width, [&](auto tag, int64_t d) {
      using T = decltype(tag);
      const T a = T::Load(q + d), b = T::Load(h.max + d);
      const T sum = a + b, other = sum - a;
      ((a - (sum - other)) + (b - other)).Store(h.low + d);
      sum.Store(h.high + d);
    });
    const float largest = MaxOver<V>(h.width, -__builtin_inff(), [&](auto tag, int64_t d) {
      return decltype(tag)::Load(h.high + d);
    });
    ForLanes<V>(h.width, [&](auto tag, int64_t d) {
      using T = decltype(tag);
      const T exponent = (T::Load(h.high + d) - T::Set(largest)) + T::Load(h.low + d);
      (Exp(exponent) * T::Load(h.mass + d)).Store(h.high + d);
    });
    const float total = Sum16<V>(
        h.width, [&](auto sum, int64_t d) { return sum + decltype(sum)::Load(h.high + d); });
    ForLanes<V>(h.width, [&](auto tag, int64_t column) {
      using T = decltype(tag);
      T sum = T::Set(0.0f);
      for (int64_t d = 0; d < h.width; ++d) {
        sum = Fma(T::Set(h.high[d]), T::Load(h.mean + d * h.width + column), sum);
      }
      (sum / T::Set(total)).Store(y + column);
    });
  }
};

}  // namespace
}  // namespace ela

#endif  // ELA_MODEL_KERNELS_GLOBAL_ATTENTION_H_
