// Compiled with -march=x86-64-v3: eight lanes.
#include "model/kernels/table.h"

namespace ela {

extern const Kernels kPortableKernels;
const Kernels kPortableKernels = MakeTable<F8>("portable");

}  // namespace ela
