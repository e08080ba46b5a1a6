// The network that serves: folded, packed weights and the passes over them, in float32 on the
// convolution kernels (model/kernels/convolution.h). The raw maps it leaves are read by head.h.
#ifndef ELA_MODEL_VISION_CPU_NETWORK_H_
#define ELA_MODEL_VISION_CPU_NETWORK_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "model/checkpoint/weights.h"
#include "model/kernels/aligned_buffer.h"
#include "model/kernels/convolution.h"
#include "model/vision/head.h"
#include "model/vision/map_layout.h"
#include "model/vision/network_plan.h"

namespace ela {

// What goes in. Borrowed while Run runs.
struct NetworkInput {
  int32_t width = 0;  // multiples of the coarsest map's reduction
  int32_t height = 0;
  const uint8_t* bytes = nullptr;  // [height, width, 3], RGB; the network sees bytes / 255
  const float* values = nullptr;   // used where bytes is null: what the network sees, same order
};

// Immutable after construction, thread-safe: one for all lanes.
class CpuNetwork {
 public:
  // One lane's memory: maps, and where they lie for the sizes seen of late. As large as the largest
  // size needed: lat-ms 3 MB at 320 x 320, 43 MB at 1280 x 1280. Thread-compatible.
  class Scratch;

  // REQUIRES: `weights` was loaded with ExpectedTensors(plan); no softmax attention.
  CpuNetwork(NetworkPlan plan, const Weights& weights, const ConvolutionKernels& kernels);
  ~CpuNetwork();
  CpuNetwork(const CpuNetwork&) = delete;
  CpuNetwork& operator=(const CpuNetwork&) = delete;

  // The raw maps of plan.outputs, valid until the scratch is used again. Allocates when a size is
  // not among the last few that this scratch has seen. Denormals are flushed inside. What overflows
  // is not finite in the maps; nothing else happens.
  absl::Span<const HeadMaps> Run(const NetworkInput& input, Scratch* scratch) const;

  int64_t weight_bytes() const { return weight_bytes_; }

 private:
  struct Convolution;
  struct Depthwise;
  struct Step;  // a pass with its weights
  struct Plan;  // what a size of picture adds: places and offsets
  struct Walk;

  std::unique_ptr<Plan> MakePlan(int32_t width, int32_t height) const;
  const Plan& PlanFor(int32_t width, int32_t height, Scratch* scratch) const;
  void RunConvolution(size_t index, const NetworkInput& input, const Plan& plan,
                      float* memory) const;
  void RunDepthwise(size_t index, const Plan& plan, float* memory) const;
  void RunSum(size_t index, const Plan& plan, float* memory) const;
  void RunAttention(size_t index, const Plan& plan, float* memory) const;

  const NetworkPlan plan_;
  const std::vector<Pass> passes_;
  const ConvolutionKernels& kernels_;
  std::vector<Step> steps_;  // by pass
  int64_t weight_bytes_ = 0;
};

class CpuNetwork::Scratch {
 public:
  Scratch();
  ~Scratch();
  Scratch(Scratch&&) noexcept;
  Scratch& operator=(Scratch&&) noexcept;

 private:
  friend class CpuNetwork;
  static constexpr size_t kMaxPlans = 8;

  AlignedBuffer memory_;
  std::vector<std::unique_ptr<Plan>> plans_;  // the one used last comes first
  std::vector<HeadMaps> maps_;
};

}  // namespace ela

#endif  // ELA_MODEL_VISION_CPU_NETWORK_H_
