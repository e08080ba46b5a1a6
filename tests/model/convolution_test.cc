// The convolution kernels of every table that this machine runs, against float64 and each other.
#include "model/kernels/convolution.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "tests/model/vision/exact_network.h"

namespace ela {
namespace {

std::vector<const ConvolutionKernels*> Tables() {
  std::vector<const ConvolutionKernels*> tables;
  for (const char* name : {"reference", "portable", "avx512"}) {
    if (const ConvolutionKernels* table = FindConvolutionKernels(name)) tables.push_back(table);
  }
  return tables;
}

std::vector<float> Random(int64_t size, uint32_t seed, float scale = 1.0f) {
  std::mt19937 bits(seed);
  std::vector<float> values(size);
  for (float& value : values) {
    value = scale * (static_cast<float>(bits() >> 8) * 0x1p-23f - 1.0f);
  }
  return values;
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

double Finished(double x, Epilogue epilogue) {
  if (epilogue == Epilogue::kRelu) return std::max(x, 0.0);
  if (epilogue == Epilogue::kSilu) return x / (1 + std::exp(-x));
  return x;
}

// One dense layer over a padded map: `pixels` outputs that lie apart, a residual with a scale.
struct DenseCase {
  int64_t pixels, rows, run, n;
  Epilogue epilogue;
  bool residual, scaled;
};

std::vector<float> RunDense(const ConvolutionKernels& kernels, const DenseCase& c) {
  const int64_t k = c.rows * c.run, in_row = 3 * c.run + c.pixels * 5;
  const std::vector<float> in = Random(c.rows * in_row, 1);
  const std::vector<float> matrix = Random(k * c.n, 2, 1 / std::sqrt(static_cast<float>(k)));
  const std::vector<float> bias = Random(c.n, 3), scale = Random(c.n, 4);
  const std::vector<float> residual = Random(c.pixels * c.n, 5);
  std::vector<float> packed(k * c.n), out(c.pixels * (c.n + 3), 7.0f);
  PackColumns(k, c.n, kernels.column_block, matrix.data(), packed.data());
  std::vector<int32_t> in_offset, out_offset, residual_offset;
  for (int64_t p = 0; p < c.pixels; ++p) {
    in_offset.push_back(static_cast<int32_t>(5 * p));
    out_offset.push_back(static_cast<int32_t>((c.pixels - 1 - p) * (c.n + 3)));
    residual_offset.push_back(static_cast<int32_t>(p * c.n));
  }
  DenseConvolution job;
  job.pixels = c.pixels;
  job.in = in.data();
  job.in_offset = in_offset.data();
  job.in_row_stride = in_row;
  job.rows = c.rows;
  job.run = c.run;
  job.weights = packed.data();
  job.bias = bias.data();
  job.n = c.n;
  job.out = out.data();
  job.out_offset = out_offset.data();
  if (c.residual) job.residual = residual.data();
  job.residual_offset = residual_offset.data();
  if (c.scaled) job.residual_scale = scale.data();
  job.epilogue = c.epilogue;
  kernels.dense(job);

  if (kernels.column_block == 16 && kernels.name == std::string("reference")) {
    for (int64_t p = 0; p < c.pixels; ++p) {
      for (int64_t o = 0; o < c.n; ++o) {
        double sum = bias[o];
        for (int64_t i = 0; i < k; ++i) {
          const float x = in[in_offset[p] + i / c.run * in_row + i % c.run];
          sum += static_cast<double>(x) * matrix[i * c.n + o];
        }
        if (c.residual) sum += residual[p * c.n + o] * (c.scaled ? scale[o] : 1.0);
        EXPECT_NEAR(out[out_offset[p] + o], Finished(sum, c.epilogue), 4e-6);
      }
      for (int i = 0; i < 3; ++i) EXPECT_EQ(out[out_offset[p] + c.n + i], 7.0f);
    }
  }
  return out;
}

TEST(ConvolutionTest, DenseIsExactAndTheSameInEveryTable) {
  const Epilogue epilogues[] = {Epilogue::kNone, Epilogue::kRelu, Epilogue::kSilu};
  int index = 0;
  for (const int64_t pixels : {1, 2, 3, 5, 6, 7, 11, 12, 13, 25}) {
    for (const int64_t n : {16, 32, 48, 64, 80, 112, 128}) {
      for (const auto& [rows, run] : {std::pair<int64_t, int64_t>{1, 16}, {3, 9}, {3, 48}}) {
        ++index;
        const DenseCase c = {pixels,         rows,          run, n, epilogues[index % 3],
                             index % 2 == 0, index % 4 == 0};
        const std::vector<float> want = RunDense(*Tables()[0], c);
        for (const ConvolutionKernels* table : Tables()) {
          EXPECT_TRUE(SameBits(RunDense(*table, c), want))
              << table->name << ": " << pixels << " pixels, n " << n << ", run " << run;
        }
      }
    }
  }
}

TEST(ConvolutionTest, DepthwiseIsExactAndTheSameInEveryTable) {
  for (const int kernel : {3, 5}) {
    for (const int stride : {1, 2}) {
      for (const int64_t pixels : {1, 2, 3, 4, 7, 8, 9, 21}) {
        for (const int64_t channels : {16, 48}) {
          const int64_t row = ((pixels - 1) * stride + kernel) * channels;
          const std::vector<float> in = Random(kernel * row, 1);
          const std::vector<float> weights = Random(kernel * kernel * channels, 2, 0.3f);
          const std::vector<float> bias = Random(channels, 3);
          const std::vector<float> residual = Random(pixels * channels, 4);
          std::vector<float> want;
          for (const ConvolutionKernels* table : Tables()) {
            std::vector<float> out(pixels * channels);
            DepthwiseConvolution job;
            job.pixels = pixels;
            job.channels = channels;
            job.in = in.data();
            job.in_row_stride = row;
            job.kernel = kernel;
            job.stride = stride;
            job.weights = weights.data();
            job.bias = bias.data();
            job.out = out.data();
            if (pixels % 2 == 0) job.residual = residual.data();
            job.epilogue = stride == 1 ? Epilogue::kSilu : Epilogue::kNone;
            table->depthwise(job);
            if (want.empty()) {
              want = out;
              for (int64_t i = 0; i < pixels * channels; ++i) {
                const int64_t p = i / channels, c = i % channels;
                double sum = bias[c] + (pixels % 2 == 0 ? residual[i] : 0.0);
                for (int tap = 0; tap < kernel * kernel; ++tap) {
                  const int64_t at =
                      tap / kernel * row + (p * stride + tap % kernel) * channels + c;
                  sum += static_cast<double>(in[at]) * weights[tap * channels + c];
                }
                EXPECT_NEAR(out[i], Finished(sum, job.epilogue), 2e-6);
              }
            }
            EXPECT_TRUE(SameBits(out, want)) << table->name << " " << kernel << " " << stride;
          }
        }
      }
    }
  }
}

// y = f(x) for a list of values, through a layer that is the identity.
std::vector<float> Apply(const ConvolutionKernels& kernels, Epilogue epilogue,
                         const std::vector<float>& values) {
  const std::vector<float> zeros(16 * 16);
  std::vector<float> out(values.size());
  for (size_t first = 0; first < values.size(); first += 16) {
    const int32_t offset = 0;
    DenseConvolution job;
    job.pixels = 1;
    job.in = zeros.data();
    job.in_offset = job.out_offset = job.residual_offset = &offset;
    job.run = 16;
    job.weights = job.bias = zeros.data();
    job.n = 16;
    job.out = out.data() + first;
    job.residual = values.data() + first;
    job.epilogue = epilogue;
    kernels.dense(job);
  }
  return out;
}

TEST(ConvolutionTest, SiluIsAsExactAsFloat32) {
  std::vector<float> values;
  for (float x = -80; x <= 100; x += 0.0078125f) values.push_back(x + 0.001f);
  values.resize(values.size() / 16 * 16);
  for (const ConvolutionKernels* table : Tables()) {
    const std::vector<float> got = Apply(*table, Epilogue::kSilu, values);
    double largest = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      const double exact = Finished(values[i], Epilogue::kSilu);
      largest = std::max(largest, std::abs(got[i] - exact) / std::abs(exact));
    }
    // The exponent itself is rounded: 6e-8 of it at -80.
    EXPECT_LE(largest, 6e-6) << table->name;
    double near = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      if (std::abs(values[i]) > 4) continue;
      const double exact = Finished(values[i], Epilogue::kSilu);
      near = std::max(near, std::abs(got[i] - exact) / std::abs(exact));
    }
    EXPECT_LE(near, 5e-7) << table->name;
  }
}

TEST(ConvolutionTest, WhatIsNotANumberStaysNotANumber) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  std::vector<float> values(16, 1.0f);
  values[0] = nan, values[1] = -nan, values[2] = inf, values[3] = -inf, values[4] = -1000;
  for (const ConvolutionKernels* table : Tables()) {
    for (const Epilogue epilogue : {Epilogue::kNone, Epilogue::kRelu, Epilogue::kSilu}) {
      const std::vector<float> got = Apply(*table, epilogue, values);
      EXPECT_TRUE(std::isnan(got[0])) << table->name;
      EXPECT_TRUE(std::isnan(got[1])) << table->name;
      EXPECT_FALSE(std::isfinite(got[2])) << table->name;
      if (epilogue != Epilogue::kNone) {
        EXPECT_NEAR(got[4], 0.0f, 1e-30) << table->name;
      }
    }
  }
}

