// From what a network says of every place to the few boxes that are worth telling: threshold, best
// candidates, suppression of what overlaps, limit. Equal scores are ordered by place, then class,
// so that the same input always gives the same list.
#ifndef ELA_MODEL_VISION_BOXES_H_
#define ELA_MODEL_VISION_BOXES_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "model/detector.h"

namespace ela {

// Intersection over union; 0 when either box has no area.
float IntersectionOverUnion(const Box& a, const Box& b);

// What a network says of one picture. Borrowed.
struct Predictions {
  absl::Span<const Box> boxes;     // [n], any order, network pixels
  absl::Span<const float> scores;  // [n, num_classes], row-major
  int32_t num_classes = 0;
  bool every_class = false;  // false: a place speaks for its best class alone (lowest id on ties)
};

struct Selection {
  int32_t num_candidates = 0;  // at or above the threshold, of a wanted class
  int32_t num_invalid = 0;     // of those, dropped: a corner is not finite, or there is no area
  bool truncated = false;      // max_candidates or max_detections cut something off
};

// Keeps its scratch memory: no allocation once it has seen its largest picture.
// Thread-compatible: one per lane.
class BoxSelector {
 public:
  // Fills `detections` (cleared first), best first. A NaN score is never at or above a threshold.
  // A candidate is suppressed by a kept one when their IoU is greater than iou_threshold.
  // Cost: O(n * num_classes + candidates * kept); 0.1 ms for 2,100 places and 3 classes.
  // REQUIRES: options passed CheckDetectionOptions; scores.size() == boxes.size() * num_classes.
  Selection Select(const Predictions& predictions, const DetectionOptions& options,
                   std::vector<Detection>* detections);

 private:
  struct Candidate {
    float score;
    int32_t place;
    int32_t class_id;
  };
  // Kept boxes of one suppression group as columns, padded to whole blocks with empty boxes.
  struct Group {
    std::vector<float> x0, y0, x1, y1, area;
    int32_t num = 0;
    void Clear();
    void Add(const Box& box);
    bool Suppresses(const Box& box, float threshold) const;
  };

  void Gather(const Predictions& predictions, const DetectionOptions& options,
              Selection* selection);

  std::vector<Candidate> candidates_;
  std::vector<uint8_t> wanted_;  // [num_classes]
  std::vector<Group> groups_;    // [num_classes], or 1
};

}  // namespace ela

#endif  // ELA_MODEL_VISION_BOXES_H_
