#ifndef ELA_MODEL_REFERENCE_SHORT_CONV_H_
#define ELA_MODEL_REFERENCE_SHORT_CONV_H_

#include "model/reference/torch_headers.h"

namespace ela::reference {

// Depthwise causal convolution over positions, zeros before the start, no bias, no activation:
// y_t = sum_j weight[:, j] · x_{t−(W−1−j)}. x: [B, L, channels], weight: [channels, W]
// (docs/model.md 2).
at::Tensor ShortConv(const at::Tensor& x, const at::Tensor& weight);

}  // namespace ela::reference

#endif  // ELA_MODEL_REFERENCE_SHORT_CONV_H_
