#ifndef ELA_MODEL_TRAIN_NEXT_TOKEN_LOSS_H_
#define ELA_MODEL_TRAIN_NEXT_TOKEN_LOSS_H_

#include "model/reference/linear.h"
#include "model/reference/torch_headers.h"

namespace ela::train {

// Mean of −log p(target), in nats. hidden: [N, d], embedding: [V, d] (tied), targets: [N] int64 ->
// scalar. Logits exist for a few hundred rows at a time and their gradient is formed on the spot:
// [N, V] would be the largest tensor of a step, written and read five times. With gradients
// disabled the backward products are left out. Softmax and sum run in float32 (float64 for float64
// inputs) whatever `precision` is.
at::Tensor NextTokenLoss(const at::Tensor& hidden, const at::Tensor& embedding,
                         const at::Tensor& targets, reference::Precision precision);

}  // namespace ela::train

#endif  // ELA_MODEL_TRAIN_NEXT_TOKEN_LOSS_H_
