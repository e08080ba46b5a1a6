#include "model/kernels/packed_matrix.h"

namespace ela {

PackedMatrix::PackedMatrix(int64_t k, int64_t n) : k_(k), n_(n), data_(k * RoundUp(n, kPanel)) {}

void PackedMatrix::SetOutputs(int64_t first, int64_t rows, const float* weight) {
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t n = first + r;
    float* panel = data_.get() + n / kPanel * k_ * kPanel + n % kPanel;
    for (int64_t i = 0; i < k_; ++i) panel[i * kPanel] = weight[r * k_ + i];
  }
}

void PackedMatrix::GetOutput(int64_t output, float* row) const {
  const float* panel = data_.get() + output / kPanel * k_ * kPanel + output % kPanel;
  for (int64_t i = 0; i < k_; ++i) row[i] = panel[i * kPanel];
}

}  // namespace ela
