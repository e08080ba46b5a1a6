// sum_sq, sub_sq and dir_mag in the block form of docs/model.md 1. All three kernels are
// polynomials of the key, so the base keeps centred moments: weighted means of keys and values,
// their covariance, and for the squared kernels Q = mean |k - mean|^2 and T = mean |k - mean|^2 (v
// - mean). Nothing is ever a difference of large sums. Internal linkage, see simd.h.
#ifndef ELA_MODEL_KERNELS_MOMENTS_H_
#define ELA_MODEL_KERNELS_MOMENTS_H_

#include <cstdint>
#include <cstring>

#include "model/kernels/hadamard_exp.h"
#include "model/kernels/kernels.h"
#include "model/kernels/tile.h"

namespace ela {
namespace {

template <class V>
inline float Dot(int64_t n, const float* a, const float* b) {
  return Sum16<V>(n, [&](auto sum, int64_t i) {
    using T = decltype(sum);
    return Fma(T::Load(a + i), T::Load(b + i), sum);
  });
}

// to = direction of `from`: from / max(|from|, 1e-12). Returns |from|^2.
template <class V>
inline float Normalise(int64_t n, const float* from, float* to) {
  const float square = Dot<V>(n, from, from);
  const float norm = __builtin_sqrtf(square);
  const float divisor = norm > 1e-12f ? norm : 1e-12f;
  ForLanes<V>(n, [&](auto tag, int64_t i) {
    using T = decltype(tag);
    (T::Load(from + i) / T::Set(divisor)).Store(to + i);
  });
  return square;
}

// kSign: +1 sum_sq, -1 sub_sq, 0 dir_mag.
template <class V, int kSign>
struct Moments {
  static constexpr bool kDirection = kSign == 0;

  static void Append(const HeadState& head, int64_t, int t, int n, const float* k, int64_t ldk,
                     const float* v, int64_t ldv, const float*, int64_t, float* scratch) {
    for (int i = 0; i < n; ++i) {
      const int j = t + i;
      CopyRow(k + i * ldk, head.width, head.keys + j * head.key_stride);
      CopyRow(v + i * ldv, head.value_width, head.values + j * head.value_stride);
      AddFeatures(head, j, scratch);
    }
  }

  static void Derive(const HeadState& head, int64_t, int n, float* scratch) {
    for (int j = 0; j < n; ++j) AddFeatures(head, j, scratch);
  }

  static void AddFeatures(const HeadState& head, int j, float* scratch) {
    const float* row = head.keys + j * head.key_stride;
    if constexpr (kDirection) {
      head.weights[j] = Normalise<V>(head.width, row, scratch) + 1.0f;
      row = scratch;
    }
    for (int64_t d = 0; d < head.width; ++d) head.features[d * kBlock + j] = row[d];
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
    float* z = scratch;                       // [n, D16]: q + s * mean key, or the direction of q
    float* query = z + kBlock * stride;       // [n, D16]: what meets the tail's keys
    float* scores = query + kBlock * stride;  // [n, 16]
    float* sums = scores + kBlock * kBlock;   // [n, Dv16]
    float base_denominator[kBlock] = {};
    for (int i = 0; i < n; ++i) {
      float* row = query + i * stride;
      if constexpr (kDirection) {
        Normalise<V>(head.width, q + i * ldq, row);
      } else {
        CopyRow(q + i * ldq, head.width, row);
      }
      if (merged > 0) base_denominator[i] = BaseDenominator(head, row, z + i * stride);
    }
    TailScores(head, n, query, scores);
    const float count =
        kDirection ? static_cast<float>(head.totals[1]) : static_cast<float>(merged);
    if (merged > 0) {
      for (int64_t b = 0; b < head.value_stride; b += kColumnBlock) {
        const int64_t w =
            head.value_stride - b < kColumnBlock ? head.value_stride - b : kColumnBlock;
        Product<V, Start::kZero>(n, w, head.width, z, stride, head.matrix + b * head.width, w,
                                 sums + b, head.value_stride);
      }
    } else {
      std::memset(sums, 0, static_cast<size_t>(n * head.value_stride) * sizeof(float));
    }
    for (int i = 0; i < n; ++i) {
      float* sum = sums + i * head.value_stride;
      float total = 0.0f;
      if (merged > 0) {
        total = count * base_denominator[i];
        BaseNumerator(head, count, base_denominator[i], sum);
      }
      const float* score = scores + i * kBlock;
      const int visible = seen + i * step;
      for (int j = 0; j < visible; ++j) total += score[j];
      if (total != 0.0f) {  // NaN goes this way too, and stays NaN
        Product<V, Start::kAdd>(1, head.value_stride, visible, score, kBlock, head.values,
                                head.value_stride, sum, head.value_stride);
      } else {
        total = MeanOfValues(head, merged > 0 ? count : 0.0f, visible, sum);
      }
      ForLanes<V>(head.value_width, [&](auto tag, int64_t c) {
        using T = decltype(tag);
        (T::Load(sum + c) / T::Set(total)).Store(y + i * ldy + c);
      });
    }
  }

