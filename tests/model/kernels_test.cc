// The kernels one by one: elementary functions against libm, products and attention against their
// definitions in float64, and every table against the reference, bit by bit.
#include "model/kernels/kernels.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "model/kernels/flush_to_zero.h"
#include "model/kernels/generic_attention.h"
#include "model/kernels/packed_matrix.h"
#include "model/kernels/thread_pool.h"
#include "tests/model/attention_rig.h"

namespace ela {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

const Kernels& Reference() { return *FindKernels("reference"); }
const Kernels& Portable() { return *FindKernels("portable"); }

// exp of one value, through the table: sum_exp writes the terms.
std::vector<float> ExpOf(const Kernels& kernels, const std::vector<float>& x) {
  std::vector<float> terms(x.size());
  kernels.sum_exp(static_cast<int64_t>(x.size()), x.data(), 0.0f, 1.0f, terms.data());
  return terms;
}

double Ulps(double got, double want) {
  const float rounded = static_cast<float>(want);
  return std::abs(got - want) / (double{std::nextafter(rounded, kInfinity)} - double{rounded});
}

TEST(KernelsTest, ExpIsWithinTwoUlps) {
  ScopedFlushToZero flush;
  std::vector<float> x;
  for (double v = -87.3; v < 88.7; v += 0.00173) x.push_back(static_cast<float>(v));
  const std::vector<float> y = ExpOf(Portable(), x);
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    worst = std::max(worst, Ulps(y[i], std::exp(static_cast<double>(x[i]))));
  }
  EXPECT_LE(worst, 2.0);
}

TEST(KernelsTest, ExpAtItsEdges) {
  ScopedFlushToZero flush;
  for (const Kernels* kernels : {&Portable(), &Reference()}) {
    // Nine values: a whole vector and one more.
    const std::vector<float> y =
        ExpOf(*kernels, {-kInfinity, -1e30f, -88.0f, 0.0f, 88.8f, 1e30f, kInfinity, -0.0f, NAN});
    EXPECT_EQ(y[0], 0.0f);
    EXPECT_EQ(y[1], 0.0f);
    EXPECT_EQ(y[2], 0.0f);
    EXPECT_EQ(y[3], 1.0f);
    EXPECT_EQ(y[4], kInfinity);
    EXPECT_EQ(y[5], kInfinity);
    EXPECT_EQ(y[6], kInfinity);
    EXPECT_EQ(y[7], 1.0f);
    EXPECT_TRUE(std::isnan(y[8])) << kernels->name;
  }
}

TEST(KernelsTest, LogIsWithinTwoUlps) {
  double worst = 0;
  for (double v = 1e-30; v < 1e30; v *= 1.0137) {
    const float x = static_cast<float>(v);
    const double want = std::log(static_cast<double>(x));
    // Beside 1 the result is tiny and rounds against the terms it cancelled from.
    if (std::abs(want) > 1e-3) worst = std::max(worst, Ulps(Portable().log(x), want));
  }
  EXPECT_LE(worst, 2.0);
}

TEST(KernelsTest, LogDecayKeepsItsDigitsWhereTheDecayIsTiny) {
  for (const double x : {-30.0, -3.0, 0.0, 3.0, 9.0, 15.0, 20.0, 40.0}) {
    float g = static_cast<float>(x);
    const float bias = 0.0f;
    Portable().log_decay(1, 1, &bias, &g, 1);
    const double want = std::max(-std::log1p(std::exp(-x)) / 4, -0.6);
    EXPECT_NEAR(g / want, 1.0, 1e-6) << x;
  }
}

TEST(KernelsTest, AnglesAreExactAtAMillionTokens) {
  const double frequency[] = {1.0, 0.1, 0.0001234};
  float cosine[3], sine[3];
  for (const int64_t position : {int64_t{0}, int64_t{1}, int64_t{1000000}, int64_t{999999937}}) {
    Portable().rope_angles(position, 3, frequency, cosine, sine);
    for (int i = 0; i < 3; ++i) {
      const long double angle = static_cast<long double>(position * frequency[i]);
      EXPECT_NEAR(cosine[i], static_cast<double>(std::cos(angle)), 7e-8);
      EXPECT_NEAR(sine[i], static_cast<double>(std::sin(angle)), 7e-8);
    }
  }
}

