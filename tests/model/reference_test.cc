#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "model/reference/attention.h"

namespace ela::reference {
namespace {

struct Shape {
  int64_t heads, length, width;
};
void PrintTo(const Shape& s, std::ostream* out) {
  *out << "H=" << s.heads << " L=" << s.length << " D=" << s.width;
}

AttentionInputs RandomInputs(const Shape& shape, bool decay, double scale, at::ScalarType dtype) {
  const auto random = [&] {
    return scale * at::randn({2, shape.heads, shape.length, shape.width}, at::kDouble);
  };
  AttentionInputs inputs{random().to(dtype), random().to(dtype), random().to(dtype), {}};
  if (decay) inputs.log_decay = (-0.6 * at::rand_like(inputs.q)).to(dtype);
  return inputs;
}

double LargestError(const at::Tensor& got, const at::Tensor& want) {
  return ((got - want).abs() / want.abs().clamp_min(1)).max().item<double>();
}

constexpr AttentionKernel kKernels[] = {AttentionKernel::kHadamardExp, AttentionKernel::kSumSq,
                                        AttentionKernel::kSubSq, AttentionKernel::kDirMag};

class AttentionFormsTest : public testing::TestWithParam<Shape> {};

TEST_P(AttentionFormsTest, DefinitionIsChunkedIsRecurrent) {
  at::manual_seed(7);
  for (const AttentionKernel kernel : kKernels) {
    for (const bool decay : {false, true}) {
      if (decay && kernel != AttentionKernel::kHadamardExp) continue;
      SCOPED_TRACE(std::string(Name(kernel)) + (decay ? " with decay" : ""));
      const AttentionInputs inputs = RandomInputs(GetParam(), decay, 1.0, at::kDouble);
      const at::Tensor want =
          QuadraticAttention(kernel, inputs, CausalVisibility(GetParam().length));
      EXPECT_LT(LargestError(RecurrentAttention(kernel, inputs), want), 1e-10);
      for (const int64_t chunk : {1, 3, 4, 16, 64}) {
        EXPECT_LT(LargestError(ChunkedAttention(kernel, inputs, chunk), want), 1e-10) << chunk;
      }
    }
  }
}

std::vector<Shape> SmallShapes() {
  std::vector<Shape> shapes;
  for (const int64_t heads : {1, 2}) {
    for (const int64_t length : {1, 2, 3, 5, 16, 17, 33}) {
      for (const int64_t width : {2, 4, 6}) shapes.push_back({heads, length, width});
    }
  }
  return shapes;
}
INSTANTIATE_TEST_SUITE_P(SmallShapes, AttentionFormsTest, testing::ValuesIn(SmallShapes()));

TEST(AttentionTest, GradientsOfTheChunkedFormAreThoseOfTheDefinition) {
  at::manual_seed(3);
  for (const AttentionKernel kernel : kKernels) {
    const bool decay = kernel == AttentionKernel::kHadamardExp;
    const AttentionInputs values = RandomInputs({2, 37, 6}, decay, 1.0, at::kDouble);
    const at::Tensor direction = at::randn_like(values.v);
    const auto gradients = [&](auto&& attention) {
      AttentionInputs leaves;
      leaves.q = values.q.clone().requires_grad_(true);
      leaves.k = values.k.clone().requires_grad_(true);
      leaves.v = values.v.clone().requires_grad_(true);
      if (decay) leaves.log_decay = values.log_decay.clone().requires_grad_(true);
      (attention(leaves) * direction).sum().backward();
      std::vector<at::Tensor> result = {leaves.q.grad(), leaves.k.grad(), leaves.v.grad()};
      if (decay) result.push_back(leaves.log_decay.grad());
      return result;
    };
    const auto want = gradients([&](const AttentionInputs& inputs) {
      return QuadraticAttention(kernel, inputs, CausalVisibility(37));
    });
    const auto got = gradients(
        [&](const AttentionInputs& inputs) { return ChunkedAttention(kernel, inputs, 8); });
    for (size_t i = 0; i < want.size(); ++i) {
      EXPECT_LT(LargestError(got[i], want[i]), 1e-9) << Name(kernel) << " input " << i;
    }
  }
}

TEST(AttentionTest, Float32ChunksStayCloseWithStrongDecayAndLargeKeys) {
  at::manual_seed(5);
  AttentionInputs inputs = RandomInputs({2, 300, 16}, false, 4.0, at::kDouble);
  inputs.v = inputs.v / 4;
  inputs.log_decay = at::full_like(inputs.q, -0.6);
  const at::Tensor want =
      QuadraticAttention(AttentionKernel::kHadamardExp, inputs, CausalVisibility(300));
  const AttentionInputs rounded{inputs.q.to(at::kFloat), inputs.k.to(at::kFloat),
                                inputs.v.to(at::kFloat), inputs.log_decay.to(at::kFloat)};
  EXPECT_LT(LargestError(ChunkedAttention(AttentionKernel::kHadamardExp, rounded), want), 1e-4);
}

TEST(AttentionTest, AQueryThatAllKeysOpposeGetsTheMeanOfTheValues) {
  const at::Tensor q = at::ones({1, 1, 3, 2}, at::kDouble);
  const at::Tensor v = at::arange(6, at::kDouble).view({1, 1, 3, 2});
  const AttentionInputs inputs{q, -q, v, {}};  // sum_sq: every weight ‖q + k‖² is 0
  const at::Tensor y = QuadraticAttention(AttentionKernel::kSumSq, inputs, CausalVisibility(3));
  EXPECT_LT(LargestError(y.select(2, 2), v.mean(2)), 1e-15);
  EXPECT_LT(LargestError(RecurrentAttention(AttentionKernel::kSumSq, inputs), y), 1e-15);
}

}  // namespace
}  // namespace ela::reference
