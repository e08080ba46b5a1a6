#include "model/image/fit.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "model/status_macros.h"

namespace ela {
namespace {

constexpr uint8_t kPadding = 114;

// For each output pixel along one axis the input pixels it is made of, and their weights.
struct Taps {
  int32_t num_taps = 0;        // the same for every output pixel
  std::vector<int32_t> first;  // [outputs]
  std::vector<float> weights;  // [outputs, num_taps], each row sums to 1
};

// `scale`, `offset`: input pixels of the decoded picture per source pixel. Output pixel i covers
// the source from i * step to (i + 1) * step.
Taps MakeTaps(int32_t num_outputs, int32_t num_inputs, double step, double scale, double offset) {
  const double reach = std::max(1.0, step * scale);  // half the triangle's base
  Taps taps;
  taps.num_taps = std::min<int32_t>(num_inputs, static_cast<int32_t>(std::ceil(2 * reach)) + 1);
  taps.first.resize(num_outputs);
  taps.weights.resize(static_cast<size_t>(num_outputs) * taps.num_taps);
  for (int32_t i = 0; i < num_outputs; ++i) {
    const double centre = (i + 0.5) * step * scale + offset;
    const int32_t first =
        std::clamp(static_cast<int32_t>(std::floor(centre - reach)), 0, num_inputs - taps.num_taps);
    taps.first[i] = first;
    float* weights = &taps.weights[static_cast<size_t>(i) * taps.num_taps];
    double sum = 0;
    std::vector<double> exact(taps.num_taps);
    for (int32_t t = 0; t < taps.num_taps; ++t) {
      exact[t] = std::max(0.0, 1 - std::abs(first + t + 0.5 - centre) / reach);
      sum += exact[t];
    }
    for (int32_t t = 0; t < taps.num_taps; ++t) weights[t] = static_cast<float>(exact[t] / sum);
  }
  return taps;
}

uint8_t Rounded(float value) {
  return static_cast<uint8_t>(std::min(255.0f, std::max(0.0f, value + 0.5f)));
}

}  // namespace

Placement PlaceInInput(int32_t source_width, int32_t source_height, int32_t input_width,
                       int32_t input_height, FitMode mode) {
  Placement placement;
  placement.source_width = source_width;
  placement.source_height = source_height;
  placement.input_width = placement.fitted_width = input_width;
  placement.input_height = placement.fitted_height = input_height;
  if (mode == FitMode::kLetterbox) {
    const double scale = std::min(static_cast<double>(input_width) / source_width,
                                  static_cast<double>(input_height) / source_height);
    const auto fitted = [scale](int32_t source, int32_t input) {
      return std::clamp(static_cast<int32_t>(std::lround(source * scale)), 1, input);
    };
    placement.fitted_width = fitted(source_width, input_width);
    placement.fitted_height = fitted(source_height, input_height);
    placement.left = (input_width - placement.fitted_width) / 2;
    placement.top = (input_height - placement.fitted_height) / 2;
  }
  placement.scale_x = static_cast<double>(placement.fitted_width) / source_width;
  placement.scale_y = static_cast<double>(placement.fitted_height) / source_height;
  return placement;
}

Box ToInput(const Placement& placement, const Box& box) {
  const auto x = [&](float v) {
    return static_cast<float>(v * placement.scale_x + placement.left);
  };
  const auto y = [&](float v) { return static_cast<float>(v * placement.scale_y + placement.top); };
  return {x(box.x0), y(box.y0), x(box.x1), y(box.y1)};
}

Box ToSource(const Placement& placement, const Box& box) {
  const auto x = [&](float v) {
    return static_cast<float>(std::clamp((v - placement.left) / placement.scale_x, 0.0,
                                         static_cast<double>(placement.source_width)));
  };
  const auto y = [&](float v) {
    return static_cast<float>(std::clamp((v - placement.top) / placement.scale_y, 0.0,
                                         static_cast<double>(placement.source_height)));
  };
  return {x(box.x0), y(box.y0), x(box.x1), y(box.y1)};
}

void FitImage(const DecodedImage& decoded, const Placement& placement, absl::Span<uint8_t> out) {
  const Image& image = decoded.image;
  const size_t out_row = size_t{3} * placement.input_width;
  ELA_CHECK(out.size() == out_row * placement.input_height, "the input has 3 bytes per pixel");
  ELA_CHECK(placement.source_width == decoded.source_width &&
                placement.source_height == decoded.source_height,
            "a placement belongs to one source size");
  std::memset(out.data(), kPadding, out.size());
  const Taps columns = MakeTaps(placement.fitted_width, image.width, 1 / placement.scale_x,
                                decoded.scale, decoded.offset_x);
  const Taps rows = MakeTaps(placement.fitted_height, image.height, 1 / placement.scale_y,
                             decoded.scale, decoded.offset_y);
  // Rows first: that loop is long and contiguous, and leaves less for the columns' gather.
  const size_t in_row = size_t{3} * image.width;
  std::vector<float> row(in_row);
  for (int32_t y = 0; y < placement.fitted_height; ++y) {
    std::fill(row.begin(), row.end(), 0.0f);
    for (int32_t t = 0; t < rows.num_taps; ++t) {
      const float weight = rows.weights[static_cast<size_t>(y) * rows.num_taps + t];
      if (weight == 0) continue;
      const uint8_t* from = &image.pixels[(rows.first[y] + t) * in_row];
      float* to = row.data();
      for (size_t i = 0; i < in_row; ++i) to[i] += weight * from[i];
    }
    uint8_t* to = &out[(placement.top + y) * out_row + size_t{3} * placement.left];
    for (int32_t x = 0; x < placement.fitted_width; ++x, to += 3) {
      const float* weights = &columns.weights[static_cast<size_t>(x) * columns.num_taps];
      const float* from = &row[size_t{3} * columns.first[x]];
      float red = 0, green = 0, blue = 0;
      for (int32_t t = 0; t < columns.num_taps; ++t, from += 3) {
        red += weights[t] * from[0];
        green += weights[t] * from[1];
        blue += weights[t] * from[2];
      }
      to[0] = Rounded(red);
      to[1] = Rounded(green);
      to[2] = Rounded(blue);
    }
  }
}

void ToPlanes(absl::Span<const uint8_t> pixels, int32_t width, int32_t height,
              absl::Span<float> out) {
  const size_t plane = static_cast<size_t>(width) * height;
  ELA_CHECK(pixels.size() == 3 * plane && out.size() == 3 * plane, "three values per pixel");
  for (size_t i = 0; i < plane; ++i) {
    for (size_t c = 0; c < 3; ++c) out[c * plane + i] = pixels[3 * i + c] / 255.0f;
  }
}

}  // namespace ela
