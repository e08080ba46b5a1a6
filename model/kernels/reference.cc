// Compiled for any machine, without vectors: one lane. Slow; the truth that other tables equal.
#include "model/kernels/table.h"

namespace ela {

extern const Kernels kReferenceKernels;
const Kernels kReferenceKernels = MakeTable<F1>("reference");

}  // namespace ela
