// The detector on own CPU kernels: what the server runs. No LibTorch.
#ifndef ELA_MODEL_VISION_CPU_DETECTOR_H_
#define ELA_MODEL_VISION_CPU_DETECTOR_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "model/detector.h"

namespace ela {

struct CpuDetectorOptions {
  int32_t num_lanes = 2;  // [1, 64]; each is one thread of the caller's and its own scratch memory
};

// Loads a checkpoint directory ("model_type": "yolo_lat"), folds BatchNorm, packs the weights.
// Errors: kNotFound, kInvalidArgument (every problem of config and tensors), kDataLoss.
absl::StatusOr<std::unique_ptr<Detector>> CreateCpuDetector(const std::string& directory,
                                                            const CpuDetectorOptions& options);

}  // namespace ela

#endif  // ELA_MODEL_VISION_CPU_DETECTOR_H_
