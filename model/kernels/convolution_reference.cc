// Compiled for any machine, without vectors: one lane. Slow; the truth that other tables equal.
#include "model/kernels/convolution_table.h"

namespace ela {

extern const ConvolutionKernels kReferenceConvolution;
const ConvolutionKernels kReferenceConvolution = MakeConvolutionTable<F1>("reference");

}  // namespace ela
