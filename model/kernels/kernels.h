// The serving kernels: one table of plain functions on plain pointers and sizes, chosen once at
// start. The paper's block form (docs/model.md 1) is split so that prefill and decode call the same
// functions: Append puts tokens into a head's tail, Attend computes any number of consecutive rows
// of a block, Merge folds a full tail into the base. A row's bits depend on its own inputs alone.
//
// All tables whose numerics id is "cpu-f32-1" agree to the bit. What that rests on:
// -ffp-contract=off and explicit fused products, polynomials instead of libm (elementary.h), one
// chain over the inner dimension per output element (tile.h), 16 fixed partial sums elsewhere
// (simd.h), and denormals flushed to zero on every thread that computes (flush_to_zero.h).
// Thread-safe: no state.
#ifndef ELA_MODEL_KERNELS_KERNELS_H_
#define ELA_MODEL_KERNELS_KERNELS_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace ela {

inline constexpr int kBlock = 16;        // U, the tokens of a tail
inline constexpr int kPanel = 32;        // columns of a packed weight panel
inline constexpr int kColumnBlock = 64;  // columns of a base matrix that lie side by side
inline constexpr char kCpuNumericsId[] = "cpu-f32-1";

inline constexpr int64_t RoundUp(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// Views into one head's state (model/language/state_layout.h owns the bytes). D: key width, Dv:
// value width; D16, Dv16: rounded up to 16, the padding of `values` and `matrix` is zero.
// The matrix is stored in column blocks of 64 (the last one may be narrower): columns [b, b + w)
// lie at matrix + b * D as D rows of w numbers.
struct HeadState {
  int64_t width = 0;         // D
  int64_t value_width = 0;   // Dv
  int64_t key_stride = 0;    // D16
  int64_t value_stride = 0;  // Dv16

  // Base. Never read while nothing has been merged.
  float* matrix = nullptr;      // A (hadamard_exp) or Cov: [D, Dv16]
  float* row_max = nullptr;     // m: [D], hadamard_exp
  double* row_sum = nullptr;    // c: [D], hadamard_exp
  float* key_mean = nullptr;    // [D], moments
  float* value_mean = nullptr;  // [Dv16], moments
  float* third = nullptr;       // T: [Dv16], squared kernels
  double* totals = nullptr;     // [2]: Q (squared kernels), W (dir_mag)

  // Tail: what the last position mod 16 tokens brought.
  float* keys = nullptr;    // [16, D16]
  float* values = nullptr;  // [16, Dv16]
  float* decays = nullptr;  // G, block-relative sums of log decays: [16, D16]; null without decay

  // Derived from the tail and the base by Append, so that a key's exponentials are taken once.
  float* features = nullptr;   // [D, 16], one column per token
  float* anchor = nullptr;     // [D], hadamard_exp
  float* weights = nullptr;    // [16], dir_mag: |k|^2 + 1
  uint32_t* direct = nullptr;  // bit j: key j is direct, hadamard_exp
};

struct AttentionKernels {
  // Puts n tokens into the tail at rows [t, t + n). k: [n, D], v: [n, Dv], g: log decays [n, D] or
  // null, with leading dimensions. merged: tokens in the base. scratch: AttentionScratch floats.
  void (*append)(const HeadState& head, int64_t merged, int t, int n, const float* k, int64_t ldk,
                 const float* v, int64_t ldv, const float* g, int64_t ldg, float* scratch);
  // Computes again what Append derives, for the n tokens that stand in the tail (a loaded state).
  void (*derive)(const HeadState& head, int64_t merged, int n, float* scratch);
  // Outputs of the tokens at tail rows [t, t + n), which Append has put there. q: [n, D], y: [n,
  // Dv].
  void (*attend)(const HeadState& head, int64_t merged, int t, int n, const float* q, int64_t ldq,
                 float* y, int64_t ldy, float* scratch);
  // Outputs of n <= 16 queries from anywhere that all see the whole base and the first `tail`
  // tokens of the tail; merged + tail > 0. Attend's row t gives the bits of a query with tail t
  // + 1. REQUIRES: a head without decay, whose weights depend on where the query stands.
  void (*query)(const HeadState& head, int64_t merged, int tail, int n, const float* q, int64_t ldq,
                float* y, int64_t ldy, float* scratch);
  // Folds a tail of 16 tokens into the base.
  void (*merge)(const HeadState& head, int64_t merged, float* scratch);
};

// Floats of scratch that the functions above need for a head.
inline constexpr int64_t AttentionScratch(int64_t width, int64_t value_width) {
  return 56 * RoundUp(width, 16) + 56 * RoundUp(value_width, 16) + 1024;
}

// The data of a packed matrix: one of the two.
struct PackedPanels {
  const float* floats = nullptr;     // [panels][k][32]
  const uint32_t* halves = nullptr;  // bfloat16, [panels][k][16]: column w low, w + 16 high
};

struct Kernels {
  const char* name;  // "portable", "reference"

  // y[m, panels*32] = x[m, k] · W for the panels [first, last) of a packed matrix
  // (packed_matrix.h).
  void (*dense)(int64_t m, int64_t k, const float* x, int64_t ldx, const PackedPanels& w,
                int64_t first_panel, int64_t last_panel, float* y, int64_t ldy);
  // y = x / sqrt(mean(x^2) + eps) * gain, row by row; x: [m, d].
  void (*rms_norm)(int64_t m, int64_t d, const float* x, int64_t ldx, const float* gain, float eps,
                   float* y, int64_t ldy);
  // Cosine and sine of position * frequency[i], angles in double. cosine, sine: [pairs].
  void (*rope_angles)(int64_t position, int64_t pairs, const double* frequency, float* cosine,
                      float* sine);
  // Rotates the pairs (2i, 2i+1) of every head of a row and multiplies by scale. A null cosine: no
  // rotation.
  void (*rope)(int64_t heads, int64_t width, const float* cosine, const float* sine, float scale,
               float* row);
  // Causal depthwise convolution. rows: [window - 1 + m, ld], oldest first; weight: [window, d],
  // the oldest tap first; y: [m, d].
  void (*convolve)(int64_t m, int64_t d, int64_t window, const float* weight, const float* rows,
                   int64_t ld, float* y, int64_t ldy);
  // g = max(logsigmoid(g + bias) / 4, -0.6), in place; g: [m, d].
  void (*log_decay)(int64_t m, int64_t d, const float* bias, float* g, int64_t ldg);
  // y = y * silu(gate); y, gate: [m, d].
  void (*gate)(int64_t m, int64_t d, const float* gate, int64_t ldgate, float* y, int64_t ldy);
  // y = silu(x[:, :h]) * x[:, h:2h]; x: [m, 2h], y: [m, h].
  void (*swiglu)(int64_t m, int64_t h, const float* x, int64_t ldx, float* y, int64_t ldy);
  // Softmax over `experts` scores plus bias, then the k largest (ties: the lower index), their
  // weights renormalised to sum 1 (denominator + 1e-8). scores is overwritten.
  void (*route)(int64_t experts, int64_t k, float* scores, const float* bias, int32_t* chosen,
                float* weights);
  // y = y + w * x + b (outer) or y + w * (x + b) (inner); b may be null: y + w * x. All [d].
  void (*add_expert)(int64_t d, float w, const float* x, const float* b, bool inner, float* y);
  // y = (y + a) + b; b may be null. All [n].
  void (*add)(int64_t n, const float* a, const float* b, float* y);
  // Sum of exp((x - shift) * scale), and the terms into `terms` unless that is null.
  float (*sum_exp)(int64_t n, const float* x, float shift, float scale, float* terms);
  // The largest value. -inf for n = 0.
  float (*max)(int64_t n, const float* x);
  // Whether every value is finite.
  bool (*all_finite)(int64_t n, const float* x);
  // Natural logarithm of a positive normal value.
  float (*log)(float x);

  AttentionKernels attention[4];  // by AttentionKernel
};

// "portable" (x86-64-v3), "reference" (scalar, any machine), or "": the fastest that this machine
// runs. Null: no such table, or this machine lacks its instructions.
const Kernels* FindKernels(absl::string_view name);

}  // namespace ela

#endif  // ELA_MODEL_KERNELS_KERNELS_H_
