// What follows a convolution's sum, in registers. Internal linkage, see simd.h.
#ifndef ELA_MODEL_KERNELS_EPILOGUE_H_
#define ELA_MODEL_KERNELS_EPILOGUE_H_

#include "model/kernels/convolution.h"
#include "model/kernels/simd.h"

namespace ela {
namespace {

// x * sigmoid(x), within 3e-7 of the true value relative to it for |x| <= 7 and 6e-6 at -80, where
// the exponent's own rounding shows. 14 operations and a division: a quarter of lat-ms's time is
// spent here, and exact treatment of exp's ends (elementary.h) would cost half as much again.
// Beyond |x| = 87 the exponential stands still, where x / (1 + e^87) is 0 for all purposes.
// exp(-x) is 2^n * 2^f, 2^f on [-1/2, 1/2] by a minimax polynomial of degree 5 (7.5e-8).
template <class V>
inline V FastSilu(V x) {
  const V minus_log2e = V::Set(-1.44269504f);
  const V clamped = Min(V::Set(87.0f), Max(V::Set(-87.0f), x));  // this order of operands keeps NaN
  const V magic = Fma(clamped, minus_log2e, V::Set(kRoundingMagic));
  const V f = Fma(clamped, minus_log2e, V::Set(kRoundingMagic) - magic);
  V p = Fma(V::Set(1.3276471520e-3f), f, V::Set(9.6755413307e-3f));
  p = Fma(p, f, V::Set(5.5507132750e-2f));
  p = Fma(p, f, V::Set(2.4022119724e-1f));
  p = Fma(p, f, V::Set(6.9314696706e-1f));
  p = Fma(p, f, V::Set(1.0000000717e+0f));
  return x / (V::Set(1.0f) + AddToExponent(p, magic));
}

template <Epilogue kEpilogue, class V>
inline V Finish(V x) {
  if constexpr (kEpilogue == Epilogue::kRelu) return Max(V::Set(0.0f), x);  // NaN stays NaN
  if constexpr (kEpilogue == Epilogue::kSilu) return FastSilu(x);
  return x;
}

// Calls body(constant) with the epilogue as a template argument: decltype(constant)::value.
template <Epilogue kValue>
struct EpilogueConstant {
  static constexpr Epilogue value = kValue;
};
template <class Body>
inline void WithEpilogue(Epilogue epilogue, Body body) {
  switch (epilogue) {
    case Epilogue::kNone:
      return body(EpilogueConstant<Epilogue::kNone>{});
    case Epilogue::kRelu:
      return body(EpilogueConstant<Epilogue::kRelu>{});
    case Epilogue::kSilu:
      return body(EpilogueConstant<Epilogue::kSilu>{});
  }
}

}  // namespace
}  // namespace ela

#endif  // ELA_MODEL_KERNELS_EPILOGUE_H_
