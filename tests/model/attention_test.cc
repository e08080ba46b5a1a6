// The block form of every attention kernel against its definition (docs/model.md 1): all small
// shapes, every cut into chunks, and the inputs that break other forms.
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "gtest/gtest.h"
#include "model/kernels/flush_to_zero.h"
#include "tests/model/attention_rig.h"

namespace ela {
namespace {

struct Form {
  AttentionKernel kernel;
  bool decay;
};

std::string FormName(const Form& form) {
  return std::string(Name(form.kernel)) + (form.decay ? "_decay" : "");
}

class AttentionTest : public testing::TestWithParam<Form> {
 protected:
  const Kernels& portable_ = *FindKernels("portable");
  const Kernels& reference_ = *FindKernels("reference");
  ScopedFlushToZero flush_;
  std::mt19937 bits_{9};

  HeadRig Rig(const Kernels& kernels, int64_t width) {
    return HeadRig(kernels, GetParam().kernel, width, GetParam().decay);
  }
  HeadInputs Inputs(int64_t tokens, int64_t width, float scale) {
    return RandomInputs(&bits_, tokens, width, scale, GetParam().decay);
  }
  // All tokens at once, against the definition.
  double Worst(const HeadInputs& inputs) {
    HeadRig rig = Rig(portable_, inputs.width);
    const std::vector<float> y = rig.Run(inputs, 0, inputs.tokens());
    return WorstError(GetParam().kernel, inputs, 0, y);
  }
};

// The feature maps, in float64: recurrent = chunked = the definition, whatever the chunks.
TEST_P(AttentionTest, TheFactoredFormsAreTheDefinition) {
  if (GetParam().decay) return;               // decay is no feature map: the tests below hold it
  for (const int64_t width : {2, 3, 5, 8}) {  // not 1: opposite directions there weigh nothing
    for (const int64_t tokens : {1, 2, 3, 7, 16, 20}) {
      const HeadInputs inputs = Inputs(tokens, width, 1.5f);
      const std::vector<double> q(inputs.q.begin(), inputs.q.end()),
          k(inputs.k.begin(), inputs.k.end()), v(inputs.v.begin(), inputs.v.end());
      const FeatureMaps maps = MapsOf(GetParam().kernel, width);
      for (int64_t chunk = 1; chunk <= tokens; ++chunk) {
        GenericAttention steps(maps, width, width), chunks(maps, width, width);
        for (int64_t begin = 0; begin < tokens; begin += chunk) {
          const int64_t n = std::min(chunk, tokens - begin), at = begin * width;
          const std::vector<double> y = chunks.Chunk(absl::MakeSpan(q).subspan(at, n * width),
                                                     absl::MakeSpan(k).subspan(at, n * width),
                                                     absl::MakeSpan(v).subspan(at, n * width));
          for (int64_t t = 0; t < n; ++t) {
            const int64_t row = at + t * width;
            const std::vector<double> step = steps.Step(absl::MakeSpan(q).subspan(row, width),
                                                        absl::MakeSpan(k).subspan(row, width),
                                                        absl::MakeSpan(v).subspan(row, width));
            const std::vector<double> want = Definition(GetParam().kernel, inputs, begin + t);
            for (int64_t c = 0; c < width; ++c) {
              ASSERT_NEAR(y[t * width + c], want[c], 1e-9);
              ASSERT_NEAR(step[c], want[c], 1e-9);
            }
          }
        }
      }
    }
  }
}

// Lengths around the block, widths around the lanes; from an empty base and from a full one.
TEST_P(AttentionTest, AllSmallShapesGiveTheDefinition) {
  for (const int64_t width : {2, 3, 8, 14, 16, 18, 31, 32, 64, 70, 80}) {
    for (const int64_t tokens : {1, 2, 15, 16, 17, 31, 32, 33, 50}) {
      const HeadInputs inputs = Inputs(tokens, width, 1.5f);
      EXPECT_LE(Worst(inputs), 2e-5) << "width " << width << ", tokens " << tokens;
    }
  }
}

TEST_P(AttentionTest, EveryCutGivesTheSameBitsOnEveryTable) {
  for (const int64_t width : {6, 16, 72}) {
    const int64_t tokens = 53;
    const HeadInputs inputs = Inputs(tokens, width, 20.0f);  // with direct keys
    HeadRig steps = Rig(portable_, width);
    std::vector<float> truth;
    for (int64_t t = 0; t < tokens; ++t) {
      const std::vector<float> y = steps.Run(inputs, t, 1);
      truth.insert(truth.end(), y.begin(), y.end());
    }
    for (const Kernels* kernels : {&portable_, &reference_}) {
      for (int64_t chunk = 2; chunk <= tokens; chunk += 3) {
        HeadRig rig = Rig(*kernels, width);
        std::vector<float> y(tokens * width);
        for (int64_t t = 0; t < tokens; t += chunk) {
          rig.RunInto(inputs, t, std::min(chunk, tokens - t), &y[t * width]);
        }
        ASSERT_EQ(std::memcmp(y.data(), truth.data(), y.size() * sizeof(float)), 0)
            << kernels->name << ", width " << width << ", chunk " << chunk;
      }
    }
  }
}

// As a lobe in prefix mode asks: from anywhere, about everything that was absorbed.
TEST_P(AttentionTest, AQueryFromAnywhereSeesEverythingAbsorbed) {
  if (GetParam().decay) return;  // its weights depend on where a query stands: no such call
  for (const int64_t width : {6, 16, 72}) {
    for (const int64_t tokens : {1, 5, 15, 16, 17, 32, 47}) {
      HeadInputs inputs = Inputs(tokens, width, 1.5f);
      HeadRig rig = Rig(portable_, width), twin = Rig(reference_, width);
      const std::vector<float> outputs = rig.Run(inputs, 0, tokens);
      twin.Run(inputs, 0, tokens);
      std::vector<float> queries = RandomRows(&bits_, 13 * width, 1.5f);
      std::copy_n(inputs.q.end() - width, width, queries.begin());  // the last token's own
      const std::vector<float> y = rig.Query(queries.data(), 13);
      EXPECT_EQ(twin.Query(queries.data(), 13), y);
      if (tokens % kBlock != 0) {
        EXPECT_TRUE(std::equal(y.begin(), y.begin() + width, outputs.end() - width));
      }
      for (int64_t i = 0; i < 13; ++i) {
        std::copy_n(&queries[i * width], width, inputs.q.end() - width);
        const std::vector<float> row(&y[i * width], &y[i * width] + width);
        EXPECT_EQ(rig.Query(&queries[i * width], 1), row);
        EXPECT_LE(WorstError(GetParam().kernel, inputs, tokens - 1, row), 2e-5)
            << "width " << width << ", tokens " << tokens;
      }
    }
  }
}

// A slot is reused without being cleared: what an earlier sequence left there must not be read.
TEST_P(AttentionTest, AnEmptyBaseIsNeverRead) {
  const HeadInputs first = Inputs(40, 16, 3.0f), second = Inputs(40, 16, 3.0f);
  HeadRig fresh = Rig(portable_, 16), used = Rig(portable_, 16);
  used.Run(first, 0, 40);
  used.Restart();
  EXPECT_EQ(used.Run(second, 0, 40), fresh.Run(second, 0, 40));
}

TEST_P(AttentionTest, EqualKeysGiveTheMeanOfTheValues) {
  HeadInputs inputs = Inputs(40, 8, 1.0f);
  for (int64_t t = 1; t < 40; ++t) {
    std::copy_n(inputs.k.begin(), 8, inputs.k.begin() + t * 8);
  }
  EXPECT_LE(Worst(inputs), 1e-5);
}

INSTANTIATE_TEST_SUITE_P(Forms, AttentionTest,
                         testing::Values(Form{AttentionKernel::kHadamardExp, false},
                                         Form{AttentionKernel::kHadamardExp, true},
                                         Form{AttentionKernel::kSumSq, false},
                                         Form{AttentionKernel::kSubSq, false},
                                         Form{AttentionKernel::kDirMag, false}),
                         [](const auto& info) { return FormName(info.param); });

// Values are finite here: only the weights can tell that something went wrong.
TEST_P(AttentionTest, AKeyThatIsNotANumberOrOverflowsShowsInEveryLaterOutput) {
  for (const float bad : {NAN, 1e25f}) {
    // The exponential kernel takes any finite key.
    if (bad == 1e25f && GetParam().kernel == AttentionKernel::kHadamardExp) continue;
    for (const int64_t token : {16, 20, 31}) {
      HeadInputs inputs = Inputs(80, 8, 1.0f);
      inputs.k[token * 8 + 3] = bad;
      HeadRig rig = Rig(portable_, 8);
      const std::vector<float> y = rig.Run(inputs, 0, 80);
      for (int64_t t = 0; t < 80; ++t) {
        ASSERT_EQ(std::isnan(y[t * 8]), t >= token)
            << "key " << bad << " at " << token << ": " << t;
      }
    }
  }
}

class HadamardExpTest : public AttentionTest {};

// float32 holds an exponent of 400 to 3e-5: the error of the inputs' own sum.
TEST_P(HadamardExpTest, KeysOfTwoHundredEitherWay) {
  EXPECT_LE(Worst(Inputs(100, 16, 200.0f)), 2e-4);
}

// The largest float32 either way: differences of keys overflow, exponents relative to shifts do
// not.
TEST_P(HadamardExpTest, KeysAtTheEndsOfFloat32) {
  HeadInputs inputs = Inputs(80, 8, 2.0f);
  for (float& k : inputs.k) {
    if (bits_() % 3 == 0) k = bits_() % 2 == 0 ? 3e38f : -3e38f;
  }
  EXPECT_LE(Worst(inputs), 2e-4);
}

TEST_P(HadamardExpTest, KeysThatRiseByAThousandPerBlock) {
  HeadInputs inputs = Inputs(96, 8, 2.0f);
  for (int64_t t = 0; t < 96; ++t) {
    for (int64_t i = 0; i < 8; ++i) inputs.k[t * 8 + i] += 1000.0f / 16 * static_cast<float>(t);
  }
  EXPECT_LE(Worst(inputs), 2e-3);  // exponents of 6,000 are held to 5e-4
}

TEST_P(HadamardExpTest, KeysThatFallByAThousandPerBlock) {
  HeadInputs inputs = Inputs(96, 8, 2.0f);
  for (int64_t t = 0; t < 96; ++t) {
    for (int64_t i = 0; i < 8; ++i) inputs.k[t * 8 + i] -= 1000.0f / 16 * static_cast<float>(t);
  }
  EXPECT_LE(Worst(inputs), 2e-3);
}

// One key in the middle of a block towers over its anchor in one feature alone.
TEST_P(HadamardExpTest, ADirectKeyIsSummedWithItsOwnShift) {
  for (const float height : {28.0f, 36.0f, 90.0f, 300.0f}) {
    for (const int64_t token : {1, 7, 15, 16, 20}) {
      HeadInputs inputs = Inputs(40, 8, 1.0f);
      inputs.k[token * 8 + 3] += height;
      HeadRig rig = Rig(portable_, 8);
      const std::vector<float> y = rig.Run(inputs, 0, token + 1);
      EXPECT_EQ((*rig.state().direct >> (token % 16) & 1) == 1, height > 32 && token % 16 != 0)
          << "height " << height << ", token " << token;
      EXPECT_LE(Worst(inputs), 2e-4);
    }
  }
}

TEST_P(HadamardExpTest, QueriesFarBelowEveryKeyStillDivideByOneOrMore) {
  HeadInputs inputs = Inputs(40, 8, 1.0f);
  for (float& q : inputs.q) q -= 500.0f;
  EXPECT_LE(Worst(inputs), 2e-4);
}

INSTANTIATE_TEST_SUITE_P(Forms, HadamardExpTest,
                         testing::Values(Form{AttentionKernel::kHadamardExp, false},
                                         Form{AttentionKernel::kHadamardExp, true}),
                         [](const auto& info) { return FormName(info.param); });

TEST(SquaredDistanceTest, WhereEveryWeightIsZeroTheOutputIsTheMean) {
  ScopedFlushToZero flush;
  for (const AttentionKernel kernel : {AttentionKernel::kSubSq, AttentionKernel::kSumSq}) {
    std::mt19937 bits(10);
    HeadInputs inputs = RandomInputs(&bits, 40, 8, 0.0f, false);
    for (float& k : inputs.k) k = 0.5f;
    for (float& q : inputs.q) q = kernel == AttentionKernel::kSubSq ? 0.5f : -0.5f;
    HeadRig rig(*FindKernels("portable"), kernel, 8, false);
    const std::vector<float> y = rig.Run(inputs, 0, 40);
    EXPECT_LE(WorstError(kernel, inputs, 0, y), 1e-6);
  }
}

TEST(DirectionTest, OppositeDirectionsGiveTheWeightedMean) {
  ScopedFlushToZero flush;
  std::mt19937 bits(11);
  HeadInputs inputs = RandomInputs(&bits, 40, 4, 0.0f, false);
  for (int64_t t = 0; t < 40; ++t) {
    inputs.k[t * 4] = static_cast<float>(1 << (t % 3));  // magnitudes differ, directions do not
    inputs.q[t * 4] = -1.0f;
  }
  HeadRig rig(*FindKernels("portable"), AttentionKernel::kDirMag, 4, false);
  const std::vector<float> y = rig.Run(inputs, 0, 40);
  EXPECT_LE(WorstError(AttentionKernel::kDirMag, inputs, 0, y), 1e-6);
}

}  // namespace
}  // namespace ela