  // |z|^2 + Q with z = q + s * mean key; or 1 + q·mean key, which rounding alone can make negative.
  static float BaseDenominator(const HeadState& head, const float* q, float* z) {
    if constexpr (kDirection) {
      CopyRow(q, head.width, z);
      const float denominator = 1.0f + Dot<V>(head.width, q, head.key_mean);
      return denominator > 0.0f ? denominator : 0.0f;
    } else {
      ForLanes<V>(head.width, [&](auto tag, int64_t d) {
        using T = decltype(tag);
        Fma(T::Set(kSign), T::Load(head.key_mean + d), T::Load(q + d)).Store(z + d);
      });
      return Dot<V>(head.width, z, z) + static_cast<float>(head.totals[0]);
    }
  }

  // sum = count * (denominator * mean value + 2s * sum + T), or without 2s and T.
  static void BaseNumerator(const HeadState& head, float count, float denominator, float* sum) {
    ForLanes<V>(head.value_width, [&](auto tag, int64_t c) {
      using T = decltype(tag);
      T part = T::Load(sum + c);
      if constexpr (!kDirection) part = Fma(T::Set(2.0f * kSign), part, T::Load(head.third + c));
      part = Fma(T::Set(denominator), T::Load(head.value_mean + c), part);
      (T::Set(count) * part).Store(sum + c);
    });
  }

  // scores[i, j] = |q_i + s * k_j|^2, or (1 + direction·direction) * (|k_j|^2 + 1).
  static void TailScores(const HeadState& head, int n, const float* query, float* scores) {
    if constexpr (kDirection) {
      Product<V, Start::kZero>(n, kBlock, head.width, query, head.key_stride, head.features, kBlock,
                               scores, kBlock);
      for (int i = 0; i < n * kBlock; ++i) {
        const float cosine = 1.0f + scores[i];
        scores[i] = (cosine > 0.0f ? cosine : 0.0f) * head.weights[i % kBlock];
      }
    } else {
      constexpr int kParts = kBlock / V::kLanes;
      for (int i = 0; i < n; ++i) {
        V sum[kParts];
        for (int p = 0; p < kParts; ++p) sum[p] = V::Set(0.0f);
        for (int64_t d = 0; d < head.width; ++d) {
          const V x = V::Set(query[i * head.key_stride + d]);
          for (int p = 0; p < kParts; ++p) {
            const V z = Fma(V::Set(kSign), V::Load(head.features + d * kBlock + p * V::kLanes), x);
            sum[p] = Fma(z, z, sum[p]);
          }
        }
        for (int p = 0; p < kParts; ++p) sum[p].Store(scores + i * kBlock + p * V::kLanes);
      }
    }
  }

