#include "model/vision/folded_layer.h"

#include <cmath>
#include <string>

namespace ela {
namespace {

constexpr double kNormEpsilon = 1e-5;

// norm(x) = scale * x + shift, per channel.
struct Norm {
  std::vector<double> scale, shift;
};

Norm ReadNorm(const std::string& name, const Weights& weights) {
  const std::vector<float> gain = weights.Float(name + ".weight");
  const std::vector<float> bias = weights.Float(name + ".bias");
  const std::vector<float> mean = weights.Float(name + ".running_mean");
  const std::vector<float> variance = weights.Float(name + ".running_var");
  Norm norm;
  for (size_t i = 0; i < gain.size(); ++i) {
    norm.scale.push_back(gain[i] / std::sqrt(variance[i] + kNormEpsilon));
    norm.shift.push_back(bias[i] - mean[i] * norm.scale[i]);
  }
  return norm;
}

std::vector<float> Rounded(const std::vector<double>& values) {
  return std::vector<float>(values.begin(), values.end());
}

// Multiplies the rows of a row-major matrix.
void ScaleRows(const std::vector<double>& scale, std::vector<float>* matrix) {
  const size_t width = matrix->size() / scale.size();
  for (size_t i = 0; i < matrix->size(); ++i) {
    (*matrix)[i] = static_cast<float>((*matrix)[i] * scale[i / width]);
  }
}

}  // namespace

FoldedConvolution FoldConvolution(const Layer& layer, const Weights& weights) {
  if (!layer.norm)
    return {weights.Float(layer.name + ".weight"), weights.Float(layer.name + ".bias")};
  const Norm norm = ReadNorm(layer.name + ".bn", weights);
  FoldedConvolution folded = {weights.Float(layer.name + ".conv.weight"), Rounded(norm.shift)};
  ScaleRows(norm.scale, &folded.weight);
  return folded;
}

FoldedAttention FoldAttention(const Layer& layer, const Weights& weights) {
  const Norm norm = ReadNorm(layer.name + ".norm", weights);
  FoldedAttention folded = {weights.Float(layer.name + ".qkv.weight"),
                            weights.Float(layer.name + ".proj.weight"), Rounded(norm.scale),
                            Rounded(norm.shift)};
  const double down = 1 / std::sqrt(static_cast<double>(layer.in_channels) / layer.heads);
  std::vector<double> scale(3 * layer.in_channels, 1.0);
  std::fill(scale.begin(), scale.begin() + 2 * layer.in_channels, down);
  ScaleRows(scale, &folded.qkv);
  ScaleRows(norm.scale, &folded.proj);
  return folded;
}

}  // namespace ela