TEST(KernelsTest, ARowOfAProductHasTheSameBitsInEveryBatchAndTable) {
  std::mt19937 bits(3);
  for (const bool halves : {false, true}) {
    for (const int64_t k : {int64_t{5}, int64_t{64}, int64_t{100}}) {
      const int64_t n = 230;  // seven panels and a bit
      const std::vector<float> x = RandomRows(&bits, 64 * k, 1.0f);
      std::vector<float> w = RandomRows(&bits, n * k, 1.0f);
      if (halves) {
        for (float& value : w) value = std::round(value * 64) / 64;  // seven bits: a bfloat16
      }
      const PackedMatrix matrix(k, {{n, w}});
      ASSERT_EQ(matrix.data().halves != nullptr, halves);
      const int64_t ld = matrix.padded_n();
      std::vector<float> truth(64 * ld);
      for (int64_t i = 0; i < 64; ++i) {
        for (int64_t j = 0; j < n; ++j) {
          float sum = 0;
          for (int64_t l = 0; l < k; ++l) sum = std::fma(x[i * k + l], w[j * k + l], sum);
          truth[i * ld + j] = sum;
        }
      }
      for (const Kernels* kernels : {&Portable(), &Reference()}) {
        for (const int64_t m : {1, 2, 3, 4, 5, 6, 7, 12, 64}) {
          std::vector<float> y(m * ld);
          kernels->dense(m, k, x.data(), k, matrix.data(), 0, matrix.panels(), y.data(), ld);
          int64_t differing = 0;
          for (int64_t i = 0; i < m; ++i) {
            for (int64_t j = 0; j < n; ++j) {
              differing += std::memcmp(&y[i * ld + j], &truth[i * ld + j], sizeof(float)) != 0;
            }
          }
          EXPECT_EQ(differing, 0) << kernels->name << " m " << m << " k " << k;
        }
      }
    }
  }
}

TEST(KernelsTest, APackedMatrixGivesItsRowsBack) {
  std::mt19937 bits(4);
  const int64_t k = 9, n = 50;
  std::vector<float> w = RandomRows(&bits, n * k, 3.0f), row(k);
  for (const bool halves : {false, true}) {
    if (halves) {
      for (float& value : w) value = std::round(value * 16) / 16;
    }
    const PackedMatrix matrix(k, {{n, w}});
    for (int64_t i = 0; i < n; ++i) {
      matrix.GetOutput(i, row.data());
      EXPECT_EQ(std::memcmp(row.data(), &w[i * k], k * sizeof(float)), 0) << i;
    }
  }
}

// Sizes around the lanes and the 16 partial sums.
TEST(KernelsTest, RowKernelsAgreeWithTheReferenceToTheBit) {
  ScopedFlushToZero flush;
  std::mt19937 bits(5);
  for (const int64_t n : {1, 2, 7, 8, 15, 16, 17, 33, 100}) {
    const std::vector<float> x = RandomRows(&bits, 2 * n, 4.0f), gain = RandomRows(&bits, n, 1.0f),
                             b = RandomRows(&bits, n, 3.0f);
    const auto check = [&](const char* what, auto run) {
      std::vector<float> a = RandomRows(&bits, n, 2.0f), c = a;
      run(Portable(), a.data());
      run(Reference(), c.data());
      EXPECT_EQ(std::memcmp(a.data(), c.data(), n * sizeof(float)), 0) << what << " n " << n;
    };
    check("rms_norm", [&](const Kernels& k, float* y) {
      k.rms_norm(1, n, x.data(), n, gain.data(), 1e-6f, y, n);
    });
    check("log_decay", [&](const Kernels& k, float* y) { k.log_decay(1, n, b.data(), y, n); });
    check("gate", [&](const Kernels& k, float* y) { k.gate(1, n, x.data(), n, y, n); });
    check("swiglu", [&](const Kernels& k, float* y) { k.swiglu(1, n, x.data(), 2 * n, y, n); });
    check("add", [&](const Kernels& k, float* y) { k.add(n, x.data(), b.data(), y); });
    for (const bool inner : {false, true}) {
      check("add_expert", [&](const Kernels& k, float* y) {
        k.add_expert(n, 0.3f, x.data(), b.data(), inner, y);
      });
    }
    check("convolve",
          [&](const Kernels& k, float* y) { k.convolve(1, n, 2, x.data(), x.data(), n, y, n); });
    check("sum_exp", [&](const Kernels& k, float* y) {
      const float max = k.max(n, x.data());
      y[0] = k.sum_exp(n, x.data(), max, 0.7f, nullptr) + k.log(1.5f);
    });
    const float p = Portable().max(n, x.data()), r = Reference().max(n, x.data());
    EXPECT_EQ(p, r);
  }
}

