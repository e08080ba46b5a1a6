// Layers as serving computes them: BatchNorm folded into weights and biases. Computed in double
// from the checkpoint's tensors and rounded once, so that what folding changes stays at float32's
// own rounding.
#ifndef ELA_MODEL_VISION_FOLDED_LAYER_H_
#define ELA_MODEL_VISION_FOLDED_LAYER_H_

#include <vector>

#include "model/checkpoint/weights.h"
#include "model/vision/network_plan.h"

namespace ela {

// y = W * x + b.
struct FoldedConvolution {
  std::vector<float> weight;  // [out, in / groups, kernel, kernel]
  std::vector<float> bias;    // [out]
};

// q, k, v = qkv x; y = scale * x + shift + proj o. C channels.
struct FoldedAttention {
  std::vector<float> qkv;    // [3C, C], the rows of q and k divided by sqrt(head size)
  std::vector<float> proj;   // [C, C], the norm's scale folded in
  std::vector<float> scale;  // [C], of the norm
  std::vector<float> shift;  // [C]
};

// REQUIRES: `weights` was loaded with ExpectedTensors of the layer's plan; the kind fits.
FoldedConvolution FoldConvolution(const Layer& layer, const Weights& weights);
FoldedAttention FoldAttention(const Layer& layer, const Weights& weights);

}  // namespace ela

#endif  // ELA_MODEL_VISION_FOLDED_LAYER_H_
