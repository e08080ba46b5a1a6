#include "model/vision/map_layout.h"

#include <algorithm>

#include "model/kernels/convolution.h"
#include "model/kernels/kernels.h"

namespace ela {
namespace {

bool IsOutput(const NetworkPlan& plan, int layer) {
  return std::any_of(plan.outputs.begin(), plan.outputs.end(), [&](const HeadOutput& output) {
    return output.scores == layer || output.distances == layer;
  });
}

// The layer that computes `depthwise` on its way: its only reader, if that is pointwise.
int Absorber(const NetworkPlan& plan, int depthwise) {
  const Layer& layer = plan.layers[depthwise];
  if (layer.kind != LayerKind::kConvolution || layer.groups == 1 || layer.inputs[1] != -1 ||
      IsOutput(plan, depthwise)) {
    return -1;
  }
  int reader = -1;
  for (int i = depthwise + 1; i < static_cast<int>(plan.layers.size()); ++i) {
    const Layer& other = plan.layers[i];
    if (other.inputs[0] != depthwise && other.inputs[1] != depthwise) continue;
    if (reader != -1 || other.kind != LayerKind::kConvolution || other.kernel != 1 ||
        other.stride != 1 || other.groups != 1 || other.inputs[1] == depthwise) {
      return -1;
    }
    reader = i;
  }
  return reader;
}

// A stretch of memory and the passes, first to last, during which it holds something.
struct Tenancy {
  int64_t size;
  int first, last;
  int64_t* start;
};

// Each in order of arrival at the lowest start that no living one overlaps.
int64_t Settle(std::vector<Tenancy> tenancies) {
  std::stable_sort(tenancies.begin(), tenancies.end(),
                   [](const Tenancy& a, const Tenancy& b) { return a.first < b.first; });
  int64_t total = 0;
  for (size_t i = 0; i < tenancies.size(); ++i) {
    const Tenancy& mine = tenancies[i];
    std::vector<std::pair<int64_t, int64_t>> taken;  // [start, end)
    for (size_t j = 0; j < i; ++j) {
      if (tenancies[j].last < mine.first) continue;
      taken.emplace_back(*tenancies[j].start, *tenancies[j].start + tenancies[j].size);
    }
    std::sort(taken.begin(), taken.end());
    int64_t start = 0;
    for (const auto& [from, to] : taken) {
      if (start + mine.size <= from) break;
      start = std::max(start, to);
    }
    *mine.start = start;
    total = std::max(total, start + mine.size);
  }
  return total;
}

}  // namespace

std::vector<Pass> MakePasses(const NetworkPlan& plan) {
  std::vector<Pass> passes;
  std::vector<int> absorbed(plan.layers.size(), -1);  // by pointwise layer: the depthwise one
  for (int i = 0; i < static_cast<int>(plan.layers.size()); ++i) {
    if (const int reader = Absorber(plan, i); reader != -1) {
      absorbed[reader] = i;
      continue;
    }
    Pass pass;
    pass.layer = i;
    pass.depthwise = absorbed[i];
    pass.inputs = plan.layers[i].inputs;
    if (pass.depthwise != -1) pass.inputs[0] = plan.layers[pass.depthwise].inputs[0];
    passes.push_back(pass);
  }
  return passes;
}

MapLayout LayOutMaps(const NetworkPlan& plan, const std::vector<Pass>& passes,
                     const std::vector<int64_t>& extra_size, int32_t width, int32_t height) {
  MapLayout layout;
  layout.maps.resize(plan.layers.size());
  layout.extra.resize(passes.size());
  std::vector<int> last_reader(plan.layers.size(), -1);
  for (size_t i = 0; i < passes.size(); ++i) {
    const Pass& pass = passes[i];
    const Layer& layer = plan.layers[pass.layer];
    MapPlace& map = layout.maps[pass.layer];
    map.rows = height / layer.reduction;
    map.columns = width / layer.reduction;
    map.channels = static_cast<int32_t>(RoundUp(layer.out_channels, kChannelMultiple));
    for (const int input : pass.inputs) {
      if (input >= 0) last_reader[input] = static_cast<int>(i);
    }
    if (layer.kind == LayerKind::kConvolution && pass.inputs[0] >= 0) {
      const Layer& spatial = pass.depthwise >= 0 ? plan.layers[pass.depthwise] : layer;
      MapPlace& input = layout.maps[pass.inputs[0]];
      input.frame = std::max(input.frame, spatial.kernel / 2);
    }
  }
  std::vector<Tenancy> tenancies;
  const int end = static_cast<int>(passes.size());
  for (int i = 0; i < end; ++i) {
    const int layer = passes[i].layer;
    MapPlace& map = layout.maps[layer];
    const int last = IsOutput(plan, layer) ? end : std::max(i, last_reader[layer]);
    tenancies.push_back({RoundUp(map.size(), 16), i, last, &map.start});
    if (extra_size[i] > 0) {
      tenancies.push_back({RoundUp(extra_size[i], 16), i, i, &layout.extra[i]});
    }
  }
  layout.size = Settle(std::move(tenancies));
  return layout;
}

}  // namespace ela