TEST(KernelsTest, RoutingTakesTheLowerExpertOnTies) {
  for (const Kernels* kernels : {&Portable(), &Reference()}) {
    std::vector<float> scores = {1, 3, 0, 3, 1};
    const std::vector<float> bias = {2, 0, 0, 0, 2};
    int32_t chosen[3];
    float weights[3];
    kernels->route(5, 3, scores.data(), bias.data(), chosen, weights);
    EXPECT_EQ(chosen[0], 0);
    EXPECT_EQ(chosen[1], 1);
    EXPECT_EQ(chosen[2], 3);
    EXPECT_FLOAT_EQ(weights[0], 1.0f / 3);
    EXPECT_EQ(weights[0], weights[2]);
  }
}

TEST(KernelsTest, AllFiniteFindsNanAndInfinity) {
  for (const float bad : {NAN, -NAN, kInfinity, -kInfinity}) {
    std::vector<float> x(37, 3e38f);
    EXPECT_TRUE(Portable().all_finite(37, x.data()));
    x[36] = bad;
    EXPECT_FALSE(Portable().all_finite(37, x.data()));
  }
}

TEST(KernelsTest, DenormalsAreFlushedAndTheCallersSettingComesBack) {
  const unsigned int before = _mm_getcsr();
  volatile float tiny = 1e-38f;
  {
    ScopedFlushToZero flush;
    EXPECT_EQ(tiny * 0.1f, 0.0f);
  }
  EXPECT_EQ(_mm_getcsr(), before);
  EXPECT_NE(tiny * 0.1f, 0.0f);
}

TEST(KernelsTest, UnknownTablesAreRefused) { EXPECT_EQ(FindKernels("avx1024"), nullptr); }

TEST(ThreadPoolTest, EveryTaskRunsOnceAndWritesAreSeen) {
  ThreadPool pool(4);
  for (int round = 0; round < 2000; ++round) {
    std::vector<int> seen(round % 37);
    pool.Run(static_cast<int64_t>(seen.size()), [&](int64_t task, int thread) {
      EXPECT_LT(thread, 4);
      ++seen[task];
    });
    for (int count : seen) ASSERT_EQ(count, 1);
  }
}

// A kernel that no table knows: k(a, b) = a1 b2 + 2 a2 b1, not symmetric.
TEST(GenericAttentionTest, AnAsymmetricKernelGivesTheQuadraticDefinition) {
  FeatureMaps maps;
  maps.features = 2;
  maps.phi = [](absl::Span<const double> a, absl::Span<double> f) { f[0] = a[0], f[1] = 2 * a[1]; };
  maps.psi = [](absl::Span<const double> b, absl::Span<double> f) { f[0] = b[1], f[1] = b[0]; };
  const auto k = [](const double* a, const double* b) { return a[0] * b[1] + 2 * a[1] * b[0]; };
  std::mt19937 bits(6);
  const int tokens = 40, width = 2, values = 3;
  const auto positive = [&](int n) {
    std::vector<double> x(n);
    for (double& v : x) v = 0.1 + static_cast<double>(bits() % 1000) / 500;
    return x;
  };
  const std::vector<double> q = positive(tokens * width), key = positive(tokens * width),
                            v = positive(tokens * values);
  GenericAttention steps(maps, width, values), chunks(maps, width, values);
  std::vector<double> chunked;
  for (int begin = 0; begin < tokens; begin += 10) {
    const std::vector<double> y = chunks.Chunk(absl::MakeSpan(q).subspan(begin * width, 20),
                                               absl::MakeSpan(key).subspan(begin * width, 20),
                                               absl::MakeSpan(v).subspan(begin * values, 30));
    chunked.insert(chunked.end(), y.begin(), y.end());
  }
  for (int t = 0; t < tokens; ++t) {
    const std::vector<double> y = steps.Step(absl::MakeSpan(q).subspan(t * width, width),
                                             absl::MakeSpan(key).subspan(t * width, width),
                                             absl::MakeSpan(v).subspan(t * values, values));
    for (int c = 0; c < values; ++c) {
      double numerator = 0, denominator = 0;
      for (int j = 0; j <= t; ++j) {
        const double weight = k(&q[t * width], &key[j * width]);
        numerator += weight * v[j * values + c];
        denominator += weight;
      }
      EXPECT_NEAR(y[c], numerator / denominator, 1e-12);
      EXPECT_NEAR(chunked[t * values + c], numerator / denominator, 1e-12);
    }
  }
}

}  // namespace
}  // namespace ela