struct AttentionCase {
  int64_t positions, heads, width;
  float query, key;  // scales
};

void ExpectAttentionNearFloat64(const AttentionCase& c) {
  const int64_t row = 3 * c.heads * c.width;
  std::vector<float> qkv = Random(c.positions * row, 9);
  for (int64_t i = 0; i < c.positions; ++i) {
    for (int64_t d = 0; d < c.heads * c.width; ++d) {
      qkv[i * row + d] *= c.query;
      qkv[i * row + c.heads * c.width + d] *= c.key;
    }
  }
  const std::vector<double> exact(qkv.begin(), qkv.end());
  std::vector<float> first;
  for (const ConvolutionKernels* table : Tables()) {
    std::vector<float> y(c.positions * c.heads * c.width), scratch(GlobalAttentionScratch(c.width));
    table->global_attention(c.positions, c.heads, c.width, qkv.data(), y.data(), scratch.data());
    if (first.empty()) first = y;
    EXPECT_TRUE(SameBits(y, first)) << table->name;
    double largest = 0;
    for (int64_t head = 0; head < c.heads; ++head) {
      const double* q = exact.data() + head * c.width;
      const std::vector<double> want =
          AttendExactly(c.positions, c.width, row, q, q + row / 3, q + 2 * row / 3);
      for (int64_t i = 0; i < c.positions * c.width; ++i) {
        const float got = y[i / c.width * c.heads * c.width + head * c.width + i % c.width];
        if (!(std::abs(got - want[i]) <= largest)) largest = std::abs(got - want[i]);
      }
    }
    EXPECT_LE(largest, 1e-5) << table->name << " " << c.positions << " positions, scales "
                             << c.query << " " << c.key;
  }
}

