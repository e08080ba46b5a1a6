// Lanes of float32 for one instruction set: the only place of this folder that names intrinsics.
// Every kernel is a template over one of these types, so that all instruction sets run the same
// operations on every element, in the same order, and agree to the bit. F1 is one plain float: with
// it the kernels are their own scalar reference. Everything here has internal linkage, because each
// including file is compiled for another instruction set.
#ifndef ELA_MODEL_KERNELS_SIMD_H_
#define ELA_MODEL_KERNELS_SIMD_H_

#include <cstdint>
#include <cstring>

#if defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
#endif

namespace ela {
namespace {

// Adding this to |x| < 2^22 rounds x to the nearest integer and leaves it in the low bits.
constexpr float kRoundingMagic = 12582912.0f;  // 1.5 * 2^23
constexpr int32_t kRoundingMagicBits = 0x4b400000;
constexpr int32_t kSqrtHalfBits = 0x3f3504f3;

struct F1 {
  static constexpr int kLanes = 1;
  static constexpr int kRowTile = 1;  // rows of a register tile, see tile.h
  float v;

  static F1 Load(const float* p) { return {*p}; }
  static F1 Set(float x) { return {x}; }
  void Store(float* p) const { *p = v; }
};
inline F1 operator+(F1 a, F1 b) { return {a.v + b.v}; }
inline F1 operator-(F1 a, F1 b) { return {a.v - b.v}; }
inline F1 operator*(F1 a, F1 b) { return {a.v * b.v}; }
inline F1 operator/(F1 a, F1 b) { return {a.v / b.v}; }
inline F1 Fma(F1 a, F1 b, F1 c) { return {__builtin_fmaf(a.v, b.v, c.v)}; }
inline F1 Max(F1 a, F1 b) { return {a.v > b.v ? a.v : b.v}; }  // b where a is NaN or both are zero
inline F1 Min(F1 a, F1 b) { return {a.v < b.v ? a.v : b.v}; }
inline F1 SelectLess(F1 a, F1 b, F1 yes, F1 no) { return a.v < b.v ? yes : no; }
inline int32_t Bits(float x) {
  int32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  return bits;
}
inline float FromBits(int32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof(x));
  return x;
}
// p * 2^n, where `magic` is n + kRoundingMagic and |n| <= 252: in two factors, each a normal float.
inline F1 ScaleByPowerOfTwo(F1 p, F1 magic) {
  // Unsigned, because a NaN comes through here too and its bits are no exponent.
  const int32_t n = Bits(magic.v) - kRoundingMagicBits;
  const uint32_t half = static_cast<uint32_t>(n >> 1);
  const uint32_t rest = static_cast<uint32_t>(n) - half;
  return {p.v * FromBits(static_cast<int32_t>((half + 127) << 23)) *
          FromBits(static_cast<int32_t>((rest + 127) << 23))};
}
// p * 2^n in one integer addition, where `magic` is n + kRoundingMagic. REQUIRES: the result is
// normal.
inline F1 AddToExponent(F1 p, F1 magic) {
  return {FromBits(static_cast<int32_t>(static_cast<uint32_t>(Bits(p.v)) +
                                        (static_cast<uint32_t>(Bits(magic.v)) << 23)))};
}
inline F1 FromBytes(const uint8_t* p, F1) { return {static_cast<float>(*p)}; }
// x = mantissa * 2^exponent with the mantissa in [sqrt(1/2), sqrt(2)); x positive and normal.
inline void SplitExponent(F1 x, F1* mantissa, F1* exponent) {
  const auto bits = static_cast<int32_t>(static_cast<uint32_t>(Bits(x.v)) - kSqrtHalfBits);
  exponent->v = static_cast<float>(bits >> 23);
  mantissa->v = FromBits((bits & 0x007fffff) + kSqrtHalfBits);
}
// Two bfloat16 per word, widened exactly: the low halves and the high halves of the words.
inline void LoadHalves(const uint32_t* words, F1* low, F1* high) {
  low->v = FromBits(static_cast<int32_t>(*words << 16));
  high->v = FromBits(static_cast<int32_t>(*words & 0xffff0000u));
}
inline float MaxLane(F1 a) { return a.v; }
inline F1 FromDouble(const double* p, F1) { return {static_cast<float>(*p)}; }

#if defined(__AVX2__) && defined(__FMA__)
struct F8 {
  static constexpr int kLanes = 8;
  static constexpr int kRowTile = 6;
  __m256 v;

