// What a step of training makes smaller (docs/detection.md 1.4, 2.2 and 2.3): scores that say how well
// the box fits, and boxes that fit. Two parts, so that the second is a plain differentiable
// function: first the targets are fixed, then the loss against them.
#ifndef ELA_MODEL_VISION_TORCH_DETECTION_LOSS_H_
#define ELA_MODEL_VISION_TORCH_DETECTION_LOSS_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "model/reference/torch_headers.h"
#include "model/vision/torch/assignment.h"
#include "model/vision/torch/torch_network.h"

namespace ela::vision {

// kGiou and kCiou: 1 - their similarity. kLogGiou: -log IoU + GIoU's penalty for the empty part of
// the hull; when the predicted box is ten times too large, the gradient of the other two is ten
// times smaller than it should be, and small objects take very long to learn.
enum class BoxLoss : uint8_t { kLogGiou, kGiou, kCiou };

struct LossOptions {
  AssignmentOptions assignment;  // kLatMs
  BoxLoss box_loss = BoxLoss::kLogGiou;
  double score_weight = 1.0;
  double box_weight = 2.0;
  double class_weight = 1.0;  // kLat, kLatDsc: of the cross-entropy over classes
  double focus = 2.0;         // exponent of the quality focal loss; 0: plain cross-entropy
};

// Constants of one batch; P places a picture, K places with an object among all N·P.
struct LossTargets {
  at::Tensor positives;  // [K] int64, ascending: picture · P + place
  at::Tensor boxes;      // [K, 4] x0, y0, x1, y1 in input pixels
  at::Tensor classes;    // [K] int64
  at::Tensor overlaps;   // [K] IoU of predicted and true box: the target of the score
  // [K] that overlap relative to the best at any place of the same true box: how much the place's
  // box counts. A box that nobody fits yet weighs as much as one that is nearly done; weighted by
  // the overlap itself, small objects would never be learnt.
  at::Tensor weights;
  at::Tensor ignored;     // [I] int64, as `positives`; their scores do not count
  int64_t num_boxes = 0;  // usable boxes in the batch
};

// Decodes and assigns, without gradients. targets: [N]. Deterministic.
LossTargets MakeLossTargets(const DetectorConfig& config, const std::vector<RawMaps>& maps,
                            absl::Span<const DetectionTargets> targets, const LossOptions& options);

struct DetectionLoss {
  at::Tensor total;    // scalar to differentiate; the parts below, weighted
  at::Tensor score;    // detached scalars, for logs: quality focal loss
  at::Tensor box;      // BoxLoss, weighted by `weights`
  at::Tensor classes;  // kLat and kLatDsc with several classes
  int64_t num_positives = 0;
  int64_t num_boxes = 0;
  double mean_overlap = 0;  // IoU at the positives
};

// Sums over places are divided by the sum of `weights` (at least 1): an object weighs the same
// however many share the batch, and a batch without any is a loss of its negatives alone. Finite
// for finite maps. Any floating dtype, any device.
DetectionLoss ComputeLoss(const DetectorConfig& config, const std::vector<RawMaps>& maps,
                          const LossTargets& targets, const LossOptions& options);

// Both steps.
inline DetectionLoss ComputeLoss(const DetectorConfig& config, const std::vector<RawMaps>& maps,
                                 absl::Span<const DetectionTargets> targets,
                                 const LossOptions& options) {
  return ComputeLoss(config, maps, MakeLossTargets(config, maps, targets, options), options);
}

// The parts that the tests look at.
// a, b: [K, 4]. [K]; gradients flow into both. GIoU and CIoU as their papers have them (Rezatofighi
// 2019; Zheng 2020), CIoU's trade-off factor a constant to gradients.
at::Tensor OverlapOfPairs(const at::Tensor& a, const at::Tensor& b);
at::Tensor GeneralizedOverlap(const at::Tensor& a, const at::Tensor& b);
at::Tensor CompleteOverlap(const at::Tensor& a, const at::Tensor& b);
at::Tensor BoxDistance(BoxLoss kind, const at::Tensor& a, const at::Tensor& b);  // [K], 0: equal

}  // namespace ela::vision

#endif  // ELA_MODEL_VISION_TORCH_DETECTION_LOSS_H_
