// x · W for packed weights (packed_matrix.h). Many rows: register tiles over one panel at a time,
// which stays in the first-level cache. One row: several panels at once, so that enough independent
// chains are in flight to hide the latency of a fused multiply-add. Weights in bfloat16 are widened
// in registers, exactly, so they give the bits of float32 weights at half the traffic. Internal
// linkage, see simd.h.
#ifndef ELA_MODEL_KERNELS_DENSE_H_
#define ELA_MODEL_KERNELS_DENSE_H_

#include <cstdint>

#include "model/kernels/kernels.h"
#include "model/kernels/tile.h"

namespace ela {
namespace {

// A row of a panel in bfloat16: 16 words, column w in the low half of word w, column w + 16 in the
// high half.
struct HalfRows {
  const uint32_t* words;

  template <class V, int NV>
  void Load(int64_t i, V* row) const {
#pragma GCC unroll 16
    for (int n = 0; n < NV; n += 2) {
      LoadHalves(words + i * (kPanel / 2) + n / 2 * V::kLanes, &row[n], &row[n + 1]);
    }
  }
  template <class V>
  static constexpr int Column(int n) {
    return n / 2 * V::kLanes + n % 2 * (kPanel / 2);
  }
};

inline FloatRows Advance(FloatRows rows, int64_t columns) { return {rows.b + columns, rows.ldb}; }
inline HalfRows Advance(HalfRows rows, int64_t columns) { return {rows.words + columns}; }

// How far the columns of a tile of n vectors lie apart from those of the next one.
template <class V>
constexpr int TileStep(FloatRows, int n) {
  return n * V::kLanes;
}
template <class V>
constexpr int TileStep(HalfRows, int n) {
  return n / 2 * V::kLanes;
}

// MR rows of one panel.
template <class V, int MR, class Rows>
inline void PanelRows(int64_t k, const float* x, int64_t ldx, Rows panel, float* y, int64_t ldy) {
  constexpr int kAll = kPanel / V::kLanes;  // vectors of a panel's row
  constexpr int kVectors = MR <= 3 || V::kLanes == 1 ? kAll : kAll / 2;
  for (int tile = 0; tile < kAll / kVectors; ++tile) {
    const int64_t column = tile * TileStep<V>(panel, kVectors);
    Tile<V, MR, kVectors, Start::kZero>(k, x, ldx, Advance(panel, column), y + column, ldy,
                                        nullptr);
  }
}

template <class V, class Rows>
inline void Panel(int64_t m, int64_t k, const float* x, int64_t ldx, Rows panel, float* y,
                  int64_t ldy) {
  if constexpr (V::kRowTile > 1) {
    for (; m >= V::kRowTile; m -= V::kRowTile, x += V::kRowTile * ldx, y += V::kRowTile * ldy) {
      PanelRows<V, V::kRowTile>(k, x, ldx, panel, y, ldy);
    }
    switch (m) {
      case 5:
        return PanelRows<V, 5>(k, x, ldx, panel, y, ldy);
      case 4:
        return PanelRows<V, 4>(k, x, ldx, panel, y, ldy);
      case 3:
        return PanelRows<V, 3>(k, x, ldx, panel, y, ldy);
      case 2:
        return PanelRows<V, 2>(k, x, ldx, panel, y, ldy);
      default:
        break;
    }
  }
  for (; m > 0; --m, x += ldx, y += ldy) PanelRows<V, 1>(k, x, ldx, panel, y, ldy);
}

// One row of x: y[1, kPanels * 32]; the panels lie `stride` numbers or words apart.
template <class V, int kPanels, class Rows>
inline void SingleRow(int64_t k, const float* x, Rows panels, int64_t stride, float* y) {
  constexpr int kVectors = kPanel / V::kLanes;
  V sum[kPanels][kVectors];
#pragma GCC unroll 4
  for (int b = 0; b < kPanels; ++b) {
#pragma GCC unroll 4
    for (int n = 0; n < kVectors; ++n) sum[b][n] = V::Set(0.0f);
  }
  for (int64_t i = 0; i < k; ++i) {
    const V value = V::Set(x[i]);
#pragma GCC unroll 4
    for (int b = 0; b < kPanels; ++b) {
      V row[kVectors];
      Advance(panels, b * stride).template Load<V, kVectors>(i, row);
#pragma GCC unroll 4
      for (int n = 0; n < kVectors; ++n) sum[b][n] = Fma(value, row[n], sum[b][n]);
    }
  }
#pragma GCC unroll 4
  for (int b = 0; b < kPanels; ++b) {
#pragma GCC unroll 4
    for (int n = 0; n < kVectors; ++n) {
      sum[b][n].Store(y + b * kPanel + Rows::template Column<V>(n));
    }
  }
}

template <class V, class Rows>
void DensePanels(int64_t m, int64_t k, const float* x, int64_t ldx, Rows panels, int64_t stride,
                 int64_t first, int64_t last, float* y, int64_t ldy) {
  int64_t panel = first;
  if constexpr (V::kLanes > 1) {
    if (m == 1) {
      for (; panel + 3 <= last; panel += 3) {
        SingleRow<V, 3>(k, x, Advance(panels, panel * stride), stride, y + panel * kPanel);
      }
      for (; panel < last; ++panel) {
        SingleRow<V, 1>(k, x, Advance(panels, panel * stride), stride, y + panel * kPanel);
      }
      return;
    }
  }
  for (; panel < last; ++panel) {
    Panel<V>(m, k, x, ldx, Advance(panels, panel * stride), y + panel * kPanel, ldy);
  }
}

template <class V>
void Dense(int64_t m, int64_t k, const float* x, int64_t ldx, const PackedPanels& w,
           int64_t first_panel, int64_t last_panel, float* y, int64_t ldy) {
  if (w.halves != nullptr) {
    DensePanels<V>(m, k, x, ldx, HalfRows{w.halves}, k * kPanel / 2, first_panel, last_panel, y,
                   ldy);
  } else {
    DensePanels<V>(m, k, x, ldx, FloatRows{w.floats, kPanel}, k * kPanel, first_panel, last_panel,
                   y, ldy);
  }
}

}  // namespace
}  // namespace ela

#endif  // ELA_MODEL_KERNELS_DENSE_H_
