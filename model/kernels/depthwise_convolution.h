// Convolutions within each channel: a few neighbouring pixels of one vector of channels are in
// registers at a time, and what their taps share is loaded once. Internal linkage, see simd.h.
#ifndef ELA_MODEL_KERNELS_DEPTHWISE_CONVOLUTION_H_
#define ELA_MODEL_KERNELS_DEPTHWISE_CONVOLUTION_H_

#include <cstdint>

#include "model/kernels/convolution.h"
#include "model/kernels/epilogue.h"
#include "model/kernels/simd.h"

namespace ela {
namespace {

// kPixels neighbours from `pixel` on, channels [channel, channel + lanes).
template <class V, int kKernel, int kStride, int kPixels>
inline void DepthwiseTile(const DepthwiseConvolution& c, int64_t pixel, int64_t channel) {
  constexpr int kSpan = (kPixels - 1) * kStride + kKernel;  // input columns
  V sum[kPixels];
  const V bias = V::Load(c.bias + channel);
#pragma GCC unroll 8
  for (int p = 0; p < kPixels; ++p) sum[p] = bias;
  const float* in = c.in + pixel * kStride * c.channels + channel;
  const float* weights = c.weights + channel;
#pragma GCC unroll 5
  for (int row = 0; row < kKernel; ++row) {
    V x[kSpan];
#pragma GCC unroll 24
    for (int i = 0; i < kSpan; ++i) x[i] = V::Load(in + i * c.channels);
#pragma GCC unroll 5
    for (int tap = 0; tap < kKernel; ++tap) {
      const V w = V::Load(weights);
      weights += c.channels;
#pragma GCC unroll 8
      for (int p = 0; p < kPixels; ++p) sum[p] = Fma(x[p * kStride + tap], w, sum[p]);
    }
    in += c.in_row_stride;
  }
  const int64_t at = pixel * c.channels + channel;
  if (c.residual != nullptr) {
#pragma GCC unroll 8
    for (int p = 0; p < kPixels; ++p) {
      sum[p] = sum[p] + V::Load(c.residual + at + p * c.channels);
    }
  }
  WithEpilogue(c.epilogue, [&](auto epilogue) {
#pragma GCC unroll 8
    for (int p = 0; p < kPixels; ++p) {
      Finish<decltype(epilogue)::value>(sum[p]).Store(c.out + at + p * c.channels);
    }
  });
}

template <class V, int kKernel, int kStride>
void DepthwiseRow(const DepthwiseConvolution& c) {
  for (int64_t channel = 0; channel < c.channels; channel += V::kLanes) {
    int64_t pixel = 0;
    if constexpr (V::kLanes == 16) {
      for (; pixel + 8 <= c.pixels; pixel += 8) {
        DepthwiseTile<V, kKernel, kStride, 8>(c, pixel, channel);
      }
    }
    if constexpr (V::kLanes > 1) {
      for (; pixel + 4 <= c.pixels; pixel += 4) {
        DepthwiseTile<V, kKernel, kStride, 4>(c, pixel, channel);
      }
      for (; pixel + 2 <= c.pixels; pixel += 2) {
        DepthwiseTile<V, kKernel, kStride, 2>(c, pixel, channel);
      }
    }
    for (; pixel < c.pixels; ++pixel) DepthwiseTile<V, kKernel, kStride, 1>(c, pixel, channel);
  }
}

template <class V>
void DepthwiseConvolve(const DepthwiseConvolution& c) {
  if (c.kernel == 3) {
    return c.stride == 1 ? DepthwiseRow<V, 3, 1>(c) : DepthwiseRow<V, 3, 2>(c);
  }
  return c.stride == 1 ? DepthwiseRow<V, 5, 1>(c) : DepthwiseRow<V, 5, 2>(c);
}

}  // namespace
}  // namespace ela

#endif  // ELA_MODEL_KERNELS_DEPTHWISE_CONVOLUTION_H_
