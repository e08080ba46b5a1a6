#include "model/vision/torch/assignment.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <utility>

#include "model/vision/boxes.h"

namespace ela::vision {
namespace {

constexpr float kReachOverlap = 0.7f;  // of the best box a cell can express: it may answer too
constexpr float kWorst = 1e30f;        // stands for a cost that is not finite

// One box and one place that may answer for it.
struct Candidate {
  float cost;
  int32_t place;
  int32_t box;
  float overlap = 0;
  bool wanted = false;
};

bool Cheaper(const Candidate& a, const Candidate& b) {
  if (a.cost != b.cost) return a.cost < b.cost;
  return a.place != b.place ? a.place < b.place : a.box < b.box;
}

float Log1pExp(float x) { return std::max(x, 0.0f) + std::log1p(std::exp(-std::abs(x))); }

struct Centre {
  float x, y;
};
Centre CentreOf(const Box& box) { return {(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2}; }

struct Range {
  int32_t first, end;
};
// Cells whose centre lies in [low, high] pixels.
Range CellsWithin(float low, float high, int32_t stride, int32_t count) {
  const float width = static_cast<float>(stride);
  const float limit = static_cast<float>(count);
  return {static_cast<int32_t>(std::clamp(std::ceil(low / width - 0.5f), 0.0f, limit)),
          static_cast<int32_t>(std::clamp(std::floor(high / width - 0.5f) + 1.0f, 0.0f, limit))};
}

// The places that may answer for `box`, not yet judged.
void AddCandidates(const Box& box, int32_t index, absl::Span<const MapSize> maps,
                   absl::Span<const Place> places, float radius,
                   std::vector<Candidate>* candidates) {
  const Centre centre = CentreOf(box);
  int32_t first_place = 0;
  for (const MapSize& map : maps) {
    const float reach = radius * static_cast<float>(map.stride);
    const Range rows = CellsWithin(std::min(box.y0, centre.y - reach),
                                   std::max(box.y1, centre.y + reach), map.stride, map.rows);
    const Range columns = CellsWithin(std::min(box.x0, centre.x - reach),
                                      std::max(box.x1, centre.x + reach), map.stride, map.columns);
    for (int32_t row = rows.first; row < rows.end; ++row) {
      for (int32_t column = columns.first; column < columns.end; ++column) {
        const int32_t number = first_place + row * map.columns + column;
        const Place& place = places[number];
        const bool inside =
            place.x >= box.x0 && place.x <= box.x1 && place.y >= box.y0 && place.y <= box.y1;
        const bool near =
            std::abs(place.x - centre.x) <= reach && std::abs(place.y - centre.y) <= reach;
        if (inside || near) candidates->push_back({0, number, index, 0, false});
      }
    }
    first_place += map.rows * map.columns;
  }
}

// Marks the cheapest of one box's candidates as wanted: as many as its best overlaps sum up to.
void WantCheapest(absl::Span<Candidate> candidates, const AssignmentOptions& options,
                  std::vector<float>* overlaps) {
  overlaps->clear();
  for (const Candidate& candidate : candidates) overlaps->push_back(candidate.overlap);
  const size_t best = std::min<size_t>(std::max(options.num_overlaps, 0), overlaps->size());
  std::partial_sort(overlaps->begin(), overlaps->begin() + best, overlaps->end(), std::greater<>());
  float sum = 0;
  for (size_t i = 0; i < best; ++i) sum += (*overlaps)[i];
  const size_t wanted = std::min<size_t>(
      std::max(static_cast<int32_t>(sum), std::max(options.min_places, 1)), candidates.size());
  std::partial_sort(candidates.begin(), candidates.begin() + wanted, candidates.end(), Cheaper);
  for (size_t i = 0; i < wanted; ++i) candidates[i].wanted = true;
}

// Places to boxes: the cheaper wins a place, and no box stays without.
Assignment Resolve(const DetectionTargets& targets, absl::Span<const Place> places,
                   std::vector<Candidate> candidates) {
  Assignment owner(places.size(), kNegative);
  std::vector<bool> answered(targets.boxes.size());
  const auto give = [&](const Candidate& candidate) {
    owner[candidate.place] = candidate.box;
    answered[candidate.box] = true;
  };
  std::sort(candidates.begin(), candidates.end(), Cheaper);
  for (const Candidate& candidate : candidates) {
    if (candidate.wanted && owner[candidate.place] == kNegative) give(candidate);
  }
  for (const Candidate& candidate : candidates) {
    if (!answered[candidate.box] && owner[candidate.place] == kNegative) give(candidate);
  }
  // A box in the densest of crowds, or outside the picture: rare enough for looking everywhere.
  candidates.clear();
  for (size_t b = 0; b < targets.boxes.size(); ++b) {
    if (answered[b] || !IsUsable(targets.boxes[b])) continue;
    const Centre centre = CentreOf(targets.boxes[b]);
    for (size_t p = 0; p < places.size(); ++p) {
      if (owner[p] != kNegative) continue;
      const float dx = places[p].x - centre.x, dy = places[p].y - centre.y;
      candidates.push_back({dx * dx + dy * dy, static_cast<int32_t>(p), static_cast<int32_t>(b)});
    }
  }
  std::sort(candidates.begin(), candidates.end(), Cheaper);
  for (const Candidate& candidate : candidates) {
    if (!answered[candidate.box] && owner[candidate.place] == kNegative) give(candidate);
  }

  for (const Box& region : targets.ignored) {
    for (size_t p = 0; p < places.size(); ++p) {
      const bool inside = places[p].x >= region.x0 && places[p].x <= region.x1 &&
                          places[p].y >= region.y0 && places[p].y <= region.y1;
      if (inside && owner[p] == kNegative) owner[p] = kIgnored;
    }
  }
  return owner;
}

// IoU with `box` of the best box that a cell of the bounded head can express: centre inside the
// cell, sides of at most two cells.
float ReachableOverlap(const Box& box, const Place& cell) {
  const float half_cell = cell.stride / 2;
  const Centre centre = CentreOf(box);
  const float x = std::clamp(centre.x, cell.x - half_cell, cell.x + half_cell);
  const float y = std::clamp(centre.y, cell.y - half_cell, cell.y + half_cell);
  const float half_width = std::min((box.x1 - box.x0) / 2, cell.stride);
  const float half_height = std::min((box.y1 - box.y0) / 2, cell.stride);
  return IntersectionOverUnion(box,
                               {x - half_width, y - half_height, x + half_width, y + half_height});
}

}  // namespace

bool IsUsable(const Box& box) {
  return std::isfinite(box.x0) && std::isfinite(box.y0) && std::isfinite(box.x1) &&
         std::isfinite(box.y1) && box.x1 > box.x0 && box.y1 > box.y0 &&
         (box.x1 - box.x0) * (box.y1 - box.y0) >= std::numeric_limits<float>::min();
}

std::vector<Place> PlacesOf(absl::Span<const MapSize> maps) {
  std::vector<Place> places;
  for (const MapSize& map : maps) {
    const float stride = static_cast<float>(map.stride);
    for (int32_t row = 0; row < map.rows; ++row) {
      for (int32_t column = 0; column < map.columns; ++column) {
        places.push_back({(static_cast<float>(column) + 0.5f) * stride,
                          (static_cast<float>(row) + 0.5f) * stride, stride});
      }
    }
  }
  return places;
}

Assignment AssignByCost(const DetectionTargets& targets, absl::Span<const MapSize> maps,
                        absl::Span<const Place> places, absl::Span<const float> logits,
                        absl::Span<const Box> boxes, int32_t num_classes,
                        const AssignmentOptions& options) {
  std::vector<Candidate> candidates;
  std::vector<float> scratch;
  for (size_t b = 0; b < targets.boxes.size(); ++b) {
    const Box& truth = targets.boxes[b];
    if (!IsUsable(truth)) continue;
    const size_t first = candidates.size();
    AddCandidates(truth, static_cast<int32_t>(b), maps, places, options.radius, &candidates);
    const Centre centre = CentreOf(truth);
    for (size_t i = first; i < candidates.size(); ++i) {
      Candidate& candidate = candidates[i];
      const Place& place = places[candidate.place];
      const float overlap = IntersectionOverUnion(boxes[candidate.place], truth);
      candidate.overlap = std::isfinite(overlap) ? overlap : 0;
      const float logit =
          logits[static_cast<size_t>(candidate.place) * num_classes + targets.class_ids[b]];
      const float distance = std::hypot(place.x - centre.x, place.y - centre.y) / place.stride;
      const float cost = Log1pExp(-logit) -
                         options.overlap_weight * std::log(candidate.overlap + 1e-7f) +
                         std::pow(10.0f, distance - 3.0f);
      candidate.cost = std::isfinite(cost) ? cost : kWorst;
    }
    WantCheapest(absl::MakeSpan(candidates).subspan(first), options, &scratch);
  }
  return Resolve(targets, places, std::move(candidates));
}

Assignment AssignByReach(const DetectionTargets& targets, const MapSize& map) {
  const std::vector<Place> places = PlacesOf({&map, 1});
  std::vector<Candidate> candidates;
  for (size_t b = 0; b < targets.boxes.size(); ++b) {
    const Box& truth = targets.boxes[b];
    if (!IsUsable(truth)) continue;
    const size_t first = candidates.size();
    AddCandidates(truth, static_cast<int32_t>(b), {&map, 1}, places, /*radius=*/1.5f, &candidates);
    const Centre centre = CentreOf(truth);
    for (size_t i = first; i < candidates.size(); ++i) {
      Candidate& candidate = candidates[i];
      const Place& cell = places[candidate.place];
      candidate.overlap = ReachableOverlap(truth, cell);
      candidate.cost = 1 - candidate.overlap;
      const float half = cell.stride / 2;
      const bool holds_centre = centre.x >= cell.x - half && centre.x < cell.x + half &&
                                centre.y >= cell.y - half && centre.y < cell.y + half;
      candidate.wanted = holds_centre || candidate.overlap >= kReachOverlap;
    }
  }
  return Resolve(targets, places, std::move(candidates));
}

}  // namespace ela::vision
