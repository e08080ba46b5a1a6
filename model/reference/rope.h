#ifndef ELA_MODEL_REFERENCE_ROPE_H_
#define ELA_MODEL_REFERENCE_ROPE_H_

#include "model/reference/torch_headers.h"

namespace ela::reference {

// Rotary position encoding: of each head, the consecutive pairs (2i, 2i+1) turn by
// position·theta^(−2i/D). x: [B, H, L, D] with D even; position 0 is the first of L. Angles are
// computed in double: at position 1e6 float32 would be wrong by 0.03 rad.
at::Tensor Rope(const at::Tensor& x, double theta);

}  // namespace ela::reference

#endif  // ELA_MODEL_REFERENCE_ROPE_H_
