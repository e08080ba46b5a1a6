#include "model/train/progress_bar.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

namespace ela::train {
namespace {

using std::chrono::duration;
using std::chrono::steady_clock;

constexpr int kWidth = 24;
constexpr double kRedrawSeconds = 0.2, kPlainLineSeconds = 30;

}  // namespace

ProgressBar::ProgressBar(int64_t first, int64_t total, int64_t units_per_step, std::string unit,
                         std::FILE* out)
    : total_(total),
      units_per_step_(units_per_step),
      unit_(std::move(unit)),
      out_(out),
      terminal_(isatty(fileno(out)) != 0),
      done_(first),
      last_step_(steady_clock::now()) {}

void ProgressBar::Update(int64_t done, double loss, const std::string& note) {
  const Time now = steady_clock::now();
  const double seconds = std::max(1e-9, duration<double>(now - last_step_).count());
  const double rate = static_cast<double>((done - done_) * units_per_step_) / seconds;
  units_per_second_ = units_per_second_ == 0 ? rate : 0.95 * units_per_second_ + 0.05 * rate;
  last_step_ = now;
  done_ = done;
  const double since_drawn = duration<double>(now - last_drawn_).count();
  if (since_drawn < (terminal_ ? kRedrawSeconds : kPlainLineSeconds) && done != total_) return;
  last_drawn_ = now;

  const int filled = static_cast<int>(kWidth * done / total_);
  const auto left = static_cast<int64_t>((total_ - done) * units_per_step_ / units_per_second_);
  std::string bar(filled, '=');
  bar.resize(kWidth, ' ');
  std::fprintf(out_, "%s[%s] %lld/%lld  loss %.4f%s%s  %.0f %s/s  %lld:%02lld left%s",
               terminal_ ? "\r" : "", bar.c_str(), static_cast<long long>(done),
               static_cast<long long>(total_), loss, note.empty() ? "" : "  ", note.c_str(),
               units_per_second_, unit_.c_str(), static_cast<long long>(left / 60),
               static_cast<long long>(left % 60), terminal_ ? "\033[K" : "\n");
  std::fflush(out_);
}

void ProgressBar::Finish() {
  if (terminal_) std::fputc('\n', out_);
}

}  // namespace ela::train
