// x · W for weights packed as [n/32][k][32]. Many rows: register tiles over one panel at a time,
// which stays in the first-level cache. One row: several panels at once, so that enough independent
// chains are in flight to hide the latency of a fused multiply-add. Internal linkage, see simd.h.
#ifndef ELA_MODEL_KERNELS_DENSE_H_
#define ELA_MODEL_KERNELS_DENSE_H_

#include <cstdint>

#include "model/kernels/kernels.h"
#include "model/kernels/tile.h"

namespace ela {
namespace {

// y[1, kPanels * 32]; the panels lie k * 32 numbers apart.
template <class V, int kPanels>
inline void DenseRow(int64_t k, const float* x, const float* packed, float* y) {
  constexpr int kParts = kPanel / V::kLanes;
  V sum[kPanels][kParts];
#pragma GCC unroll 4
  for (int b = 0; b < kPanels; ++b) {
#pragma GCC unroll 4
    for (int p = 0; p < kParts; ++p) sum[b][p] = V::Set(0.0f);
  }
  for (int64_t i = 0; i < k; ++i) {
    const V value = V::Set(x[i]);
#pragma GCC unroll 4
    for (int b = 0; b < kPanels; ++b) {
      const float* row = packed + (b * k + i) * kPanel;
      // Weights come from memory or the last cache: fetched a few rows ahead, two lines per row.
      __builtin_prefetch(row + 24 * kPanel);
      __builtin_prefetch(row + 24 * kPanel + 16);
#pragma GCC unroll 4
      for (int p = 0; p < kParts; ++p) {
        sum[b][p] = Fma(value, V::Load(row + p * V::kLanes), sum[b][p]);
      }
    }
  }
#pragma GCC unroll 4
  for (int b = 0; b < kPanels; ++b) {
#pragma GCC unroll 4
    for (int p = 0; p < kParts; ++p) sum[b][p].Store(y + b * kPanel + p * V::kLanes);
  }
}

template <class V>
void Dense(int64_t m, int64_t k, const float* x, int64_t ldx, const float* packed,
           int64_t first_panel, int64_t last_panel, float* y, int64_t ldy) {
  int64_t panel = first_panel;
  if constexpr (V::kLanes > 1) {
    if (m == 1) {
      for (; panel + 3 <= last_panel; panel += 3) {
        DenseRow<V, 3>(k, x, packed + panel * k * kPanel, y + panel * kPanel);
      }
      if (last_panel - panel == 2) {
        return DenseRow<V, 2>(k, x, packed + panel * k * kPanel, y + panel * kPanel);
      }
      if (last_panel - panel == 1) {
        return DenseRow<V, 1>(k, x, packed + panel * k * kPanel, y + panel * kPanel);
      }
      return;
    }
  }
  for (; panel < last_panel; ++panel) {
    Product<V, Start::kZero>(m, kPanel, k, x, ldx, packed + panel * k * kPanel, kPanel,
                             y + panel * kPanel, ldy);
  }
}

}  // namespace
}  // namespace ela

#endif  // ELA_MODEL_KERNELS_DENSE_H_
