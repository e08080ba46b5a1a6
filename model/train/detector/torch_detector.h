// The detector interface on the LibTorch network: what training validates with, and the yardstick
// for the serving kernels. One lane.
#ifndef ELA_MODEL_TRAIN_DETECTOR_TORCH_DETECTOR_H_
#define ELA_MODEL_TRAIN_DETECTOR_TORCH_DETECTOR_H_

#include <vector>

#include "model/detector.h"
#include "model/vision/boxes.h"
#include "model/vision/head.h"
#include "model/vision/torch/torch_network.h"

namespace ela::train {

// The info's model_fingerprint is empty: the weights may still be in training.
class TorchDetector : public Detector {
 public:
  explicit TorchDetector(vision::TorchNetwork network);

  const DetectorInfo& Info() const override { return info_; }
  DetectTimes Detect(int32_t lane, int32_t width, int32_t height,
                     absl::Span<const DetectItem> items, absl::Span<DetectOutput> outputs) override;

 private:
  const vision::TorchNetwork network_;
  DetectorInfo info_;
  HeadReading reading_;
  BoxSelector selector_;
};

}  // namespace ela::train

#endif  // ELA_MODEL_TRAIN_DETECTOR_TORCH_DETECTOR_H_
