// Compiled with -march=x86-64-v4: sixteen lanes, thirty-two registers.
#include "model/kernels/convolution_table.h"

namespace ela {

extern const ConvolutionKernels kAvx512Convolution;
const ConvolutionKernels kAvx512Convolution = MakeConvolutionTable<F16>("avx512");

}  // namespace ela
