#ifndef ELA_MODEL_TRAIN_PROGRESS_BAR_H_
#define ELA_MODEL_TRAIN_PROGRESS_BAR_H_

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>

namespace ela::train {

// One line on a terminal, redrawn in place; anywhere else a plain line every half minute. Debian
// has no package of a progress bar library, and this is all that one would be used for.
// Thread-compatible.
class ProgressBar {
 public:
  // `first` steps of `total` are already done; a step does `units_per_step` of `unit` ("tokens").
  // Draws to `out`, which is borrowed.
  ProgressBar(int64_t first, int64_t total, int64_t units_per_step, std::string unit,
              std::FILE* out);

  // After each step. `note`: what was last measured, shown behind the loss; may be empty.
  void Update(int64_t done, double loss, const std::string& note);
  // Ends the line, so that what follows starts on its own.
  void Finish();

  double units_per_second() const { return units_per_second_; }  // moving average, some 20 steps

 private:
  using Time = std::chrono::steady_clock::time_point;

  const int64_t total_, units_per_step_;
  const std::string unit_;
  std::FILE* const out_;
  const bool terminal_;
  int64_t done_;
  Time last_step_, last_drawn_;
  double units_per_second_ = 0;
};

}  // namespace ela::train

#endif  // ELA_MODEL_TRAIN_PROGRESS_BAR_H_