  // Every weight is 0: by definition the output is the (weighted) mean of the values. sum = its
  // numerator; returns its denominator.
  static float MeanOfValues(const HeadState& head, float count, int visible, float* sum) {
    float total = count;
    for (int64_t c = 0; c < head.value_width; ++c) {
      sum[c] = count > 0.0f ? count * head.value_mean[c] : 0.0f;
    }
    for (int j = 0; j < visible; ++j) {
      const float weight = kDirection ? head.weights[j] : 1.0f;
      total += weight;
      for (int64_t c = 0; c < head.value_width; ++c) {
        sum[c] = __builtin_fmaf(weight, head.values[j * head.value_stride + c], sum[c]);
      }
    }
    return total;
  }

  // mean = sum of share_j * row_j, taken relative to the first row, so that a tight cluster far
  // from the origin keeps its digits.
  static void Mean(int64_t n, const float* share, const float* rows, int64_t stride, float* mean) {
    ForLanes<V>(n, [&](auto tag, int64_t i) {
      using T = decltype(tag);
      const T first = T::Load(rows + i);
      T offset = T::Set(0.0f);
      for (int j = 1; j < kBlock; ++j) {
        offset = Fma(T::Set(share[j]), T::Load(rows + j * stride + i) - first, offset);
      }
      (first + offset).Store(mean + i);
    });
  }

  // The block's own moments first (shares a_j of its weight), then both sets joined: with shares p
  // of the base and r of the block, the block's mean minus the base's Dk and Dv,
  //   Cov = p Cov + r sum_j a_j dk_j' dv_j + p r Dk' Dv        (dk_j, dv_j from the block's means)
  //   Q   = p (Q + |r Dk|^2) + r (Q_b + |p Dk|^2)
  //   T   = p (T - 2 r Dk·Cov - (Q + |r Dk|^2) r Dv)
  //       + r (sum_j a_j (|dk_j|^2 + 2 p Dk·dk_j) dv_j + (Q_b + |p Dk|^2) p Dv)
  static void Merge(const HeadState& head, int64_t merged, float* scratch) {
    const int64_t stride = head.key_stride, value_stride = head.value_stride, width = head.width;
    constexpr int kRows = kBlock + 1;
    float* rows = scratch;                              // [16, D16]: keys or directions, then dk_j
    float* left = rows + kBlock * stride;               // [D, 17]
    float* keys_mean = left + kRows * stride;           // [D16]
    float* step = keys_mean + stride;                   // [D16]: Dk
    float* moved = step + stride;                       // [D16]: r in every row
    float* right = moved + stride;                      // [17, Dv16]: dv_j, then Dv
    float* values_mean = right + kRows * value_stride;  // [Dv16]
    float* cross = values_mean + value_stride;          // [Dv16]: Dk·Cov
    std::memset(right, 0, static_cast<size_t>(kRows * value_stride) * sizeof(float));

    float share[kBlock];
    const double block_weight = Shares(head, share);
    const double base_weight =
        merged == 0 ? 0.0 : (kDirection ? head.totals[1] : static_cast<double>(merged));
    const float p = static_cast<float>(base_weight / (base_weight + block_weight));
    const float r = static_cast<float>(block_weight / (base_weight + block_weight));
    for (int j = 0; j < kBlock; ++j) {
      if constexpr (kDirection) {
        Normalise<V>(width, head.keys + j * stride, rows + j * stride);
      } else {
        CopyRow(head.keys + j * stride, width, rows + j * stride);
      }
    }
    Mean(width, share, rows, stride, keys_mean);
    Mean(head.value_width, share, head.values, value_stride, values_mean);
    for (int64_t d = 0; d < width; ++d) {
      step[d] = merged > 0 ? keys_mean[d] - head.key_mean[d] : 0.0f;
      moved[d] = r;
      for (int j = 0; j < kBlock; ++j) {
        rows[j * stride + d] -= keys_mean[d];
        left[d * kRows + j] = r * share[j] * rows[j * stride + d];
      }
      left[d * kRows + kBlock] = p * r * step[d];
    }
    float* value_step = right + kBlock * value_stride;
    for (int64_t c = 0; c < head.value_width; ++c) {
      for (int j = 0; j < kBlock; ++j) {
        right[j * value_stride + c] = head.values[j * value_stride + c] - values_mean[c];
      }
      value_step[c] = merged > 0 ? values_mean[c] - head.value_mean[c] : 0.0f;
    }
    if constexpr (!kDirection) {
      ThirdMoment(head, merged, p, r, share, rows, step, right, cross);
    }
    for (int64_t b = 0; b < value_stride; b += kColumnBlock) {
      const int64_t w = value_stride - b < kColumnBlock ? value_stride - b : kColumnBlock;
      float* matrix = head.matrix + b * width;
      if (merged > 0) {
        Product<V, Start::kBlend>(width, w, kRows, left, kRows, right + b, value_stride, matrix, w,
                                  moved);
      } else {
        Product<V, Start::kZero>(width, w, kRows, left, kRows, right + b, value_stride, matrix, w);
      }
    }
    for (int64_t d = 0; d < width; ++d) {
      head.key_mean[d] = merged > 0 ? __builtin_fmaf(r, step[d], head.key_mean[d]) : keys_mean[d];
    }
    for (int64_t c = 0; c < head.value_width; ++c) {
      head.value_mean[c] =
          merged > 0 ? __builtin_fmaf(r, value_step[c], head.value_mean[c]) : values_mean[c];
    }
    if constexpr (kDirection) head.totals[1] = base_weight + block_weight;
  }

