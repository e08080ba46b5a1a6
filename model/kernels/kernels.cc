#include "model/kernels/kernels.h"

namespace ela {

extern const Kernels kPortableKernels;
extern const Kernels kReferenceKernels;

const Kernels* FindKernels(absl::string_view name) {
  const bool v3 = __builtin_cpu_supports("x86-64-v3");
  if (name == "reference") return &kReferenceKernels;
  if (name == "portable") return v3 ? &kPortableKernels : nullptr;
  if (name.empty()) return v3 ? &kPortableKernels : &kReferenceKernels;
  return nullptr;
}

}  // namespace ela
