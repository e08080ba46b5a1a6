#include "tests/model/vision/exact_network.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

namespace ela {
namespace {

ExactMap MakeMap(int64_t channels, int64_t rows, int64_t columns) {
  return {channels, rows, columns, std::vector<double>(channels * rows * columns)};
}

double Activate(double x, Activation activation) {
  switch (activation) {
    case Activation::kRelu:
      return std::max(x, 0.0);
    case Activation::kSilu:
      return x / (1 + std::exp(-x));
    case Activation::kNone:
      break;
  }
  return x;
}

void Normalize(const std::string& name, const Weights& weights, ExactMap* map) {
  const auto gain = weights.Float(name + ".weight"), bias = weights.Float(name + ".bias");
  const auto mean = weights.Float(name + ".running_mean");
  const auto variance = weights.Float(name + ".running_var");
  const int64_t places = map->rows * map->columns;
  for (size_t i = 0; i < map->values.size(); ++i) {
    const int64_t c = i / places;
    map->values[i] = (map->values[i] - mean[c]) / std::sqrt(variance[c] + 1e-5) * gain[c] + bias[c];
  }
}

ExactMap Convolve(const Layer& layer, const std::vector<float>& weight, const ExactMap& in) {
  ExactMap out = MakeMap(layer.out_channels, in.rows / layer.stride, in.columns / layer.stride);
  const int64_t inputs = layer.in_channels / layer.groups, kernel = layer.kernel;
  for (int64_t o = 0; o < out.channels; ++o) {
    const int64_t first = layer.groups == 1 ? 0 : o;
    for (int64_t y = 0; y < out.rows; ++y) {
      for (int64_t x = 0; x < out.columns; ++x) {
        double sum = 0;
        for (int64_t c = 0; c < inputs; ++c) {
          for (int64_t ky = 0; ky < kernel; ++ky) {
            const int64_t sy = y * layer.stride + ky - kernel / 2;
            if (sy < 0 || sy >= in.rows) continue;
            for (int64_t kx = 0; kx < kernel; ++kx) {
              const int64_t sx = x * layer.stride + kx - kernel / 2;
              if (sx < 0 || sx >= in.columns) continue;
              sum +=
                  in.At(first + c, sy, sx) * weight[((o * inputs + c) * kernel + ky) * kernel + kx];
            }
          }
        }
        out.At(o, y, x) = sum;
      }
    }
  }
  return out;
}

ExactMap RunConvolution(const Layer& layer, const Weights& weights, const ExactMap& first,
                        const ExactMap* second) {
  ExactMap out =
      Convolve(layer, weights.Float(layer.name + (layer.norm ? ".conv.weight" : ".weight")), first);
  if (layer.norm) {
    Normalize(layer.name + ".bn", weights, &out);
  } else {
    const std::vector<float> bias = weights.Float(layer.name + ".bias");
    const int64_t places = out.rows * out.columns;
    for (size_t i = 0; i < out.values.size(); ++i) out.values[i] += bias[i / places];
  }
  for (size_t i = 0; i < out.values.size(); ++i) {
    const double x = out.values[i] + (second == nullptr ? 0 : second->values[i]);
    out.values[i] = Activate(x, layer.activation);
  }
  return out;
}

ExactMap RunAttention(const Layer& layer, const Weights& weights, const ExactMap& x) {
  const int64_t channels = layer.in_channels, width = channels / layer.heads;
  const int64_t places = x.rows * x.columns;
  Layer product;
  product.in_channels = channels;
  product.out_channels = static_cast<int32_t>(3 * channels);
  const ExactMap qkv = Convolve(product, weights.Float(layer.name + ".qkv.weight"), x);
  std::vector<double> rows(places * 3 * channels);  // [places, 3 * channels]
  for (int64_t c = 0; c < 3 * channels; ++c) {
    const double scale = c < 2 * channels ? 1 / std::sqrt(static_cast<double>(width)) : 1;
    for (int64_t i = 0; i < places; ++i) {
      rows[i * 3 * channels + c] = scale * qkv.values[c * places + i];
    }
  }
  ExactMap attended = MakeMap(channels, x.rows, x.columns);
  for (int64_t head = 0; head < layer.heads; ++head) {
    const double* q = rows.data() + head * width;
    const std::vector<double> y =
        AttendExactly(places, width, 3 * channels, q, q + channels, q + 2 * channels);
    for (int64_t i = 0; i < places; ++i) {
      for (int64_t d = 0; d < width; ++d) {
        attended.values[(head * width + d) * places + i] = y[i * width + d];
      }
    }
  }
  product.out_channels = static_cast<int32_t>(channels);
  ExactMap out = Convolve(product, weights.Float(layer.name + ".proj.weight"), attended);
  for (size_t i = 0; i < out.values.size(); ++i) out.values[i] += x.values[i];
  Normalize(layer.name + ".norm", weights, &out);
  return out;
}

}  // namespace

std::vector<double> AttendExactly(int64_t positions, int64_t width, int64_t stride, const double* q,
                                  const double* k, const double* v) {
  std::vector<double> log_mass(width), mean(width * width);
  for (int64_t d = 0; d < width; ++d) {
    double largest = -std::numeric_limits<double>::infinity(), mass = 0;
    for (int64_t j = 0; j < positions; ++j) largest = std::max(largest, k[j * stride + d]);
    for (int64_t j = 0; j < positions; ++j) {
      const double share = std::exp(k[j * stride + d] - largest);
      mass += share;
      for (int64_t i = 0; i < width; ++i) mean[d * width + i] += share * v[j * stride + i];
    }
    for (int64_t i = 0; i < width; ++i) mean[d * width + i] /= mass;
    log_mass[d] = largest + std::log(mass);
  }
  std::vector<double> y(positions * width);
  for (int64_t i = 0; i < positions; ++i) {
    double largest = -std::numeric_limits<double>::infinity(), total = 0;
    for (int64_t d = 0; d < width; ++d)
      largest = std::max(largest, q[i * stride + d] + log_mass[d]);
    for (int64_t d = 0; d < width; ++d) {
      const double share = std::exp(q[i * stride + d] + log_mass[d] - largest);
      total += share;
      for (int64_t c = 0; c < width; ++c) y[i * width + c] += share * mean[d * width + c];
    }
    for (int64_t c = 0; c < width; ++c) y[i * width + c] /= total;
  }
  return y;
}

std::vector<ExactMap> RunExactly(const NetworkPlan& plan, const Weights& weights,
                                 const ExactMap& picture) {
  std::vector<ExactMap> maps;
  for (const Layer& layer : plan.layers) {
    const ExactMap& first = layer.inputs[0] == Layer::kPicture ? picture : maps[layer.inputs[0]];
    const ExactMap* second = layer.inputs[1] < 0 ? nullptr : &maps[layer.inputs[1]];
    ExactMap out;
    switch (layer.kind) {
      case LayerKind::kConvolution:
        out = RunConvolution(layer, weights, first, second);
        break;
      case LayerKind::kAttention:
        out = RunAttention(layer, weights, first);
        break;
      case LayerKind::kUpsampleAdd:
      case LayerKind::kAdd:
        out = *second;
        const int64_t factor = layer.kind == LayerKind::kUpsampleAdd ? 2 : 1;
        for (int64_t c = 0; c < out.channels; ++c) {
          for (int64_t y = 0; y < out.rows; ++y) {
            for (int64_t x = 0; x < out.columns; ++x) {
              out.At(c, y, x) += first.At(c, y / factor, x / factor);
            }
          }
        }
        break;
    }
    maps.push_back(std::move(out));
  }
  return maps;
}

}  // namespace ela
