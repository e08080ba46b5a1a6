// The only place where Torch is included: every target that sees Torch shares this precompiled
// header.
#ifndef ELA_MODEL_REFERENCE_TORCH_HEADERS_H_
#define ELA_MODEL_REFERENCE_TORCH_HEADERS_H_

#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>

#endif  // ELA_MODEL_REFERENCE_TORCH_HEADERS_H_
