#ifndef ELA_MODEL_REFERENCE_RMS_NORM_H_
#define ELA_MODEL_REFERENCE_RMS_NORM_H_

#include "model/reference/torch_headers.h"

namespace ela::reference {

// x / sqrt(mean(x²) + eps) · weight over the last dimension. x: [..., d], weight: [d].
at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double eps);

}  // namespace ela::reference

#endif  // ELA_MODEL_REFERENCE_RMS_NORM_H_
