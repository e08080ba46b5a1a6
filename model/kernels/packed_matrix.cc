#include "model/kernels/packed_matrix.h"

#include <cstring>

namespace ela {
namespace {

uint32_t Word(float value) {
  uint32_t word;
  std::memcpy(&word, &value, sizeof(word));
  return word;
}

bool AllBFloat16(const std::vector<PackedMatrix::Outputs>& parts) {
  uint32_t low = 0;
  for (const PackedMatrix::Outputs& part : parts) {
    for (float value : part.weight) low |= Word(value) & 0xffff;
  }
  return low == 0;
}

}  // namespace

PackedMatrix::PackedMatrix(int64_t k, const std::vector<Outputs>& parts)
    : k_(k), halves_(AllBFloat16(parts)) {
  for (const Outputs& part : parts) n_ += part.rows;
  data_ = AlignedBuffer(k * padded_n() / (halves_ ? 2 : 1));
  int64_t n = 0;
  for (const Outputs& part : parts) {
    for (int64_t r = 0; r < part.rows; ++r, ++n) {
      const float* weight = part.weight.data() + r * k;
      const int64_t panel = n / kPanel, column = n % kPanel;
      if (halves_) {
        constexpr int64_t kWords = kPanel / 2;
        auto* words = reinterpret_cast<uint32_t*>(data_.get()) + panel * k * kWords;
        const bool high = column >= kWords;
        for (int64_t i = 0; i < k; ++i) {
          words[i * kWords + column % kWords] |= high ? Word(weight[i]) : Word(weight[i]) >> 16;
        }
      } else {
        float* floats = data_.get() + panel * k * kPanel;
        for (int64_t i = 0; i < k; ++i) floats[i * kPanel + column] = weight[i];
      }
    }
  }
}

PackedPanels PackedMatrix::data() const {
  if (halves_) return {nullptr, reinterpret_cast<const uint32_t*>(data_.get())};
  return {data_.get(), nullptr};
}

void PackedMatrix::GetOutput(int64_t output, float* row) const {
  const int64_t panel = output / kPanel, column = output % kPanel;
  if (!halves_) {
    const float* floats = data_.get() + panel * k_ * kPanel + column;
    for (int64_t i = 0; i < k_; ++i) row[i] = floats[i * kPanel];
    return;
  }
  constexpr int64_t kWords = kPanel / 2;
  const uint32_t* words = data().halves + panel * k_ * kWords + column % kWords;
  for (int64_t i = 0; i < k_; ++i) {
    const uint32_t word = words[i * kWords];
    const uint32_t bits = column >= kWords ? word & 0xffff0000u : word << 16;
    std::memcpy(row + i, &bits, sizeof(bits));
  }
}

}  // namespace ela
