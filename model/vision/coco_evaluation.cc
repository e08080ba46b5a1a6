#include "model/vision/coco_evaluation.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "model/status_macros.h"

namespace ela {
namespace {

constexpr int kThresholds = 10;
constexpr int kMaxDetections = 100;
constexpr std::array<int, 3> kLimits = {1, 10, kMaxDetections};
struct AreaRange {
  double low, high;
};
constexpr std::array<AreaRange, 4> kAreas = {
    {{0, 1e10}, {0, 32.0 * 32}, {32.0 * 32, 96.0 * 96}, {96.0 * 96, 1e10}}};

// The same doubles that numpy's linspace makes: they are compared with IoUs and recalls.
double IouThreshold(int t) { return t == kThresholds - 1 ? 0.95 : t * ((0.95 - 0.5) / 9) + 0.5; }
double RecallPoint(int r) { return r == kCocoRecallPoints - 1 ? 1.0 : r * 0.01; }

// Of a crowd the detection's own area is the union: any part of a crowd is a full hit.
double Overlap(const CocoBox& detection, const CocoTruth& truth) {
  const CocoBox& box = truth.box;
  const double width =
      std::min(detection.x + detection.width, box.x + box.width) - std::max(detection.x, box.x);
  const double height =
      std::min(detection.y + detection.height, box.y + box.height) - std::max(detection.y, box.y);
  if (width <= 0 || height <= 0) return 0;
  const double own = detection.width * detection.height;
  const double intersection = width * height;
  return intersection / (truth.crowd ? own : own + box.width * box.height - intersection);
}

// One class in one picture: detections best first, and all overlaps.
struct Pair {
  std::vector<const CocoTruth*> truths;
  std::vector<const CocoDetection*> detections;  // at most kMaxDetections
  std::vector<double> overlaps;                  // [detections, truths]
};

enum class Verdict : uint8_t { kFalse, kTrue, kIgnored };

// Detections of one class and area range over all pictures.
struct Judged {
  std::vector<double> scores;
  std::vector<int> ranks;  // within the picture, from 0
  std::array<std::vector<Verdict>, kThresholds> verdicts;
  int64_t num_truths = 0;  // that count
};

bool Outside(double area, const AreaRange& range) { return area < range.low || area > range.high; }

// Gives each detection, best first, the free truth that it overlaps most; of equal overlaps the
// last one. Truths that count are preferred to ignored ones; only crowds are given twice.
void Judge(const Pair& pair, const AreaRange& range, Judged* judged) {
  const size_t num_truths = pair.truths.size();
  std::vector<char> ignored(num_truths);
  for (size_t g = 0; g < num_truths; ++g) {
    ignored[g] = pair.truths[g]->crowd || Outside(pair.truths[g]->area, range);
    judged->num_truths += ignored[g] ? 0 : 1;
  }
  std::vector<size_t> order(num_truths);
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return ignored[a] < ignored[b]; });
  for (size_t d = 0; d < pair.detections.size(); ++d) {
    judged->scores.push_back(pair.detections[d]->score);
    judged->ranks.push_back(static_cast<int>(d));
  }
  std::vector<char> taken(num_truths);
  for (int t = 0; t < kThresholds; ++t) {
    std::fill(taken.begin(), taken.end(), 0);
    for (size_t d = 0; d < pair.detections.size(); ++d) {
      double best_overlap = std::min(IouThreshold(t), 1 - 1e-10);
      ptrdiff_t best = -1;
      for (const size_t g : order) {
        if (taken[g] && !pair.truths[g]->crowd) continue;
        if (best >= 0 && !ignored[best] && ignored[g]) break;
        const double overlap = pair.overlaps[d * num_truths + g];
        if (overlap < best_overlap) continue;
        best_overlap = overlap;
        best = static_cast<ptrdiff_t>(g);
      }
      Verdict verdict = Verdict::kFalse;
      if (best >= 0) {
        taken[best] = 1;
        verdict = ignored[best] ? Verdict::kIgnored : Verdict::kTrue;
      } else {
        const CocoBox& box = pair.detections[d]->box;
        if (Outside(box.width * box.height, range)) verdict = Verdict::kIgnored;
      }
      judged->verdicts[t].push_back(verdict);
    }
  }
}

struct Curve {
  double recall = 0;
  std::array<double, kCocoRecallPoints> precision{};
};

// `order`: detections best first over all pictures; those ranked `limit` or later are left out.
Curve CurveOf(const Judged& judged, const std::vector<size_t>& order, int threshold, int limit) {
  std::vector<double> recalls, precisions;
  double hits = 0, misses = 0;
  for (const size_t i : order) {
    if (judged.ranks[i] >= limit) continue;
    hits += judged.verdicts[threshold][i] == Verdict::kTrue ? 1 : 0;
    misses += judged.verdicts[threshold][i] == Verdict::kFalse ? 1 : 0;
    recalls.push_back(hits / judged.num_truths);
    precisions.push_back(hits / (misses + hits + std::numeric_limits<double>::epsilon()));
  }
  Curve curve;
  if (!recalls.empty()) curve.recall = recalls.back();
  for (size_t i = precisions.size(); i-- > 1;) {
    precisions[i - 1] = std::max(precisions[i - 1], precisions[i]);
  }
  for (int r = 0; r < kCocoRecallPoints; ++r) {
    const size_t i =
        std::lower_bound(recalls.begin(), recalls.end(), RecallPoint(r)) - recalls.begin();
    if (i == recalls.size()) break;
    curve.precision[r] = precisions[i];
  }
  return curve;
}