  static F8 Load(const float* p) { return {_mm256_loadu_ps(p)}; }
  static F8 Set(float x) { return {_mm256_set1_ps(x)}; }
  void Store(float* p) const { _mm256_storeu_ps(p, v); }
};
inline F8 operator+(F8 a, F8 b) { return {_mm256_add_ps(a.v, b.v)}; }
inline F8 operator-(F8 a, F8 b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline F8 operator*(F8 a, F8 b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline F8 operator/(F8 a, F8 b) { return {_mm256_div_ps(a.v, b.v)}; }
inline F8 Fma(F8 a, F8 b, F8 c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
inline F8 Max(F8 a, F8 b) { return {_mm256_max_ps(a.v, b.v)}; }
inline F8 Min(F8 a, F8 b) { return {_mm256_min_ps(a.v, b.v)}; }
inline F8 SelectLess(F8 a, F8 b, F8 yes, F8 no) {
  return {_mm256_blendv_ps(no.v, yes.v, _mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ))};
}
inline F8 ScaleByPowerOfTwo(F8 p, F8 magic) {
  const __m256i n =
      _mm256_sub_epi32(_mm256_castps_si256(magic.v), _mm256_set1_epi32(kRoundingMagicBits));
  const __m256i half = _mm256_srai_epi32(n, 1);
  const __m256i bias = _mm256_set1_epi32(127);
  const __m256i first = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
  const __m256i second = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(n, half), bias), 23);
  return {
      _mm256_mul_ps(_mm256_mul_ps(p.v, _mm256_castsi256_ps(first)), _mm256_castsi256_ps(second))};
}
inline F8 AddToExponent(F8 p, F8 magic) {
  return {_mm256_castsi256_ps(_mm256_add_epi32(
      _mm256_castps_si256(p.v), _mm256_slli_epi32(_mm256_castps_si256(magic.v), 23)))};
}
inline F8 FromBytes(const uint8_t* p, F8) {
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  return {_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes))};
}
inline void SplitExponent(F8 x, F8* mantissa, F8* exponent) {
  const __m256i root = _mm256_set1_epi32(kSqrtHalfBits);
  const __m256i bits = _mm256_sub_epi32(_mm256_castps_si256(x.v), root);
  exponent->v = _mm256_cvtepi32_ps(_mm256_srai_epi32(bits, 23));
  const __m256i fraction = _mm256_and_si256(bits, _mm256_set1_epi32(0x007fffff));
  mantissa->v = _mm256_castsi256_ps(_mm256_add_epi32(fraction, root));
}
inline void LoadHalves(const uint32_t* words, F8* low, F8* high) {
  const __m256i pairs = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(words));
  low->v = _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16));
  high->v = _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(-65536)));
}
inline float MaxLane(F8 a) {
  float lanes[8];
  a.Store(lanes);
  float result = lanes[0];
  for (int i = 1; i < 8; ++i) result = lanes[i] > result ? lanes[i] : result;
  return result;
}
inline F8 FromDouble(const double* p, F8) {
  return {_mm256_set_m128(_mm256_cvtpd_ps(_mm256_loadu_pd(p + 4)),
                          _mm256_cvtpd_ps(_mm256_loadu_pd(p)))};
}
#endif

#if defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
struct F16 {
  static constexpr int kLanes = 16;
  static constexpr int kRowTile = 6;
  __m512 v;

