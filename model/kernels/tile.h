// Matrix products on register tiles. One rule holds for all of them: an output element is one chain
// of fused multiply-adds over k, in ascending k, so its bits depend on nothing but its own row and
// column: not on how many rows are computed together, nor on the tile. Internal linkage, see
// simd.h.
#ifndef ELA_MODEL_KERNELS_TILE_H_
#define ELA_MODEL_KERNELS_TILE_H_

#include <cstdint>

#include "model/kernels/simd.h"

namespace ela {
namespace {

enum class Start {
  kZero,  // c = a·b
  kAdd,   // c = c + a·b: the chain goes on from what stands in c
  // c = c + (a·b - share[row]·c): c moves by a share towards a·b / share. Not (1 - share)·c + a·b:
  // rounding 1 - share errs to one side for thousands of merges on end, 4e-4 after a million tokens
  // where this form has 1e-5.
  kBlend,
};

// The right-hand side of a tile: row i as NV vectors, and the column at which vector n begins.
struct FloatRows {
  const float* b;
  int64_t ldb;

  template <class V, int NV>
  void Load(int64_t i, V* row) const {
#pragma GCC unroll 16
    for (int n = 0; n < NV; ++n) row[n] = V::Load(b + i * ldb + n * V::kLanes);
  }
  template <class V>
  static constexpr int Column(int n) {
    return n * V::kLanes;
  }
};

// c[MR, NV vectors] from a[MR, k] and NV vectors of each row of `right`, all in registers.
template <class V, int MR, int NV, Start kStart, class Rows>
inline void Tile(int64_t k, const float* a, int64_t lda, const Rows& right, float* c, int64_t ldc,
                 const float* share) {
  V sum[MR][NV];
#pragma GCC unroll 8
  for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 16
    for (int n = 0; n < NV; ++n) {
      if constexpr (kStart == Start::kZero) {
        sum[r][n] = V::Set(0.0f);
      } else {
        sum[r][n] = V::Load(c + r * ldc + Rows::template Column<V>(n));
        if constexpr (kStart == Start::kBlend) sum[r][n] = V::Set(-share[r]) * sum[r][n];
      }
    }
  }
  for (int64_t i = 0; i < k; ++i) {
    V row[NV];
    right.template Load<V, NV>(i, row);
#pragma GCC unroll 8
    for (int r = 0; r < MR; ++r) {
      const V x = V::Set(a[r * lda + i]);
#pragma GCC unroll 16
      for (int n = 0; n < NV; ++n) sum[r][n] = Fma(x, row[n], sum[r][n]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 16
    for (int n = 0; n < NV; ++n) {
      float* to = c + r * ldc + Rows::template Column<V>(n);
      if constexpr (kStart == Start::kBlend) sum[r][n] = V::Load(to) + sum[r][n];
      sum[r][n].Store(to);
    }
  }
}

// The columns [0, n) of MR rows, n a multiple of 16, in tiles as wide as the registers allow.
template <class V, int MR, Start kStart>
inline void RowTile(int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb,
                    float* c, int64_t ldc, const float* share) {
  constexpr int kNarrow = 16 / V::kLanes;
  int64_t j = 0;
  if constexpr (MR == 1 && V::kLanes > 1) {
    for (; j + 64 <= n; j += 64) {
      Tile<V, MR, 4 * kNarrow, kStart>(k, a, lda, FloatRows{b + j, ldb}, c + j, ldc, share);
    }
  }
  if constexpr (MR <= 3 && V::kLanes > 1) {
    for (; j + 32 <= n; j += 32) {
      Tile<V, MR, 2 * kNarrow, kStart>(k, a, lda, FloatRows{b + j, ldb}, c + j, ldc, share);
    }
  }
  for (; j + 16 <= n; j += 16) {
    Tile<V, MR, kNarrow, kStart>(k, a, lda, FloatRows{b + j, ldb}, c + j, ldc, share);
  }
}

// c[m, n] from a[m, k] and b[k, n]; n a multiple of 16. share: [m], with Start::kBlend alone.
template <class V, Start kStart>
inline void Product(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b,
                    int64_t ldb, float* c, int64_t ldc, const float* share = nullptr) {
  if constexpr (V::kRowTile > 1) {
    for (; m >= V::kRowTile; m -= V::kRowTile) {
      RowTile<V, V::kRowTile, kStart>(n, k, a, lda, b, ldb, c, ldc, share);
      a += V::kRowTile * lda, c += V::kRowTile * ldc;
      if constexpr (kStart == Start::kBlend) share += V::kRowTile;
    }
    switch (m) {
      case 5:
        return RowTile<V, 5, kStart>(n, k, a, lda, b, ldb, c, ldc, share);
      case 4:
        return RowTile<V, 4, kStart>(n, k, a, lda, b, ldb, c, ldc, share);
      case 3:
        return RowTile<V, 3, kStart>(n, k, a, lda, b, ldb, c, ldc, share);
      case 2:
        return RowTile<V, 2, kStart>(n, k, a, lda, b, ldb, c, ldc, share);
      default:
        break;
    }
  }
  for (; m > 0; --m) {
    RowTile<V, 1, kStart>(n, k, a, lda, b, ldb, c, ldc, share);
    a += lda, c += ldc;
    if constexpr (kStart == Start::kBlend) ++share;
  }
}

}  // namespace
}  // namespace ela

#endif  // ELA_MODEL_KERNELS_TILE_H_
