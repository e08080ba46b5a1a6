// Compiled with -march=x86-64-v3: eight lanes, sixteen registers.
#include "model/kernels/convolution_table.h"

namespace ela {

extern const ConvolutionKernels kPortableConvolution;
const ConvolutionKernels kPortableConvolution = MakeConvolutionTable<F8>("portable");

}  // namespace ela
