// The tensors of a detector in training: what the optimizer moves, what BatchNorm counts, and the
// moving average of both, which is what is validated and kept.
#ifndef ELA_MODEL_TRAIN_DETECTOR_DETECTOR_WEIGHTS_H_
#define ELA_MODEL_TRAIN_DETECTOR_DETECTOR_WEIGHTS_H_

#include <cstdint>
#include <vector>

#include "model/train/parameters.h"
#include "model/train/train_state.h"
#include "model/vision/torch/torch_network.h"

namespace ela::train {

class DetectorWeights {
 public:
  DetectorWeights(const DetectorConfig& config, uint64_t seed);

  const Parameters& parameters() const { return parameters_; }
  const vision::TorchNetwork& network() const { return network_; }  // in training
  const vision::TorchNetwork& average() const { return average_; }  // its average; no gradients

  // average = d * average + (1 - d) * weights with d = min(decay, (1 + step) / (10 + step)): the
  // first steps are not remembered. `step` counts from 0.
  void MoveAverage(int64_t step, double decay);

  // For saving and loading; views.
  std::vector<NamedBuffer> Buffers() const;

 private:
  explicit DetectorWeights(const DetectorConfig& config,
                           const std::vector<reference::NamedParameter>& initial);

  Parameters parameters_;
  at::Tensor statistics_;  // [S] running means and variances of all layers
  at::Tensor average_values_, average_statistics_;
  vision::TorchNetwork network_, average_;
};

}  // namespace ela::train

#endif  // ELA_MODEL_TRAIN_DETECTOR_DETECTOR_WEIGHTS_H_
