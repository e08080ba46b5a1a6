// A weight matrix in the order in which the kernels read it: panels of 32 columns, [n/32][k][32].
// A matrix whose numbers are all bfloat16 (what checkpoints that ship hold) stays in bfloat16 and
// is widened in registers: the same bits as float32, half the memory traffic that decoding waits
// for.
#ifndef ELA_MODEL_KERNELS_PACKED_MATRIX_H_
#define ELA_MODEL_KERNELS_PACKED_MATRIX_H_

#include <cstdint>
#include <vector>

#include "model/kernels/aligned_buffer.h"
#include "model/kernels/kernels.h"

namespace ela {

// Immutable, thread-safe.
class PackedMatrix {
 public:
  // Rows of a checkpoint's matrix, row-major [rows, k], one row per output.
  struct Outputs {
    int64_t rows = 0;
    std::vector<float> weight;
  };

  PackedMatrix() = default;
  // k: inputs. The parts' outputs lie side by side, in order.
  PackedMatrix(int64_t k, const std::vector<Outputs>& parts);

  // Row `output` of the checkpoint's matrix.
  void GetOutput(int64_t output, float* row) const;

  int64_t k() const { return k_; }
  int64_t n() const { return n_; }
  int64_t panels() const { return RoundUp(n_, kPanel) / kPanel; }
  int64_t padded_n() const { return RoundUp(n_, kPanel); }
  PackedPanels data() const;
  int64_t bytes() const { return data_.size() * static_cast<int64_t>(sizeof(float)); }

 private:
  int64_t k_ = 0, n_ = 0;
  bool halves_ = false;
  AlignedBuffer data_;  // words of one float or two bfloat16
};

}  // namespace ela

#endif  // ELA_MODEL_KERNELS_PACKED_MATRIX_H_
