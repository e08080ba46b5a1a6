// Products with weight matrices. They are nine tenths of the arithmetic, so this is the one place
// that decides in which precision they run.
#ifndef ELA_MODEL_REFERENCE_LINEAR_H_
#define ELA_MODEL_REFERENCE_LINEAR_H_

#include "model/reference/torch_headers.h"

namespace ela::reference {

enum class Precision {
  kFull,      // operands as they are: float64 for the truth, float32 for comparisons
  kBFloat16,  // operands rounded to bfloat16, sums in float32, result in bfloat16: training only
};

// x·wᵀ. x: [..., in], weight: [out, in] -> [..., out] in x's dtype, or in bfloat16 with kBFloat16.
at::Tensor Linear(const at::Tensor& x, const at::Tensor& weight, Precision precision);

// The same, returned in the dtype of `x`.
at::Tensor LinearKeepingType(const at::Tensor& x, const at::Tensor& weight, Precision precision);

}  // namespace ela::reference

#endif  // ELA_MODEL_REFERENCE_LINEAR_H_
