// k(q, k) = sum_d exp(q_d + k_d), with or without decay, in the block form of docs/model.md 1.
// Per feature d the base keeps m = the largest exponent, c = the sum of exp(k - m), A = the
// weighted mean of the values. Exponents of a block are taken relative to an anchor that the base
// and the block's first key fix; a later key that rises more than 32 above it is "direct": its
// score is summed with a shift of its own, so nothing overflows. Internal linkage, see simd.h.
#ifndef ELA_MODEL_KERNELS_HADAMARD_EXP_H_
#define ELA_MODEL_KERNELS_HADAMARD_EXP_H_

#include <cstdint>
#include <cstring>

#include "model/kernels/elementary.h"
#include "model/kernels/kernels.h"
#include "model/kernels/tile.h"

namespace ela {
namespace {

constexpr float kDirectAbove = 32.0f;

inline void CopyRow(const float* from, int64_t n, float* to) {
  std::memcpy(to, from, static_cast<size_t>(n) * sizeof(float));
}

template <class V>
struct HadamardExp {
  // k_j - G_j, the exponent of a tail key relative to the block's start.
  template <class T>
  static T Exponent(const HeadState& head, int j, int64_t d) {
    const T key = T::Load(head.keys + j * head.key_stride + d);
    return head.decays == nullptr ? key : key - T::Load(head.decays + j * head.key_stride + d);
  }

  static void Append(const HeadState& head, int64_t merged, int t, int n, const float* k,
                     int64_t ldk, const float* v, int64_t ldv, const float* g, int64_t ldg,
                     float* scratch) {
    for (int i = 0; i < n; ++i) {
      const int j = t + i;
      CopyRow(k + i * ldk, head.width, head.keys + j * head.key_stride);
      CopyRow(v + i * ldv, head.value_width, head.values + j * head.value_stride);
      if (head.decays != nullptr) {
        float* sum = head.decays + j * head.key_stride;
        const float* step = g + i * ldg;
        for (int64_t d = 0; d < head.width; ++d) {
          sum[d] = j == 0 ? step[d] : sum[d - head.key_stride] + step[d];
        }
      }
      AddFeatures(head, merged, j, scratch);
    }
  }

  static void Derive(const HeadState& head, int64_t merged, int n, float* scratch) {
    for (int j = 0; j < n; ++j) AddFeatures(head, merged, j, scratch);
  }

  static void AddFeatures(const HeadState& head, int64_t merged, int j, float* scratch) {
    if (j == 0) {
      *head.direct = 0;
      ForLanes<V>(head.width, [&](auto tag, int64_t d) {
        using T = decltype(tag);
        const T first = Exponent<T>(head, 0, d);
        (merged == 0 ? first : Max(T::Load(head.row_max + d), first)).Store(head.anchor + d);
      });
    }
    const auto relative = [&](auto tag, int64_t d) {
      using T = decltype(tag);
      return Exponent<T>(head, j, d) - T::Load(head.anchor + d);
    };
    ForLanes<V>(head.width, [&](auto tag, int64_t d) { Exp(relative(tag, d)).Store(scratch + d); });
    for (int64_t d = 0; d < head.width; ++d) head.features[d * kBlock + j] = scratch[d];
    const float largest = MaxOver<V>(head.width, -__builtin_inff(), relative);
    const uint32_t bit = 1u << j;
    *head.direct = largest > kDirectAbove ? *head.direct | bit : *head.direct & ~bit;
  }

  // q_i + G_i + k_j - G_j, for a direct key j.
  template <class T>
  static T DirectExponent(const HeadState& head, const float* e, int j, int64_t d) {
    return T::Load(e + d) + Exponent<T>(head, j, d);
  }

  static void Attend(const HeadState& head, int64_t merged, int t, int n, const float* q,
                     int64_t ldq, float* y, int64_t ldy, float* scratch) {
    Outputs(head, merged, t + 1, 1, n, q, ldq, y, ldy, scratch);
  }

  static void Query(const HeadState& head, int64_t merged, int tail, int n, const float* q,
                    int64_t ldq, float* y, int64_t ldy, float* scratch) {
    Outputs(head, merged, tail, 0, n, q, ldq, y, ldy, scratch);
  }

