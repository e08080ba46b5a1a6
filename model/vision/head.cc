#include "model/vision/head.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"

namespace ela {
namespace {

float Sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }
float Softplus(float x) { return std::max(x, 0.0f) + std::log1p(std::exp(-std::abs(x))); }

absl::Status NotFinite(const HeadMaps& maps, int32_t row, int32_t column) {
  return absl::DataLossError(absl::StrCat("the network's output at stride ", maps.stride, ", row ",
                                          row, ", column ", column, " is not finite"));
}

// The raw value from which a sigmoid is at least `threshold`, and a little below: rounding never
// drops a place that the exact comparison would keep.
float RawThreshold(float threshold) {
  if (!(threshold > 0)) return -std::numeric_limits<float>::infinity();
  if (threshold >= 1) return 8.0f;  // sigmoid rounds to 1 from 17 on
  return std::log(threshold) - std::log1p(-threshold) - 1e-3f;
}

enum class Place : uint8_t { kLeftOut, kKept, kBad };

// Appends what one cell says; objectness, then four numbers of the box, then classes.
Place ReadSingleScale(const HeadMaps& maps, int32_t num_classes, float raw_threshold,
                      float threshold, int32_t row, int32_t column, HeadReading* reading) {
  const MapView& map = maps.scores;
  const float raw = map.At(0, row, column);
  if (raw < raw_threshold) return Place::kLeftOut;
  float largest = 0;
  bool finite = std::isfinite(raw);
  float box[4];
  for (int i = 0; i < 4; ++i) {
    finite &= std::isfinite(map.At(1 + i, row, column));
    box[i] = Sigmoid(map.At(1 + i, row, column));
  }
  const float objectness = Sigmoid(raw);
  const size_t first = reading->scores.size();
  if (num_classes == 1) {
    reading->scores.push_back(objectness);
  } else {
    for (int32_t c = 0; c < num_classes; ++c) {
      const float value = map.At(5 + c, row, column);
      finite &= std::isfinite(value);
      largest = c == 0 ? value : std::max(largest, value);
    }
    float sum = 0;
    for (int32_t c = 0; c < num_classes; ++c) {
      reading->scores.push_back(std::exp(map.At(5 + c, row, column) - largest));
      sum += reading->scores.back();
    }
    for (size_t i = first; i < reading->scores.size(); ++i) reading->scores[i] *= objectness / sum;
  }
  if (!finite) return Place::kBad;
  const float best = *std::max_element(reading->scores.begin() + first, reading->scores.end());
  if (best < threshold) {
    reading->scores.resize(first);
    return Place::kLeftOut;
  }
  const float stride = static_cast<float>(maps.stride);
  const float cx = (static_cast<float>(column) + box[0]) * stride;
  const float cy = (static_cast<float>(row) + box[1]) * stride;
  const float half_width = box[2] * stride, half_height = box[3] * stride;
  reading->boxes.push_back({cx - half_width, cy - half_height, cx + half_width, cy + half_height});
  return Place::kKept;
}

// Appends what one cell says; a score for each class, distances from the cell's centre to four
// sides.
Place ReadMultiScale(const HeadMaps& maps, int32_t num_classes, float raw_threshold,
                     float threshold, int32_t row, int32_t column, HeadReading* reading) {
  bool wanted = false;
  for (int32_t c = 0; c < num_classes; ++c) {
    wanted |= !(maps.scores.At(c, row, column) < raw_threshold);  // NaN is looked at
  }
  if (!wanted) return Place::kLeftOut;
  const size_t first = reading->scores.size();
  float best = 0;
  for (int32_t c = 0; c < num_classes; ++c) {
    const float raw = maps.scores.At(c, row, column);
    if (!std::isfinite(raw)) return Place::kBad;
    reading->scores.push_back(Sigmoid(raw));
    best = std::max(best, reading->scores.back());
  }
  if (best < threshold) {
    reading->scores.resize(first);
    return Place::kLeftOut;
  }
  const float stride = static_cast<float>(maps.stride);
  float side[4];
  for (int i = 0; i < 4; ++i) {
    const float raw = maps.distances.At(i, row, column);
    if (!std::isfinite(raw)) return Place::kBad;
    side[i] = stride * Softplus(raw);
  }
  const float x = (static_cast<float>(column) + 0.5f) * stride;
  const float y = (static_cast<float>(row) + 0.5f) * stride;
  reading->boxes.push_back({x - side[0], y - side[1], x + side[2], y + side[3]});
  return Place::kKept;
}

}  // namespace

absl::Status ReadHead(DetectorVariant variant, int32_t num_classes, absl::Span<const HeadMaps> maps,
                      float threshold, HeadReading* reading) {
  reading->boxes.clear();
  reading->scores.clear();
  const auto read = variant == DetectorVariant::kLatMs ? &ReadMultiScale : &ReadSingleScale;
  const float raw_threshold = RawThreshold(threshold);
  for (const HeadMaps& scale : maps) {
    for (int32_t row = 0; row < scale.rows; ++row) {
      for (int32_t column = 0; column < scale.columns; ++column) {
        if (read(scale, num_classes, raw_threshold, threshold, row, column, reading) ==
            Place::kBad) {
          reading->boxes.clear();
          reading->scores.clear();
          return NotFinite(scale, row, column);
        }
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace ela
