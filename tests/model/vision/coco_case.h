// One evaluation case as JSON: {"num_classes": K, "images": [{"truths": [[class, x, y, w, h, area,
// crowd]], "detections": [[class, x, y, w, h, score]]}]}, as coco_differential.py writes it.
#ifndef ELA_TESTS_MODEL_VISION_COCO_CASE_H_
#define ELA_TESTS_MODEL_VISION_COCO_CASE_H_

#include <nlohmann/json.hpp>
#include <vector>

#include "model/vision/coco_evaluation.h"

namespace ela {

inline std::vector<CocoImage> CocoCase(const nlohmann::json& json) {
  std::vector<CocoImage> images;
  for (const nlohmann::json& from : json.at("images")) {
    CocoImage image;
    for (const auto& t : from.at("truths")) {
      image.truths.push_back({t[0], {t[1], t[2], t[3], t[4]}, t[5], t[6].get<int>() != 0});
    }
    for (const auto& d : from.at("detections")) {
      image.detections.push_back({d[0], {d[1], d[2], d[3], d[4]}, d[5]});
    }
    images.push_back(std::move(image));
  }
  return images;
}

// In the order of pycocotools' COCOeval.stats.
inline std::vector<double> CocoStats(const CocoResult& r) {
  return {r.map,      r.map50,     r.map75,      r.map_small,    r.map_medium,    r.map_large,
          r.recall_1, r.recall_10, r.recall_100, r.recall_small, r.recall_medium, r.recall_large};
}

}  // namespace ela

#endif  // ELA_TESTS_MODEL_VISION_COCO_CASE_H_
