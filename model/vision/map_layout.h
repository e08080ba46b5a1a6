// How serving runs through a network: which layers become one pass over memory, and where the maps
// between passes lie for one size of picture.
#ifndef ELA_MODEL_VISION_MAP_LAYOUT_H_
#define ELA_MODEL_VISION_MAP_LAYOUT_H_

#include <array>
#include <cstdint>
#include <vector>

#include "model/vision/network_plan.h"

namespace ela {

// Computes the map of `layer`. A depthwise layer that a pointwise one alone reads is computed with
// it, strip by strip: its map is never stored.
struct Pass {
  int layer = 0;
  int depthwise = -1;  // layer index, or -1
  std::array<int32_t, 2> inputs = {-1,
                                   -1};  // layers whose maps are read; Layer::kPicture; -1: none
};

std::vector<Pass> MakePasses(const NetworkPlan& plan);

// A map in memory: [rows, columns, channels], channels padded to a multiple of 16, in a frame of
// zeros as wide as its readers' kernels reach. Sizes in floats.
struct MapPlace {
  int32_t rows = 0;
  int32_t columns = 0;
  int32_t channels = 0;  // padded
  int32_t frame = 0;
  int64_t start = 0;  // of the frame, within the scratch memory

  int64_t row_stride() const { return int64_t{columns + 2 * frame} * channels; }
  int64_t size() const { return (rows + 2 * frame) * row_stride(); }
  // Of the pixel at row 0, column 0.
  int64_t origin() const { return start + frame * (row_stride() + channels); }
};

struct MapLayout {
  std::vector<MapPlace> maps;  // by layer; rows == 0: never stored
  std::vector<int64_t> extra;  // by pass: where its own scratch memory starts
  int64_t size = 0;            // of all
};

// extra_size: by pass, floats that it needs while it runs. Maps share memory where their lives do
// not overlap; outputs live to the end. Everything starts on 64 bytes.
MapLayout LayOutMaps(const NetworkPlan& plan, const std::vector<Pass>& passes,
                     const std::vector<int64_t>& extra_size, int32_t width, int32_t height);

}  // namespace ela

#endif  // ELA_MODEL_VISION_MAP_LAYOUT_H_
