// Which places of the maps answer for which true box (docs/detection.md 2.2): several for each box,
// chosen anew at every step by how well the network does there. Plain C++ over borrowed memory; a
// box only ever looks at the few places that may answer for it, so a batch takes milliseconds.
#ifndef ELA_MODEL_VISION_TORCH_ASSIGNMENT_H_
#define ELA_MODEL_VISION_TORCH_ASSIGNMENT_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "model/detector.h"

namespace ela::vision {

// What is true of one picture, in pixels of the network's input.
struct DetectionTargets {
  std::vector<Box> boxes;          // those that are not finite or have no area count as absent
  std::vector<int32_t> class_ids;  // [boxes.size()]
  std::vector<Box> ignored;        // crowds: places with their centre inside are no negatives
};

// A place: one cell of one map.
struct Place {
  float x = 0;  // centre, input pixels
  float y = 0;
  float stride = 0;
};
// Scale by scale, row-major: the order of HeadReading.
struct MapSize {
  int32_t rows = 0;
  int32_t columns = 0;
  int32_t stride = 0;
};
std::vector<Place> PlacesOf(absl::Span<const MapSize> maps);

constexpr int32_t kNegative = -1;
constexpr int32_t kIgnored = -2;

// Of each place the box that it answers for (an index into DetectionTargets::boxes), or one of the
// two above.
using Assignment = std::vector<int32_t>;

struct AssignmentOptions {
  // A place may answer when its centre is inside the box, or within this many of its own cells of
  // the box's centre, in both axes.
  float radius = 1.0f;
  int32_t num_overlaps = 13;    // a box gets as many places as its best IoUs sum up to …
  int32_t min_places = 1;       // … and at least so many
  float overlap_weight = 3.0f;  // of -log IoU beside -log of the class's score
};

// For kLatMs. places: [P] of PlacesOf(maps); logits: [P, num_classes] raw scores; boxes: [P] as
// predicted. Cost of a place = -log score of the class + overlap_weight · -log IoU +
// 10^(distance from the box's centre in cells - 3); the cheapest are taken, a place wanted by two
// boxes goes to the one to which it is cheaper, and a box left without any gets the cheapest free
// place, or the nearest one. Equal costs: the lower place, then the lower box. The order of the
// boxes makes no other difference.
Assignment AssignByCost(const DetectionTargets& targets, absl::Span<const MapSize> maps,
                        absl::Span<const Place> places, absl::Span<const float> logits,
                        absl::Span<const Box> boxes, int32_t num_classes,
                        const AssignmentOptions& options);

// For kLat and kLatDsc: the cell that holds the box's centre, and further cells from which the
// bounded head can express a box of IoU 0.7 and more with it. A cell wanted by two goes to the one
// that it can express better; a box left without gets the free cell that expresses it best.
Assignment AssignByReach(const DetectionTargets& targets, const MapSize& map);

// A loss takes only boxes that are finite and have area; the others would train nothing but NaN.
bool IsUsable(const Box& box);

}  // namespace ela::vision

#endif  // ELA_MODEL_VISION_TORCH_ASSIGNMENT_H_
