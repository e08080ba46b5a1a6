// exp, log and what follows from them as polynomials, and sine and cosine in double: no libm, so
// that every instruction set and every machine computes the same bits. Float results are within 2
// ulp of the true value (tests/model/kernels_test.cc). Internal linkage, see simd.h.
#ifndef ELA_MODEL_KERNELS_ELEMENTARY_H_
#define ELA_MODEL_KERNELS_ELEMENTARY_H_

#include <cstdint>

#include "model/kernels/simd.h"

namespace ela {
namespace {

// exp(x): 0 below -87.3365 (where float32's normal range ends) and for -inf, inf above 88.7228, NaN
// for NaN. Range reduction by ln 2 in two parts, then a polynomial of degree 6 (Cephes expf's).
template <class V>
inline V Exp(V x) {
  const V lowest = V::Set(-87.3365402f), highest = V::Set(88.7228394f);
  const V clamped = Min(highest, Max(lowest, x));  // this order of operands keeps NaN
  const V magic = Fma(clamped, V::Set(1.44269504f), V::Set(kRoundingMagic));
  const V n = magic - V::Set(kRoundingMagic);
  V r = Fma(n, V::Set(-0.693359375f), clamped);
  r = Fma(n, V::Set(2.12194440e-4f), r);
  V p = Fma(V::Set(1.9875691500e-4f), r, V::Set(1.3981999507e-3f));
  p = Fma(p, r, V::Set(8.3334519073e-3f));
  p = Fma(p, r, V::Set(4.1665795894e-2f));
  p = Fma(p, r, V::Set(1.6666665459e-1f));
  p = Fma(p, r, V::Set(5.0000001201e-1f));
  p = Fma(p, r * r, r) + V::Set(1.0f);
  V result = ScaleByPowerOfTwo(p, magic);
  result = SelectLess(x, lowest, V::Set(0.0f), result);
  return SelectLess(highest, x, V::Set(__builtin_inff()), result);
}

// log(x) of a positive normal x (Cephes logf's polynomial).
template <class V>
inline V Log(V x) {
  V mantissa, exponent;
  SplitExponent(x, &mantissa, &exponent);
  const V f = mantissa - V::Set(1.0f);
  const V z = f * f;
  V p = Fma(V::Set(7.0376836292e-2f), f, V::Set(-1.1514610310e-1f));
  p = Fma(p, f, V::Set(1.1676998740e-1f));
  p = Fma(p, f, V::Set(-1.2420140846e-1f));
  p = Fma(p, f, V::Set(1.4249322787e-1f));
  p = Fma(p, f, V::Set(-1.6668057665e-1f));
  p = Fma(p, f, V::Set(2.0000714765e-1f));
  p = Fma(p, f, V::Set(-2.4999993993e-1f));
  p = Fma(p, f, V::Set(3.3333331174e-1f));
  V y = p * (f * z);
  y = Fma(exponent, V::Set(-2.12194440e-4f), y);
  y = Fma(V::Set(-0.5f), z, y);
  return Fma(exponent, V::Set(0.693359375f), f + y);
}

// log(1 + u) for u in [0, 1], accurate for tiny u: the rounding of 1 + u is divided out again.
template <class V>
inline V LogOnePlus(V u) {
  const V one = V::Set(1.0f);
  const V w = one + u;
  const V corrected = Log(w) * (u / Max(w - one, V::Set(1e-30f)));
  return SelectLess(one, w, corrected, u);
}

// log sigmoid(x) = min(x, 0) - log(1 + exp(-|x|)).
template <class V>
inline V LogSigmoid(V x) {
  const V zero = V::Set(0.0f);
  const V magnitude = Max(x, zero - x);
  return Min(x, zero) - LogOnePlus(Exp(zero - magnitude));
}

// x * sigmoid(x).
template <class V>
inline V Silu(V x) {
  return x / (V::Set(1.0f) + Exp(V::Set(0.0f) - x));
}

// Sine and cosine of an angle up to 1e9 rad, within 1e-15: reduction by pi/2 in two parts with
// fused products, then Taylor polynomials on [-pi/4, pi/4].
inline void SinCos(double angle, double* sine, double* cosine) {
  const double quarter = angle * 0.63661977236758134308;
  const int64_t n = static_cast<int64_t>(quarter < 0 ? quarter - 0.5 : quarter + 0.5);
  const double turns = static_cast<double>(n);
  double r = __builtin_fma(-turns, 1.57079632679489655800e+00, angle);
  r = __builtin_fma(-turns, 6.12323399573676603587e-17, r);
  const double z = r * r;
  double s = -7.6471637318198164759e-13;  // -1/15!
  s = __builtin_fma(s, z, 1.6059043836821614599e-10);
  s = __builtin_fma(s, z, -2.5052108385441718775e-8);
  s = __builtin_fma(s, z, 2.7557319223985890653e-6);
  s = __builtin_fma(s, z, -1.9841269841269841270e-4);
  s = __builtin_fma(s, z, 8.3333333333333333333e-3);
  s = __builtin_fma(s, z, -1.6666666666666666667e-1);
  s = __builtin_fma(s * z, r, r);
  double c = 4.7794773323873852974e-14;  // 1/16!
  c = __builtin_fma(c, z, -1.1470745597729724714e-11);
  c = __builtin_fma(c, z, 2.0876756987868098979e-9);
  c = __builtin_fma(c, z, -2.7557319223985890653e-7);
  c = __builtin_fma(c, z, 2.4801587301587301587e-5);
  c = __builtin_fma(c, z, -1.3888888888888888889e-3);
  c = __builtin_fma(c, z, 4.1666666666666666667e-2);
  c = __builtin_fma(c, z, -0.5);
  c = __builtin_fma(c, z, 1.0);
  switch (n & 3) {
    case 0:
      *sine = s, *cosine = c;
      break;
    case 1:
      *sine = c, *cosine = -s;
      break;
    case 2:
      *sine = -s, *cosine = -c;
      break;
    default:
      *sine = -c, *cosine = s;
      break;
  }
}

}  // namespace
}  // namespace ela

#endif  // ELA_MODEL_KERNELS_ELEMENTARY_H_