  // Row i sees the tail's first `seen` + i * step tokens.
  static void Outputs(const HeadState& head, int64_t merged, int seen, int step, int n,
                      const float* q, int64_t ldq, float* y, int64_t ldy, float* scratch) {
    const int64_t stride = head.key_stride;
    float* base_weights = scratch;                         // [n, D16]
    float* tail_weights = base_weights + kBlock * stride;  // [n, D16]
    float* e = tail_weights + kBlock * stride;             // [D16]: q_i + G_i
    float* terms = e + stride;                             // [D16]
    float* scores = terms + stride;                        // [n, 16]
    float* sums = scores + kBlock * kBlock;                // [n, Dv16]
    float shifts[kBlock];
    for (int i = 0; i < n; ++i) {
      const int visible = seen + i * step;
      shifts[i] = Weights(head, merged, visible, Direct(head, visible), q + i * ldq,
                          base_weights + i * stride, tail_weights + i * stride, e);
    }
    Product<V, Start::kZero>(n, kBlock, head.width, tail_weights, stride, head.features, kBlock,
                             scores, kBlock);
    if (merged > 0) {
      for (int64_t b = 0; b < head.value_stride; b += kColumnBlock) {
        const int64_t w =
            head.value_stride - b < kColumnBlock ? head.value_stride - b : kColumnBlock;
        Product<V, Start::kZero>(n, w, head.width, base_weights, stride,
                                 head.matrix + b * head.width, w, sums + b, head.value_stride);
      }
    } else {
      std::memset(sums, 0, static_cast<size_t>(n * head.value_stride) * sizeof(float));
    }
    for (int i = 0; i < n; ++i) {
      float* score = scores + i * kBlock;
      const int visible = seen + i * step;
      const uint32_t direct = Direct(head, visible);
      if (direct != 0) DirectScores(head, visible, direct, q + i * ldq, shifts[i], e, terms, score);
      float total = 0.0f;
      if (merged > 0) {
        for (int64_t d = 0; d < head.width; ++d) total += base_weights[i * stride + d];
      }
      for (int j = 0; j < visible; ++j) total += score[j];
      float* sum = sums + i * head.value_stride;
      Product<V, Start::kAdd>(1, head.value_stride, visible, score, kBlock, head.values,
                              head.value_stride, sum, head.value_stride);
      ForLanes<V>(head.value_width, [&](auto tag, int64_t c) {
        using T = decltype(tag);
        (T::Load(sum + c) / T::Set(total)).Store(y + i * ldy + c);
      });
    }
  }

  // Bits of the direct keys among the first `visible`.
  static uint32_t Direct(const HeadState& head, int visible) {
    return *head.direct & ((1u << visible) - 1);
  }

  static void QueryExponents(const HeadState& head, int row, const float* q, float* e) {
    const float* decay = head.decays == nullptr ? nullptr : head.decays + row * head.key_stride;
    ForLanes<V>(head.width, [&](auto tag, int64_t d) {
      using T = decltype(tag);
      (decay == nullptr ? T::Load(q + d) : T::Load(q + d) + T::Load(decay + d)).Store(e + d);
    });
  }

  // The weights that a query which sees `visible` tail tokens gives to the features; returns
  // shift_i. Without any tail token there is no anchor, and the base's largest exponents stand in.
  static float Weights(const HeadState& head, int64_t merged, int visible, uint32_t direct,
                       const float* q, float* base_weight, float* tail_weight, float* e) {
    const float* anchor = visible == 0 ? head.row_max : head.anchor;
    QueryExponents(head, visible - 1, q, e);
    float shift = MaxOver<V>(head.width, -__builtin_inff(), [&](auto tag, int64_t d) {
      using T = decltype(tag);
      return T::Load(e + d) + T::Load(anchor + d);
    });
    for (int j = 0; j < visible; ++j) {
      if ((direct >> j & 1) == 0) continue;
      shift = MaxOver<V>(head.width, shift, [&](auto tag, int64_t d) {
        return DirectExponent<decltype(tag)>(head, e, j, d);
      });
    }
    ForLanes<V>(head.width, [&](auto tag, int64_t d) {
      using T = decltype(tag);
      const T query = T::Load(e + d), down = T::Set(shift);
      Exp((query + T::Load(anchor + d)) - down).Store(tail_weight + d);
      if (merged > 0) {
        const T mass = FromDouble(head.row_sum + d, tag);
        (Exp((query + T::Load(head.row_max + d)) - down) * mass).Store(base_weight + d);
      }
    });
    return shift;
  }

