// Makes the function table of one instruction set. Each including file is compiled for its own.
#ifndef ELA_MODEL_KERNELS_TABLE_H_
#define ELA_MODEL_KERNELS_TABLE_H_

#include "model/kernels/dense.h"
#include "model/kernels/hadamard_exp.h"
#include "model/kernels/kernels.h"
#include "model/kernels/moments.h"
#include "model/kernels/rows.h"

namespace ela {
namespace {

template <class Form>
constexpr AttentionKernels MakeAttention() {
  return {&Form::Append, &Form::Derive, &Form::Attend, &Form::Query, &Form::Merge};
}

template <class V>
constexpr Kernels MakeTable(const char* name) {
  Kernels table{};
  table.name = name;
  table.dense = &Dense<V>;
  table.rms_norm = &RmsNorm<V>;
  table.rope_angles = &RopeAngles;
  table.rope = &Rope;
  table.convolve = &Convolve<V>;
  table.log_decay = &LogDecay<V>;
  table.gate = &Gate<V>;
  table.swiglu = &SwiGlu<V>;
  table.route = &Route<V>;
  table.add_expert = &AddExpert<V>;
  table.add = &Add<V>;
  table.sum_exp = &SumExp<V>;
  table.max = &MaxOf<V>;
  table.all_finite = &AllFinite;
  table.log = &LogOf;
  // In the order of AttentionKernel.
  table.attention[0] = MakeAttention<HadamardExp<V>>();
  table.attention[1] = MakeAttention<Moments<V, 1>>();
  table.attention[2] = MakeAttention<Moments<V, -1>>();
  table.attention[3] = MakeAttention<Moments<V, 0>>();
  return table;
}

}  // namespace
}  // namespace ela

#endif  // ELA_MODEL_KERNELS_TABLE_H_
