#include "model/vision/boxes.h"

#include <algorithm>
#include <cmath>

#include "model/status_macros.h"

namespace ela {
namespace {

// Kept boxes are compared eight at a time, a number the compiler knows and turns into vectors.
constexpr int32_t kBlock = 8;

bool HasArea(const Box& box) {
  return std::isfinite(box.x0) && std::isfinite(box.y0) && std::isfinite(box.x1) &&
         std::isfinite(box.y1) && box.x0 < box.x1 && box.y0 < box.y1;
}

float Area(const Box& box) { return (box.x1 - box.x0) * (box.y1 - box.y0); }

}  // namespace

float IntersectionOverUnion(const Box& a, const Box& b) {
  const float width = std::max(0.0f, std::min(a.x1, b.x1) - std::max(a.x0, b.x0));
  const float height = std::max(0.0f, std::min(a.y1, b.y1) - std::max(a.y0, b.y0));
  const float intersection = width * height;
  return intersection > 0 ? intersection / (Area(a) + Area(b) - intersection) : 0.0f;
}

void BoxSelector::Group::Clear() {
  for (std::vector<float>* column : {&x0, &y0, &x1, &y1, &area}) column->clear();
  num = 0;
}

void BoxSelector::Group::Add(const Box& box) {
  if (num % kBlock == 0) {
    for (std::vector<float>* column : {&x0, &y0, &x1, &y1, &area}) column->resize(num + kBlock, 0);
  }
  x0[num] = box.x0;
  y0[num] = box.y0;
  x1[num] = box.x1;
  y1[num] = box.y1;
  area[num] = Area(box);
  ++num;
}

bool BoxSelector::Group::Suppresses(const Box& box, float threshold) const {
  const float own_area = Area(box);
  for (int32_t first = 0; first < num; first += kBlock) {
    int32_t hits = 0;
    for (int32_t i = first; i < first + kBlock; ++i) {
      const float width = std::max(0.0f, std::min(x1[i], box.x1) - std::max(x0[i], box.x0));
      const float height = std::max(0.0f, std::min(y1[i], box.y1) - std::max(y0[i], box.y0));
      const float intersection = width * height;
      // intersection / union > threshold without the division; no intersection never suppresses.
      hits += intersection > threshold * (area[i] + own_area - intersection) ? 1 : 0;
    }
    if (hits > 0) return true;
  }
  return false;
}

void BoxSelector::Gather(const Predictions& predictions, const DetectionOptions& options,
                         Selection* selection) {
  const int32_t num_classes = predictions.num_classes;
  wanted_.assign(num_classes, options.classes.empty() ? 1 : 0);
  for (const int32_t id : options.classes) wanted_[id] = 1;
  candidates_.clear();
  const auto consider = [&](int32_t place, int32_t class_id, float score) {
    if (!(score >= options.score_threshold) || wanted_[class_id] == 0) return;
    ++selection->num_candidates;
    if (!HasArea(predictions.boxes[place])) {
      ++selection->num_invalid;
    } else {
      candidates_.push_back({score, place, class_id});
    }
  };
  for (size_t place = 0; place < predictions.boxes.size(); ++place) {
    const float* scores = &predictions.scores[place * num_classes];
    if (predictions.every_class) {
      for (int32_t c = 0; c < num_classes; ++c) consider(place, c, scores[c]);
      continue;
    }
    int32_t best = 0;
    for (int32_t c = 1; c < num_classes; ++c) {
      if (scores[c] > scores[best] || std::isnan(scores[best])) best = c;
    }
    consider(place, best, scores[best]);
  }
}

Selection BoxSelector::Select(const Predictions& predictions, const DetectionOptions& options,
                              std::vector<Detection>* detections) {
  ELA_CHECK(predictions.num_classes >= 1 &&
                predictions.scores.size() == predictions.boxes.size() * predictions.num_classes,
            "every place has one score per class");
  Selection selection;
  detections->clear();
  Gather(predictions, options, &selection);

  const auto better = [](const Candidate& a, const Candidate& b) {
    if (a.score != b.score) return a.score > b.score;
    return a.place != b.place ? a.place < b.place : a.class_id < b.class_id;
  };
  const size_t most = options.max_candidates;
  if (candidates_.size() > most) {
    selection.truncated = true;
    std::nth_element(candidates_.begin(), candidates_.begin() + most, candidates_.end(), better);
    candidates_.resize(most);
  }
  std::sort(candidates_.begin(), candidates_.end(), better);

  const size_t num_groups = options.class_agnostic ? 1 : predictions.num_classes;
  if (groups_.size() < num_groups) groups_.resize(num_groups);
  for (size_t i = 0; i < num_groups; ++i) groups_[i].Clear();
  for (const Candidate& candidate : candidates_) {
    const Box& box = predictions.boxes[candidate.place];
    if (options.suppress) {
      Group& group = groups_[options.class_agnostic ? 0 : candidate.class_id];
      if (group.Suppresses(box, options.iou_threshold)) continue;
      if (detections->size() < static_cast<size_t>(options.max_detections)) group.Add(box);
    }
    if (detections->size() == static_cast<size_t>(options.max_detections)) {
      selection.truncated = true;
      break;
    }
    detections->push_back({box, candidate.score, candidate.class_id});
  }
  return selection;
}

}  // namespace ela
