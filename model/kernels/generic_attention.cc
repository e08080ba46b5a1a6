#include "model/kernels/generic_attention.h"

#include <utility>

namespace ela {

GenericAttention::GenericAttention(FeatureMaps maps, int64_t width, int64_t value_width)
    : maps_(std::move(maps)),
      width_(width),
      value_width_(value_width),
      s_(maps_.features * value_width),
      c_(maps_.features) {}

std::vector<double> GenericAttention::Step(absl::Span<const double> q, absl::Span<const double> k,
                                           absl::Span<const double> v) {
  std::vector<double> phi(maps_.features), psi(maps_.features), y(value_width_);
  maps_.psi(k, absl::MakeSpan(psi));
  maps_.phi(q, absl::MakeSpan(phi));
  double denominator = 0;
  for (int64_t f = 0; f < maps_.features; ++f) {
    c_[f] += psi[f];
    denominator += phi[f] * c_[f];
    for (int64_t i = 0; i < value_width_; ++i) {
      s_[f * value_width_ + i] += psi[f] * v[i];
      y[i] += phi[f] * s_[f * value_width_ + i];
    }
  }
  for (double& value : y) value /= denominator;
  return y;
}

std::vector<double> GenericAttention::Chunk(absl::Span<const double> q, absl::Span<const double> k,
                                            absl::Span<const double> v) {
  const int64_t f = maps_.features, tokens = static_cast<int64_t>(q.size()) / width_;
  std::vector<double> phi(tokens * f), psi(tokens * f), y(tokens * value_width_);
  for (int64_t t = 0; t < tokens; ++t) {
    maps_.phi(q.subspan(t * width_, width_), absl::MakeSpan(phi).subspan(t * f, f));
    maps_.psi(k.subspan(t * width_, width_), absl::MakeSpan(psi).subspan(t * f, f));
  }
  for (int64_t t = 0; t < tokens; ++t) {
    double denominator = 0;
    double* row = y.data() + t * value_width_;
    const auto add = [&](double weight, const double* values) {
      for (int64_t i = 0; i < value_width_; ++i) row[i] += weight * values[i];
    };
    for (int64_t i = 0; i < f; ++i) {
      denominator += phi[t * f + i] * c_[i];
      add(phi[t * f + i], s_.data() + i * value_width_);
    }
    for (int64_t j = 0; j <= t; ++j) {
      double score = 0;
      for (int64_t i = 0; i < f; ++i) score += phi[t * f + i] * psi[j * f + i];
      denominator += score;
      add(score, v.data() + j * value_width_);
    }
    for (int64_t i = 0; i < value_width_; ++i) row[i] /= denominator;
  }
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t i = 0; i < f; ++i) {
      c_[i] += psi[t * f + i];
      for (int64_t e = 0; e < value_width_; ++e) {
        s_[i * value_width_ + e] += psi[t * f + i] * v[t * value_width_ + e];
      }
    }
  }
  return y;
}

}  // namespace ela
