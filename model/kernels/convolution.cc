#include "model/kernels/convolution.h"

#include <algorithm>

namespace ela {

extern const ConvolutionKernels kAvx512Convolution;
extern const ConvolutionKernels kPortableConvolution;
extern const ConvolutionKernels kReferenceConvolution;

void PackColumns(int64_t k, int64_t n, int64_t column_block, const float* matrix, float* packed) {
  for (int64_t b = 0; b < n; b += column_block) {
    const int64_t width = std::min(column_block, n - b);
    for (int64_t i = 0; i < k; ++i) {
      packed = std::copy_n(matrix + i * n + b, width, packed);
    }
  }
}

const ConvolutionKernels* FindConvolutionKernels(absl::string_view name) {
  const bool v3 = __builtin_cpu_supports("x86-64-v3");
  const bool v4 = __builtin_cpu_supports("x86-64-v4");
  if (name == "reference") return &kReferenceConvolution;
  if (name == "portable") return v3 ? &kPortableConvolution : nullptr;
  if (name == "avx512") return v4 ? &kAvx512Convolution : nullptr;
  if (!name.empty()) return nullptr;
  return v4 ? &kAvx512Convolution : v3 ? &kPortableConvolution : &kReferenceConvolution;
}

}  // namespace ela
