// Long sequences. The error of a plain float32 sum grows until it is the answer; the stable forms
// must stay within 1e-4 of float64 after a million tokens. The truth here is the same recurrence in
// float64 (for hadamard_exp relative to a running maximum), not the definition: a million tokens
// squared would take days.
#include <cmath>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "model/kernels/flush_to_zero.h"
#include "tests/model/attention_rig.h"

namespace ela {
namespace {

constexpr int64_t kChunk = 1000;  // not a multiple of 16: blocks end inside chunks

// Float64 state of one head: sums relative to `max_` for hadamard_exp, expanded moments otherwise.
class Float64Head {
 public:
  Float64Head(AttentionKernel kernel, int64_t width)
      : kernel_(kernel),
        width_(width),
        max_(width, -1e300),
        c_(width + 2),
        s_((width + 2) * width) {}

  void Absorb(const float* k, const float* v) {
    if (kernel_ == AttentionKernel::kHadamardExp) {
      for (int64_t d = 0; d < width_; ++d) {
        double keep = 1;
        if (k[d] > max_[d]) {
          keep = std::exp(max_[d] - k[d]);
          max_[d] = k[d];
        }
        Add(d, keep, std::exp(k[d] - max_[d]), v);
      }
      return;
    }
    // psi(b) = [±2b, 1, |b|^2], with keys relative to the first so that float64 keeps its digits.
    if (first_.empty()) first_.assign(k, k + width_);
    const double sign = kernel_ == AttentionKernel::kSumSq ? 1 : -1;
    double square = 0;
    for (int64_t d = 0; d < width_; ++d) {
      const double b = double{k[d]} - first_[d];
      square += b * b;
      Add(d, 1, 2 * sign * b, v);
    }
    Add(width_, 1, 1, v);
    Add(width_ + 1, 1, square, v);
  }

  std::vector<double> Answer(const float* q) const {
    std::vector<double> phi(width_ + 2);
    if (kernel_ == AttentionKernel::kHadamardExp) {
      double shift = -1e300;
      for (int64_t d = 0; d < width_; ++d) shift = std::max(shift, q[d] + max_[d]);
      for (int64_t d = 0; d < width_; ++d) phi[d] = std::exp(q[d] + max_[d] - shift);
    } else {
      const double sign = kernel_ == AttentionKernel::kSumSq ? 1 : -1;
      for (int64_t d = 0; d < width_; ++d) {
        phi[d] = double{q[d]} + sign * first_[d];
        phi[width_] += phi[d] * phi[d];
      }
      phi[width_ + 1] = 1;
    }
    std::vector<double> y(width_);
    double total = 0;
    for (size_t f = 0; f < phi.size(); ++f) {
      total += phi[f] * c_[f];
      for (int64_t i = 0; i < width_; ++i) y[i] += phi[f] * s_[f * width_ + i];
    }
    for (double& value : y) value /= total;
    return y;
  }

 private:
  void Add(int64_t feature, double keep, double weight, const float* v) {
    c_[feature] = keep * c_[feature] + weight;
    double* s = &s_[feature * width_];
    for (int64_t i = 0; i < width_; ++i) s[i] = keep * s[i] + weight * v[i];
  }

  const AttentionKernel kernel_;
  const int64_t width_;
  std::vector<double> max_, c_, s_, first_;
};

// Absorbs `tokens` tokens in chunks and returns the largest error at the chunks' ends.
template <class MakeRow>
double WorstOver(AttentionKernel kernel, int64_t width, int64_t tokens, MakeRow make_row) {
  ScopedFlushToZero flush;
  HeadRig rig(*FindKernels(""), kernel, width, false);
  Float64Head truth(kernel, width);
  std::mt19937 bits(12);
  HeadInputs inputs = RandomInputs(&bits, kChunk, width, 0.0f, false);
  std::vector<float> y(kChunk * width);
  double worst = 0;
  for (int64_t begin = 0; begin < tokens; begin += kChunk) {
    for (int64_t t = 0; t < kChunk; ++t) {
      make_row(&bits, &inputs.q[t * width], &inputs.k[t * width], &inputs.v[t * width]);
      truth.Absorb(&inputs.k[t * width], &inputs.v[t * width]);
    }
    rig.RunInto(inputs, 0, kChunk, y.data());
    const std::vector<double> want = truth.Answer(&inputs.q[(kChunk - 1) * width]);
    for (int64_t i = 0; i < width; ++i) {
      const double error = std::abs(y[(kChunk - 1) * width + i] - want[i]);
      worst = std::isnan(error) ? INFINITY : std::max(worst, error);
    }
  }
  return worst;
}

TEST(StabilityTest, HadamardExpAfterAMillionTokensOfKeysInFifty) {
  constexpr int64_t kWidth = 16;
  const double worst = WorstOver(AttentionKernel::kHadamardExp, kWidth, 1000000,
                                 [](std::mt19937* bits, float* q, float* k, float* v) {
                                   for (int64_t i = 0; i < kWidth; ++i) {
                                     q[i] = Uniform(bits, 50);
                                     k[i] = Uniform(bits, 50);
                                     v[i] = 1 + Uniform(bits, 2);
                                   }
                                 });
  RecordProperty("largest_error", std::to_string(worst));
  EXPECT_LE(worst, 1e-4);
}

TEST(StabilityTest, SquaredDistancesAfterAMillionTokensOfKeysInFifty) {
  constexpr int64_t kWidth = 8;
  for (const AttentionKernel kernel : {AttentionKernel::kSumSq, AttentionKernel::kSubSq}) {
    const double worst =
        WorstOver(kernel, kWidth, 1000000, [](std::mt19937* bits, float* q, float* k, float* v) {
          for (int64_t i = 0; i < kWidth; ++i) {
            q[i] = Uniform(bits, 50);
            k[i] = Uniform(bits, 50);
            v[i] = 1 + Uniform(bits, 2);
          }
        });
    EXPECT_LE(worst, 1e-4) << Name(kernel);
  }
}

// Keys within one percent of a point far from the origin, queries beside it: where differences of
// large sums lose everything.
TEST(StabilityTest, SquaredDistancesOfClusteredKeys) {
  constexpr int64_t kWidth = 16;
  for (const AttentionKernel kernel : {AttentionKernel::kSumSq, AttentionKernel::kSubSq}) {
    const float side = kernel == AttentionKernel::kSumSq ? -1.0f : 1.0f;
    const double worst =
        WorstOver(kernel, kWidth, 100000, [&](std::mt19937* bits, float* q, float* k, float* v) {
          for (int64_t i = 0; i < kWidth; ++i) {
            const float centre = i % 2 == 0 ? 3.0f : -2.0f;
            k[i] = centre + Uniform(bits, 0.03f);
            q[i] = side * centre + Uniform(bits, 0.03f);
            v[i] = 1 + Uniform(bits, 2);
          }
        });
    EXPECT_LE(worst, 1e-4) << Name(kernel);
  }
}

}  // namespace
}  // namespace ela