  static void DirectScores(const HeadState& head, int visible, uint32_t direct, const float* q,
                           float shift, float* e, float* terms, float* score) {
    QueryExponents(head, visible - 1, q, e);
    for (int j = 0; j < visible; ++j) {
      if ((direct >> j & 1) == 0) continue;
      ForLanes<V>(head.width, [&](auto tag, int64_t d) {
        using T = decltype(tag);
        Exp(DirectExponent<T>(head, e, j, d) - T::Set(shift)).Store(terms + d);
      });
      float sum = 0.0f;
      for (int64_t d = 0; d < head.width; ++d) sum += terms[d];
      score[j] = sum;
    }
  }

  static void Merge(const HeadState& head, int64_t merged, float* scratch) {
    const int64_t stride = head.key_stride;
    float* top = scratch;                 // [D16]: m'
    float* moved = top + stride;          // [D16]: the base's factor, then the sum of the shares
    float* w = moved + stride;            // [16, D16]: weights, then shares of c'
    float* shares = w + kBlock * stride;  // [D, 16]
    const float* whole =                  // G of the block
        head.decays == nullptr ? nullptr : head.decays + (kBlock - 1) * stride;
    // k_j + G - G_j.
    const auto exponent = [&](auto tag, int j, int64_t d) {
      using T = decltype(tag);
      const T key = T::Load(head.keys + j * stride + d);
      if (whole == nullptr) return key;
      return key + (T::Load(whole + d) - T::Load(head.decays + j * stride + d));
    };
    const auto base_exponent = [&](auto tag, int64_t d) {
      using T = decltype(tag);
      const T m = T::Load(head.row_max + d);
      return whole == nullptr ? m : m + T::Load(whole + d);
    };
    ForLanes<V>(head.width, [&](auto tag, int64_t d) {
      using T = decltype(tag);
      T largest = merged > 0 ? base_exponent(tag, d) : T::Set(-__builtin_inff());
      for (int j = 0; j < kBlock; ++j) largest = Max(exponent(tag, j, d), largest);
      largest.Store(top + d);
      for (int j = 0; j < kBlock; ++j) Exp(exponent(tag, j, d) - largest).Store(w + j * stride + d);
      if (merged > 0) Exp(base_exponent(tag, d) - largest).Store(moved + d);
    });
    for (int64_t d = 0; d < head.width; ++d) {
      head.row_sum[d] = merged > 0 ? static_cast<double>(moved[d]) * head.row_sum[d] : 0.0;
      head.row_max[d] = top[d];
    }
    for (int j = 0; j < kBlock; ++j) {
      const float* row = w + j * stride;
      for (int64_t d = 0; d < head.width; ++d) head.row_sum[d] += static_cast<double>(row[d]);
    }
    ForLanes<V>(head.width, [&](auto tag, int64_t d) {
      using T = decltype(tag);
      const T mass = FromDouble(head.row_sum + d, tag);
      T total = T::Set(0.0f);
      for (int j = 0; j < kBlock; ++j) {
        const T share = T::Load(w + j * stride + d) / mass;
        share.Store(w + j * stride + d);
        total = total + share;
      }
      total.Store(moved + d);
    });
    for (int64_t d = 0; d < head.width; ++d) {
      for (int j = 0; j < kBlock; ++j) shares[d * kBlock + j] = w[j * stride + d];
    }
    for (int64_t b = 0; b < head.value_stride; b += kColumnBlock) {
      const int64_t width =
          head.value_stride - b < kColumnBlock ? head.value_stride - b : kColumnBlock;
      float* matrix = head.matrix + b * head.width;
      if (merged > 0) {
        Product<V, Start::kBlend>(head.width, width, kBlock, shares, kBlock, head.values + b,
                                  head.value_stride, matrix, width, moved);
      } else {
        Product<V, Start::kZero>(head.width, width, kBlock, shares, kBlock, head.values + b,
                                 head.value_stride, matrix, width);
      }
    }
  }
};

}  // namespace
}  // namespace ela

#endif  // ELA_MODEL_KERNELS_HADAMARD_EXP_H_