  // Each tail token's share of the block's weight; returns that weight.
  static double Shares(const HeadState& head, float* share) {
    double total = 0.0;
    for (int j = 0; j < kBlock; ++j) total += kDirection ? head.weights[j] : 1.0;
    for (int j = 0; j < kBlock; ++j) {
      share[j] = static_cast<float>((kDirection ? head.weights[j] : 1.0) / total);
    }
    return total;
  }

  // Updates Q and T. REQUIRES: Cov not updated yet. rows: dk_j; right: dv_j, then Dv.
  static void ThirdMoment(const HeadState& head, int64_t merged, float p, float r,
                          const float* share, const float* rows, const float* step,
                          const float* right, float* cross) {
    const int64_t stride = head.key_stride, value_stride = head.value_stride;
    const float move = Dot<V>(head.width, step, step);
    const double exact_q =  // Q + |r Dk|^2
        (merged > 0 ? head.totals[0] : 0.0) + static_cast<double>(r * r * move);
    const float base_q = static_cast<float>(exact_q);
    float spread = 0.0f;
    float weight[kBlock];
    for (int j = 0; j < kBlock; ++j) {
      const float* dk = rows + j * stride;
      const float square = Dot<V>(head.width, dk, dk);
      spread = __builtin_fmaf(share[j], square, spread);
      weight[j] = r * share[j] * __builtin_fmaf(2.0f * p, Dot<V>(head.width, step, dk), square);
    }
    const float block_q = __builtin_fmaf(p * p, move, spread);  // Q_b + |p Dk|^2
    if (merged > 0) {
      for (int64_t b = 0; b < value_stride; b += kColumnBlock) {
        const int64_t w = value_stride - b < kColumnBlock ? value_stride - b : kColumnBlock;
        Product<V, Start::kZero>(1, w, head.width, step, stride, head.matrix + b * head.width, w,
                                 cross + b, value_stride);
      }
    }
    const float* value_step = right + kBlock * value_stride;
    for (int64_t c = 0; c < head.value_width; ++c) {
      // T = base + (new - r base): see Start::kBlend for why not p base + new.
      float base = 0.0f;
      if (merged > 0) {
        base = __builtin_fmaf(-2.0f * r, cross[c], head.third[c]);
        base = __builtin_fmaf(-base_q * r, value_step[c], base);
      }
      float change = -r * base;
      for (int j = 0; j < kBlock; ++j) {
        change = __builtin_fmaf(weight[j], right[j * value_stride + c], change);
      }
      change = __builtin_fmaf(r * block_q * p, value_step[c], change);
      head.third[c] = base + change;
    }
    head.totals[0] = exact_q + static_cast<double>(r) * (static_cast<double>(block_q) - exact_q);
  }
};

}  // namespace
}  // namespace ela

#endif  // ELA_MODEL_KERNELS_MOMENTS_H_
