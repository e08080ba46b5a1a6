#include "model/vision/torch/detection_loss.h"

#include <algorithm>
#include <cmath>

#include "model/status_macros.h"

namespace ela::vision {
namespace {

constexpr double kEpsilon = 1e-9;          // keeps divisions by areas of vanished boxes finite
constexpr double kSmallestOverlap = 1e-3;  // bounds the logarithm and its gradient

// All scales side by side: place p of picture n is row n · P + p.
struct Flat {
  at::Tensor scores;  // [N·P, C]
  at::Tensor boxes;   // [N·P, 4] raw
  std::vector<MapSize> maps;
  std::vector<Place> places;  // [P]
  int64_t num_pictures = 0;
};

at::Tensor Rows(const at::Tensor& map) {  // [N, C, rows, columns] -> [N, rows · columns, C]
  return map.flatten(2).transpose(1, 2);
}

Flat Flatten(const DetectorConfig& config, const std::vector<RawMaps>& maps) {
  Flat flat;
  flat.num_pictures = maps[0].scores.size(0);
  std::vector<at::Tensor> scores, boxes;
  for (const RawMaps& raw : maps) {
    flat.maps.push_back({static_cast<int32_t>(raw.scores.size(2)),
                         static_cast<int32_t>(raw.scores.size(3)), raw.stride});
    const at::Tensor rows = Rows(raw.scores);
    if (config.variant == DetectorVariant::kLatMs) {
      scores.push_back(rows);
      boxes.push_back(Rows(raw.distances));
    } else {  // objectness and classes; the box lies between them
      scores.push_back(at::cat({rows.narrow(2, 0, 1), rows.narrow(2, 5, config.num_classes())}, 2));
      boxes.push_back(rows.narrow(2, 1, 4));
    }
  }
  flat.scores = at::cat(scores, 1).flatten(0, 1);
  flat.boxes = at::cat(boxes, 1).flatten(0, 1);
  flat.places = PlacesOf(flat.maps);
  return flat;
}

// raw: [K, 4]; rows: [K] int64 of Flat. The boxes of head.h, [K, 4].
at::Tensor Decode(const DetectorConfig& config, const Flat& flat, const at::Tensor& raw,
                  const at::Tensor& rows) {
  const int64_t num_places = static_cast<int64_t>(flat.places.size());
  const at::Tensor table =
      at::from_blob(const_cast<Place*>(flat.places.data()), {num_places, 3}, at::kFloat)
          .to(raw.device(), raw.scalar_type());
  const at::Tensor place = table.index_select(0, rows.remainder(num_places));
  const at::Tensor centre = place.narrow(1, 0, 2), stride = place.narrow(1, 2, 1);
  if (config.variant == DetectorVariant::kLatMs) {
    const at::Tensor distance = at::softplus(raw) * stride;
    return at::cat({centre - distance.narrow(1, 0, 2), centre + distance.narrow(1, 2, 2)}, 1);
  }
  const at::Tensor cell = at::sigmoid(raw) * stride;
  const at::Tensor own = centre - 0.5 * stride + cell.narrow(1, 0, 2);
  const at::Tensor half = cell.narrow(1, 2, 2);
  return at::cat({own - half, own + half}, 1);
}

struct Corners {
  at::Tensor low, high;  // [K, 2] each
};
Corners CornersOf(const at::Tensor& boxes) {
  return {boxes.narrow(1, 0, 2), boxes.narrow(1, 2, 2)};
}

at::Tensor Area(const at::Tensor& sides) { return sides.select(1, 0) * sides.select(1, 1); }

struct Overlap {
  at::Tensor ratio, joined;  // IoU, area of the union
};
Overlap OverlapOf(const Corners& a, const Corners& b) {
  const at::Tensor common =
      Area((at::minimum(a.high, b.high) - at::maximum(a.low, b.low)).clamp_min(0));
  const at::Tensor joined = Area(a.high - a.low) + Area(b.high - b.low) - common;
  return {common / joined.clamp_min(kEpsilon), joined};
}

at::Tensor Hull(const Corners& a, const Corners& b) {
  return at::maximum(a.high, b.high) - at::minimum(a.low, b.low);
}

// |sigmoid(x) - y|^focus · binary cross-entropy, elementwise (Li 2020, quality focal loss).
at::Tensor QualityFocal(const at::Tensor& logits, const at::Tensor& targets, double focus) {
  const at::Tensor entropy =
      at::binary_cross_entropy_with_logits(logits, targets, {}, {}, at::Reduction::None);
  if (focus == 0) return entropy;
  const at::Tensor gap = at::sigmoid(logits) - targets;
  return (focus == 2 ? gap.square() : gap.abs().pow(focus)) * entropy;
}

// Each overlap as a part of the largest one of the same true box; equal parts where all are 0.
at::Tensor RelativeOverlaps(const at::Tensor& overlaps, const std::vector<int64_t>& answers_for,
                            int64_t num_boxes) {
  const at::Tensor values = overlaps.to(at::kCPU, at::kDouble).contiguous().add(kEpsilon);
  double* value = values.data_ptr<double>();
  std::vector<double> best(num_boxes, 0);
  for (size_t i = 0; i < answers_for.size(); ++i) {
    best[answers_for[i]] = std::max(best[answers_for[i]], value[i]);
  }
  for (size_t i = 0; i < answers_for.size(); ++i) value[i] /= best[answers_for[i]];
  return values.to(overlaps.device(), overlaps.scalar_type());
}

}  // namespace

at::Tensor OverlapOfPairs(const at::Tensor& a, const at::Tensor& b) {
  return OverlapOf(CornersOf(a), CornersOf(b)).ratio;
}

at::Tensor GeneralizedOverlap(const at::Tensor& a, const at::Tensor& b) {
  const Corners first = CornersOf(a), second = CornersOf(b);
  const Overlap overlap = OverlapOf(first, second);
  const at::Tensor hull = Area(Hull(first, second)).clamp_min(kEpsilon);
  return overlap.ratio - (hull - overlap.joined) / hull;
}

at::Tensor CompleteOverlap(const at::Tensor& a, const at::Tensor& b) {
  const Corners first = CornersOf(a), second = CornersOf(b);
  const at::Tensor ratio = OverlapOf(first, second).ratio;
  const at::Tensor apart =
      ((first.low + first.high - second.low - second.high) / 2).square().sum(1);
  const at::Tensor diagonal = Hull(first, second).square().sum(1).clamp_min(kEpsilon);
  const auto slant = [](const Corners& box) {
    const at::Tensor sides = (box.high - box.low).clamp_min(kEpsilon);
    return at::atan2(sides.select(1, 0), sides.select(1, 1));
  };
  const at::Tensor aspect = (4 / (M_PI * M_PI)) * (slant(first) - slant(second)).square();
  const at::Tensor trade_off = (aspect / (1 - ratio + aspect + kEpsilon)).detach();
  return ratio - apart / diagonal - trade_off * aspect;
}

at::Tensor BoxDistance(BoxLoss kind, const at::Tensor& a, const at::Tensor& b) {
  if (kind == BoxLoss::kCiou) return 1 - CompleteOverlap(a, b);
  const at::Tensor generalized = GeneralizedOverlap(a, b);
  if (kind == BoxLoss::kGiou) return 1 - generalized;
  const at::Tensor ratio = OverlapOfPairs(a, b);
  return std::log1p(kSmallestOverlap) - (ratio + kSmallestOverlap).log() + (ratio - generalized);
}

LossTargets MakeLossTargets(const DetectorConfig& config, const std::vector<RawMaps>& maps,
                            absl::Span<const DetectionTargets> targets,
                            const LossOptions& options) {
  at::NoGradGuard no_grad;
  const Flat flat = Flatten(config, maps);
  ELA_CHECK(static_cast<int64_t>(targets.size()) == flat.num_pictures,
            "every picture of a batch has its targets");
  const int64_t num_places = static_cast<int64_t>(flat.places.size());
  const int32_t num_classes = config.num_classes();
  const auto on_cpu = [](const at::Tensor& x) { return x.to(at::kCPU, at::kFloat).contiguous(); };
  const at::Tensor every = at::arange(flat.scores.size(0), flat.scores.options().dtype(at::kLong));
  const at::Tensor predicted = Decode(config, flat, flat.boxes, every);

  at::Tensor logits, boxes;  // what the assignment by cost looks at
  if (config.variant == DetectorVariant::kLatMs) {
    logits = on_cpu(flat.scores);
    boxes = on_cpu(predicted);
  }
  std::vector<int64_t> positives, classes, ignored;
  std::vector<float> true_boxes;
  std::vector<int64_t> answers_for;  // [K] number of the true box, over the whole batch
  int64_t first_box = 0;
  LossTargets result;
  for (int64_t n = 0; n < flat.num_pictures; ++n) {
    const DetectionTargets& of_picture = targets[n];
    Assignment assignment;
    if (config.variant == DetectorVariant::kLatMs) {
      const size_t count = static_cast<size_t>(num_places);
      const auto* own_boxes =
          reinterpret_cast<const Box*>(boxes.const_data_ptr<float>()) + n * num_places;
      const float* own_logits = logits.const_data_ptr<float>() + n * num_places * num_classes;
      assignment =
          AssignByCost(of_picture, flat.maps, flat.places, {own_logits, count * num_classes},
                       {own_boxes, count}, num_classes, options.assignment);
    } else {
      assignment = AssignByReach(of_picture, flat.maps[0]);
    }
    for (const Box& box : of_picture.boxes) result.num_boxes += IsUsable(box);
    for (int64_t p = 0; p < num_places; ++p) {
      if (assignment[p] == kIgnored) ignored.push_back(n * num_places + p);
      if (assignment[p] < 0) continue;
      const Box& box = of_picture.boxes[assignment[p]];
      positives.push_back(n * num_places + p);
      classes.push_back(of_picture.class_ids[assignment[p]]);
      true_boxes.insert(true_boxes.end(), {box.x0, box.y0, box.x1, box.y1});
      answers_for.push_back(first_box + assignment[p]);
    }
    first_box += static_cast<int64_t>(of_picture.boxes.size());
  }
  const auto device = flat.scores.device();
  const at::ScalarType dtype = flat.scores.scalar_type();
  result.positives = at::tensor(positives, at::kLong).to(device);
  result.classes = at::tensor(classes, at::kLong).to(device);
  result.ignored = at::tensor(ignored, at::kLong).to(device);
  result.boxes = at::tensor(true_boxes, at::kFloat).view({-1, 4}).to(device, dtype);
  result.overlaps =
      OverlapOfPairs(predicted.index_select(0, result.positives), result.boxes).clamp(0, 1);
  result.weights = RelativeOverlaps(result.overlaps, answers_for, first_box);
  return result;
}

DetectionLoss ComputeLoss(const DetectorConfig& config, const std::vector<RawMaps>& maps,
                          const LossTargets& targets, const LossOptions& options) {
  const Flat flat = Flatten(config, maps);
  const at::Tensor normaliser = targets.weights.sum().clamp_min(1);
  DetectionLoss loss;
  loss.num_positives = targets.positives.size(0);
  loss.num_boxes = targets.num_boxes;
  if (loss.num_positives > 0) loss.mean_overlap = targets.overlaps.mean().item<double>();

  const bool one_score = config.variant != DetectorVariant::kLatMs;
  const at::Tensor logits = one_score ? flat.scores.narrow(1, 0, 1) : flat.scores;
  const at::Tensor column =
      one_score ? at::zeros_like(targets.classes) : targets.classes;  // that a positive trains
  at::Tensor wanted = at::zeros_like(logits);
  wanted.index_put_({targets.positives, column}, targets.overlaps);
  at::Tensor score = QualityFocal(logits, wanted, options.focus);
  if (targets.ignored.size(0) > 0) {
    at::Tensor counts = at::ones({logits.size(0), 1}, logits.options());
    counts.index_fill_(0, targets.ignored, 0);
    score = score * counts;
  }
  const at::Tensor score_part = options.score_weight * score.sum() / normaliser;

  const at::Tensor predicted =
      Decode(config, flat, flat.boxes.index_select(0, targets.positives), targets.positives);
  const at::Tensor distance = BoxDistance(options.box_loss, predicted, targets.boxes);
  const at::Tensor box_part = options.box_weight * (distance * targets.weights).sum() / normaliser;

  at::Tensor class_part = at::zeros({}, logits.options());
  if (one_score && config.num_classes() > 1) {
    const at::Tensor entropy = at::cross_entropy_loss(
        flat.scores.narrow(1, 1, config.num_classes()).index_select(0, targets.positives),
        targets.classes, {}, at::Reduction::None);
    class_part = options.class_weight * (entropy * targets.weights).sum() / normaliser;
  }
  loss.total = score_part + box_part + class_part;
  loss.score = score_part.detach();
  loss.box = box_part.detach();
  loss.classes = class_part.detach();
  return loss;
}

}  // namespace ela::vision