// The mean of what was added; -1 of nothing.
class Mean {
 public:
  void Add(double value) {
    sum_ += value;
    ++num_;
  }
  double Value() const { return num_ == 0 ? -1 : sum_ / num_; }

 private:
  double sum_ = 0;
  int64_t num_ = 0;
};

double Average(const Curve& curve) {
  return std::accumulate(curve.precision.begin(), curve.precision.end(), 0.0) / kCocoRecallPoints;
}

absl::Status Check(const CocoBox& box, int32_t class_id, double number, size_t image,
                   int32_t num_classes) {
  if (class_id < 0 || class_id >= num_classes) {
    return absl::InvalidArgumentError(
        absl::StrCat("image ", image, ": class ", class_id, " is not in [0, ", num_classes, ")"));
  }
  for (const double value : {box.x, box.y, box.width, box.height, number}) {
    if (!std::isfinite(value)) {
      return absl::InvalidArgumentError(
          absl::StrCat("image ", image, ": a box, area or score is ", value));
    }
  }
  return absl::OkStatus();
}

std::vector<Pair> PairsOf(const CocoImage& image, int32_t num_classes) {
  std::vector<Pair> pairs(num_classes);
  for (const CocoTruth& truth : image.truths) pairs[truth.class_id].truths.push_back(&truth);
  for (const CocoDetection& d : image.detections) pairs[d.class_id].detections.push_back(&d);
  for (Pair& pair : pairs) {
    std::stable_sort(
        pair.detections.begin(), pair.detections.end(),
        [](const CocoDetection* a, const CocoDetection* b) { return a->score > b->score; });
    if (pair.detections.size() > kMaxDetections) pair.detections.resize(kMaxDetections);
    for (const CocoDetection* detection : pair.detections) {
      for (const CocoTruth* truth : pair.truths) {
        pair.overlaps.push_back(Overlap(detection->box, *truth));
      }
    }
  }
  return pairs;
}

}  // namespace

absl::StatusOr<CocoResult> EvaluateCoco(const std::vector<CocoImage>& images, int32_t num_classes) {
  std::vector<std::array<Judged, kAreas.size()>> judged(num_classes);
  for (size_t i = 0; i < images.size(); ++i) {
    for (const CocoTruth& t : images[i].truths) {
      ELA_RETURN_IF_ERROR(Check(t.box, t.class_id, t.area, i, num_classes));
    }
    for (const CocoDetection& d : images[i].detections) {
      ELA_RETURN_IF_ERROR(Check(d.box, d.class_id, d.score, i, num_classes));
    }
    const std::vector<Pair> pairs = PairsOf(images[i], num_classes);
    for (int32_t c = 0; c < num_classes; ++c) {
      for (size_t a = 0; a < kAreas.size(); ++a) Judge(pairs[c], kAreas[a], &judged[c][a]);
    }
  }

  CocoResult result;
  result.classes.resize(num_classes);
  std::array<Mean, kAreas.size()> map, recall;
  Mean map50, map75, recall_1, recall_10;
  for (int32_t c = 0; c < num_classes; ++c) {
    CocoClassResult& of_class = result.classes[c];
    Mean class_map;
    for (size_t a = 0; a < kAreas.size(); ++a) {
      const Judged& of_range = judged[c][a];
      if (a == 0) of_class.num_truths = of_range.num_truths;
      if (of_range.num_truths == 0) continue;
      std::vector<size_t> order(of_range.scores.size());
      std::iota(order.begin(), order.end(), size_t{0});
      std::stable_sort(order.begin(), order.end(),
                       [&](size_t x, size_t y) { return of_range.scores[x] > of_range.scores[y]; });
      for (int t = 0; t < kThresholds; ++t) {
        const Curve curve = CurveOf(of_range, order, t, kMaxDetections);
        const double average = Average(curve);
        map[a].Add(average);
        recall[a].Add(curve.recall);
        if (a != 0) continue;
        class_map.Add(average);
        recall_1.Add(CurveOf(of_range, order, t, kLimits[0]).recall);
        recall_10.Add(CurveOf(of_range, order, t, kLimits[1]).recall);
        if (t == 0) {
          map50.Add(average);
          of_class.map50 = average;
          of_class.recall50 = curve.recall;
          of_class.precision50 = curve.precision;
        }
        if (t == 5) {
          map75.Add(average);
          of_class.map75 = average;
        }
      }
    }
    of_class.map = class_map.Value();
  }
  result.map = map[0].Value();
  result.map50 = map50.Value();
  result.map75 = map75.Value();
  result.map_small = map[1].Value();
  result.map_medium = map[2].Value();
  result.map_large = map[3].Value();
  result.recall_1 = recall_1.Value();
  result.recall_10 = recall_10.Value();
  result.recall_100 = recall[0].Value();
  result.recall_small = recall[1].Value();
  result.recall_medium = recall[2].Value();
  result.recall_large = recall[3].Value();
  return result;
}

}  // namespace ela
