// Makes the table of convolution kernels of one instruction set. Each including file is compiled
// for its own.
#ifndef ELA_MODEL_KERNELS_CONVOLUTION_TABLE_H_
#define ELA_MODEL_KERNELS_CONVOLUTION_TABLE_H_

#include "model/kernels/convolution.h"
#include "model/kernels/dense_convolution.h"
#include "model/kernels/depthwise_convolution.h"
#include "model/kernels/global_attention.h"

namespace ela {
namespace {

template <class V>
void ConvertBytes(int64_t n, const uint8_t* from, float* to) {
  ForLanes<V>(n, [&](auto tag, int64_t i) {
    using T = decltype(tag);
    (FromBytes(from + i, tag) * T::Set(1.0f / 255.0f)).Store(to + i);
  });
}

template <class V>
void UpsampleAdd(int64_t pixels, int64_t channels, const float* coarse, const float* fine,
                 float* y) {
  for (int64_t p = 0; p < pixels;
       ++p, coarse += channels, fine += 2 * channels, y += 2 * channels) {
    ForLanes<V>(channels, [&](auto tag, int64_t i) {
      using T = decltype(tag);
      const T x = T::Load(coarse + i);
      (x + T::Load(fine + i)).Store(y + i);
      (x + T::Load(fine + channels + i)).Store(y + channels + i);
    });
  }
}

template <class V>
void AddMaps(int64_t n, const float* a, const float* b, float* y) {
  ForLanes<V>(n, [&](auto tag, int64_t i) {
    using T = decltype(tag);
    (T::Load(a + i) + T::Load(b + i)).Store(y + i);
  });
}

template <class V>
constexpr ConvolutionKernels MakeConvolutionTable(const char* name) {
  ConvolutionKernels table{};
  table.name = name;
  table.column_block = kConvolutionBlock<V>;
  table.dense = &DenseConvolve<V>;
  table.depthwise = &DepthwiseConvolve<V>;
  table.from_bytes = &ConvertBytes<V>;
  table.upsample_add = &UpsampleAdd<V>;
  table.add = &AddMaps<V>;
  table.global_attention = &GlobalAttention<V>::Run;
  return table;
}

}  // namespace
}  // namespace ela

#endif  // ELA_MODEL_KERNELS_CONVOLUTION_TABLE_H_
