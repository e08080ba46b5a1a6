// A weight matrix in the order in which the kernels read it: panels of 32 columns, [n/32][k][32].
#ifndef ELA_MODEL_KERNELS_PACKED_MATRIX_H_
#define ELA_MODEL_KERNELS_PACKED_MATRIX_H_

#include <cstdint>

#include "model/kernels/aligned_buffer.h"
#include "model/kernels/kernels.h"

namespace ela {

// Immutable once filled, thread-safe.
class PackedMatrix {
 public:
  PackedMatrix() = default;
  // All zero. k: inputs, n: outputs.
  PackedMatrix(int64_t k, int64_t n);

  // Puts weight[rows, k] (row-major, one row per output, as checkpoints have it) at the outputs
  // [first, first + rows).
  void SetOutputs(int64_t first, int64_t rows, const float* weight);
  // Row `output` of the checkpoint's matrix.
  void GetOutput(int64_t output, float* row) const;

  int64_t k() const { return k_; }
  int64_t n() const { return n_; }
  int64_t panels() const { return RoundUp(n_, kPanel) / kPanel; }
  int64_t padded_n() const { return RoundUp(n_, kPanel); }
  const float* data() const { return data_.get(); }
  int64_t bytes() const { return data_.size() * static_cast<int64_t>(sizeof(float)); }

 private:
  int64_t k_ = 0, n_ = 0;
  AlignedBuffer data_;
};

}  // namespace ela

#endif  // ELA_MODEL_KERNELS_PACKED_MATRIX_H_
