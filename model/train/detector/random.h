// Random numbers as a function of (seed, stream, index): a sample of a run can be made at any time,
// on any thread, and is the same.
#ifndef ELA_MODEL_TRAIN_DETECTOR_RANDOM_H_
#define ELA_MODEL_TRAIN_DETECTOR_RANDOM_H_

#include <cstdint>
#include <utility>
#include <vector>

namespace ela::train {

// SplitMix64 (Steele, Lea, Flood 2014), started from a mix of three numbers. Thread-compatible.
class Random {
 public:
  Random(uint64_t seed, uint64_t stream, uint64_t index)
      : state_(Mix(Mix(Mix(seed) + stream) + index)) {}

  uint64_t Next() {
    state_ += 0x9e3779b97f4a7c15u;
    return Mix(state_);
  }
  double Uniform() { return static_cast<double>(Next() >> 11) * 0x1p-53; }  // [0, 1)
  double Between(double low, double high) { return low + (high - low) * Uniform(); }
  bool Chance(double probability) { return Uniform() < probability; }
  // [0, n); n far below 2^32, so the bias does not matter.
  int64_t Below(int64_t n) { return static_cast<int64_t>((Next() >> 32) * n >> 32); }

  template <typename T>
  void Shuffle(std::vector<T>* values) {
    for (size_t i = values->size(); i > 1; --i) {
      std::swap((*values)[i - 1], (*values)[Below(static_cast<int64_t>(i))]);
    }
  }

 private:
  static uint64_t Mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  uint64_t state_;
};

}  // namespace ela::train

#endif  // ELA_MODEL_TRAIN_DETECTOR_RANDOM_H_
