// Convolutions over all channels on register tiles: MR pixels by NV vectors of outputs stay in
// registers while the taps run by, each tap one broadcast and NV multiply-adds. The tile is six
// pixels wide where the outputs fill enough registers to hide a multiply-add's latency, and twelve
// where they do not. Internal linkage, see simd.h.
#ifndef ELA_MODEL_KERNELS_DENSE_CONVOLUTION_H_
#define ELA_MODEL_KERNELS_DENSE_CONVOLUTION_H_

#include <algorithm>
#include <cstdint>

#include "model/kernels/convolution.h"
#include "model/kernels/epilogue.h"
#include "model/kernels/simd.h"

namespace ela {
namespace {

// Columns of a packed block: what one tile computes, so that a pass reads memory in order.
template <class V>
constexpr int64_t kConvolutionBlock = V::kLanes == 16 ? 64 : 16;

template <class V, int MR, int NV>
inline void DenseTile(const DenseConvolution& c, int64_t pixel, int64_t column,
                      const float* weights) {
  V sum[MR][NV];
#pragma GCC unroll 16
  for (int n = 0; n < NV; ++n) {
    const V bias = V::Load(c.bias + column + n * V::kLanes);
#pragma GCC unroll 12
    for (int r = 0; r < MR; ++r) sum[r][n] = bias;
  }
  const float* in[MR];
#pragma GCC unroll 12
  for (int r = 0; r < MR; ++r) in[r] = c.in + c.in_offset[pixel + r];
  for (int64_t row = 0; row < c.rows; ++row) {
    for (int64_t i = 0; i < c.run; ++i) {
      V w[NV];
#pragma GCC unroll 16
      for (int n = 0; n < NV; ++n) w[n] = V::Load(weights + n * V::kLanes);
      weights += NV * V::kLanes;
#pragma GCC unroll 12
      for (int r = 0; r < MR; ++r) {
        const V x = V::Set(in[r][i]);
#pragma GCC unroll 16
        for (int n = 0; n < NV; ++n) sum[r][n] = Fma(x, w[n], sum[r][n]);
      }
    }
#pragma GCC unroll 12
    for (int r = 0; r < MR; ++r) in[r] += c.in_row_stride;
  }
  if (c.residual != nullptr) {
#pragma GCC unroll 12
    for (int r = 0; r < MR; ++r) {
      const float* residual = c.residual + c.residual_offset[pixel + r] + column;
#pragma GCC unroll 16
      for (int n = 0; n < NV; ++n) {
        const V x = V::Load(residual + n * V::kLanes);
        sum[r][n] = c.residual_scale == nullptr
                        ? sum[r][n] + x
                        : Fma(x, V::Load(c.residual_scale + column + n * V::kLanes), sum[r][n]);
      }
    }
  }
  WithEpilogue(c.epilogue, [&](auto epilogue) {
#pragma GCC unroll 12
    for (int r = 0; r < MR; ++r) {
      float* out = c.out + c.out_offset[pixel + r] + column;
#pragma GCC unroll 16
      for (int n = 0; n < NV; ++n) {
        Finish<decltype(epilogue)::value>(sum[r][n]).Store(out + n * V::kLanes);
      }
    }
  });
}

// All pixels of the columns [column, column + NV vectors).
template <class V, int NV>
void DenseColumns(const DenseConvolution& c, int64_t column, const float* weights) {
  int64_t pixel = 0;
  const auto tiles = [&](auto height) {
    constexpr int kHeight = decltype(height)::value;
    for (; pixel + kHeight <= c.pixels; pixel += kHeight) {
      DenseTile<V, kHeight, NV>(c, pixel, column, weights);
    }
  };
  if constexpr (V::kLanes == 16 && NV == 1) tiles(std::integral_constant<int, 12>{});
  if constexpr (V::kLanes > 1) {
    tiles(std::integral_constant<int, 6>{});
    tiles(std::integral_constant<int, 4>{});
    tiles(std::integral_constant<int, 2>{});
  }
  tiles(std::integral_constant<int, 1>{});
}

template <class V>
void DenseConvolve(const DenseConvolution& c) {
  constexpr int64_t kBlock = kConvolutionBlock<V>;
  const int64_t k = c.rows * c.run;
  for (int64_t column = 0; column < c.n; column += kBlock) {
    const float* weights = c.weights + column * k;
    if constexpr (kBlock == 16) {
      DenseColumns<V, 16 / V::kLanes>(c, column, weights);
    } else {
      switch (std::min(kBlock, c.n - column) / V::kLanes) {
        case 1:
          DenseColumns<V, 1>(c, column, weights);
          break;
        case 2:
          DenseColumns<V, 2>(c, column, weights);
          break;
        case 3:
          DenseColumns<V, 3>(c, column, weights);
          break;
        default:
          DenseColumns<V, 4>(c, column, weights);
          break;
      }
    }
  }
}

}  // namespace
}  // namespace ela

#endif  // ELA_MODEL_KERNELS_DENSE_CONVOLUTION_H_