  static F16 Load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static F16 Set(float x) { return {_mm512_set1_ps(x)}; }
  void Store(float* p) const { _mm512_storeu_ps(p, v); }
};
inline F16 operator+(F16 a, F16 b) { return {_mm512_add_ps(a.v, b.v)}; }
inline F16 operator-(F16 a, F16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline F16 operator*(F16 a, F16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline F16 operator/(F16 a, F16 b) { return {_mm512_div_ps(a.v, b.v)}; }
inline F16 Fma(F16 a, F16 b, F16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline F16 Max(F16 a, F16 b) { return {_mm512_max_ps(a.v, b.v)}; }
inline F16 Min(F16 a, F16 b) { return {_mm512_min_ps(a.v, b.v)}; }
inline F16 SelectLess(F16 a, F16 b, F16 yes, F16 no) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), no.v, yes.v)};
}
inline F16 ScaleByPowerOfTwo(F16 p, F16 magic) {
  const __m512i n =
      _mm512_sub_epi32(_mm512_castps_si512(magic.v), _mm512_set1_epi32(kRoundingMagicBits));
  const __m512i half = _mm512_srai_epi32(n, 1);
  const __m512i bias = _mm512_set1_epi32(127);
  const __m512i first = _mm512_slli_epi32(_mm512_add_epi32(half, bias), 23);
  const __m512i second = _mm512_slli_epi32(_mm512_add_epi32(_mm512_sub_epi32(n, half), bias), 23);
  return {
      _mm512_mul_ps(_mm512_mul_ps(p.v, _mm512_castsi512_ps(first)), _mm512_castsi512_ps(second))};
}
inline F16 AddToExponent(F16 p, F16 magic) {
  return {_mm512_castsi512_ps(_mm512_add_epi32(
      _mm512_castps_si512(p.v), _mm512_slli_epi32(_mm512_castps_si512(magic.v), 23)))};
}
inline float MaxLane(F16 a) {
  float lanes[16];
  a.Store(lanes);
  float result = lanes[0];
  for (int i = 1; i < 16; ++i) result = lanes[i] > result ? lanes[i] : result;
  return result;
}
inline F16 FromBytes(const uint8_t* p, F16) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes))};
}
#endif

// Calls body(V tag, i) for whole vectors of [0, n), then body(F1 tag, i) for what is left: the same
// operations per element whatever the lanes.
template <class V, class Body>
inline void ForLanes(int64_t n, Body body) {
  int64_t i = 0;
  if constexpr (V::kLanes > 1) {
    for (; i + V::kLanes <= n; i += V::kLanes) body(V{}, i);
  }
  for (; i < n; ++i) body(F1{}, i);
}

// A sum over [0, n) as 16 partial sums, element i in partial i mod 16, joined by one fixed tree:
// body(accumulator, i) returns the accumulator with element i added.
template <class V, class Body>
inline float Sum16(int64_t n, Body body) {
  constexpr int kParts = 16 / V::kLanes;
  V part[kParts];
  for (int p = 0; p < kParts; ++p) part[p] = V::Set(0.0f);
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (int p = 0; p < kParts; ++p) part[p] = body(part[p], i + p * V::kLanes);
  }
  float s[16];
  for (int p = 0; p < kParts; ++p) part[p].Store(s + p * V::kLanes);
  for (; i < n; ++i) s[i & 15] = body(F1{s[i & 15]}, i).v;
  for (int width = 8; width > 0; width /= 2) {
    for (int l = 0; l < width; ++l) s[l] = s[l] + s[l + width];
  }
  return s[0];
}

// The largest of body(tag, i) over [0, n) and `start`. The order of a maximum changes no bit.
template <class V, class Body>
inline float MaxOver(int64_t n, float start, Body body) {
  V best = V::Set(start);
  int64_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) best = Max(body(V{}, i), best);
  float result = MaxLane(best);
  for (; i < n; ++i) {
    const float x = body(F1{}, i).v;
    result = x > result ? x : result;
  }
  return result;
}

}  // namespace
}  // namespace ela

#endif  // ELA_MODEL_KERNELS_SIMD_H_