TEST(GlobalAttentionTest, EqualsItsDefinitionInFloat64) {
  for (const int64_t positions : {1, 2, 31, 32, 33, 100, 400}) {
    ExpectAttentionNearFloat64({positions, 2, 16, 1, 1});
    ExpectAttentionNearFloat64({positions, 1, 32, 8, 8});
  }
  ExpectAttentionNearFloat64({6400, 1, 16, 1, 1});
}

TEST(GlobalAttentionTest, StaysExactForQueriesAndKeysUpTo10000) {
  for (const float query : {0.0f, 1.0f, 100.0f, 1e4f}) {
    for (const float key : {0.0f, 1.0f, 100.0f, 1e4f}) {
      ExpectAttentionNearFloat64({100, 2, 16, query, key});
    }
  }
  ExpectAttentionNearFloat64({1600, 1, 16, 1e4f, 1e4f});
}

TEST(ConvolutionTest, BytesBecomeTheirShareOf255) {
  for (const ConvolutionKernels* table : Tables()) {
    std::vector<uint8_t> bytes;
    for (int i = 0; i < 256; ++i) bytes.push_back(static_cast<uint8_t>(i));
    for (const int64_t size : {1, 7, 17, 256}) {
      std::vector<float> values(size + 1, -1.0f);
      table->from_bytes(size, bytes.data(), values.data());
      for (int64_t i = 0; i < size; ++i) EXPECT_FLOAT_EQ(values[i], i / 255.0f);
      EXPECT_EQ(values[size], -1.0f);
    }
  }
}

}  // namespace
}  // namespace ela
