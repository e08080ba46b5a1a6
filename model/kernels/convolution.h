// The kernels of the detector's network: one table of plain functions for each instruction set,
// chosen once at start. Maps lie channels-last with a frame of zeros around them, so that a
// convolution's taps of one kernel row are one run of memory, nothing is gathered and no edge needs
// a branch. Channels in memory are padded to a multiple of 16 with zeros.
//
// All tables agree to the bit: an output element is its bias plus one chain of fused
// multiply-adds, taps row by row, channels ascending, whatever the tile or the lanes.
// Thread-safe: no state. Denormals are flushed by the caller (flush_to_zero.h).
#ifndef ELA_MODEL_KERNELS_CONVOLUTION_H_
#define ELA_MODEL_KERNELS_CONVOLUTION_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace ela {

inline constexpr int64_t kChannelMultiple = 16;
inline constexpr char kConvolutionNumericsId[] = "cpu-convolution-f32-1";

// What follows the sum: y = f(sum + residual). A NaN stays NaN.
enum class Epilogue : uint8_t { kNone, kRelu, kSilu };

// A convolution over all channels, for a list of output pixels. Strides and offsets in floats.
struct DenseConvolution {
  int64_t pixels = 0;
  // Pixel p's taps of kernel row s are the `run` floats at in + in_offset[p] + s * in_row_stride.
  const float* in = nullptr;
  const int32_t* in_offset = nullptr;
  int64_t in_row_stride = 0;
  int64_t rows = 1;  // of the kernel
  int64_t run = 0;   // kernel columns * channels
  // [rows * run, n] in column blocks: columns [b, b + w) lie at weights + b * rows * run, as rows
  // of w floats, w = min(column_block, n - b). See PackColumns.
  const float* weights = nullptr;
  const float* bias = nullptr;  // [n]
  int64_t n = 0;                // multiple of 16
  // Pixel p's outputs go to out + out_offset[p]; residual (may be null) likewise.
  float* out = nullptr;
  const int32_t* out_offset = nullptr;
  const float* residual = nullptr;
  const int32_t* residual_offset = nullptr;
  const float* residual_scale = nullptr;  // [n], or null: 1
  Epilogue epilogue = Epilogue::kNone;
};

// A convolution within each channel, for `pixels` neighbours of one output row.
struct DepthwiseConvolution {
  int64_t pixels = 0;
  int64_t channels = 0;       // multiple of 16; the distance of neighbours, in and out
  const float* in = nullptr;  // the first pixel's first tap
  int64_t in_row_stride = 0;
  int kernel = 3;                  // 3 or 5
  int stride = 1;                  // 1 or 2
  const float* weights = nullptr;  // [kernel * kernel, channels]
  const float* bias = nullptr;     // [channels]
  float* out = nullptr;
  const float* residual = nullptr;  // or null
  Epilogue epilogue = Epilogue::kNone;
};

struct ConvolutionKernels {
  const char* name;      // "reference", "portable", "avx512"
  int64_t column_block;  // of packed weights

  void (*dense)(const DenseConvolution& c);
  void (*depthwise)(const DepthwiseConvolution& c);
  // to = from / 255, as one product. n values.
  void (*from_bytes)(int64_t n, const uint8_t* from, float* to);
  // Pixels 2i and 2i + 1 of y: pixel i of `coarse` plus their own of `fine`. y: [2 * pixels,
  // channels].
  void (*upsample_add)(int64_t pixels, int64_t channels, const float* coarse, const float* fine,
                       float* y);
  // y = a + b. n values, a multiple of 16.
  void (*add)(int64_t n, const float* a, const float* b, float* y);
  // Bidirectional hadamard_exp attention of all heads (docs/detection.md 1.2). qkv: [positions, 3,
  // heads, width], y: [positions, heads, width]; width a multiple of 16, a padded feature has q =
  // kMaskedQuery and k = v = 0. scratch: GlobalAttentionScratch(width) floats.
  void (*global_attention)(int64_t positions, int64_t heads, int64_t width, const float* qkv,
                           float* y, float* scratch);
};

inline constexpr float kMaskedQuery = -1e30f;
inline constexpr int64_t GlobalAttentionScratch(int64_t width) { return width * (width + 40); }

// `matrix` [k, n], row-major, into column blocks; n a multiple of 16. packed: k * n floats.
void PackColumns(int64_t k, int64_t n, int64_t column_block, const float* matrix, float* packed);

// "avx512", "portable" (x86-64-v3), "reference" (scalar, any machine), or "": the fastest that this
// machine runs. Null: no such table, or this machine lacks its instructions.
const ConvolutionKernels* FindConvolutionKernels(absl::string_view name);

}  // namespace ela

#endif  // ELA_MODEL_KERNELS_CONVOLUTION_H_
