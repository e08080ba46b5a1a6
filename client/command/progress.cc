#include "client/command/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"

namespace ela::client {
namespace {

constexpr int kBarWidth = 24;

std::string Clock(absl::Duration duration) {
  const int64_t seconds = absl::ToInt64Seconds(duration);
  if (seconds < 3600) return absl::StrFormat("%d:%02d", seconds / 60, seconds % 60);
  return absl::StrFormat("%d:%02d:%02d", seconds / 3600, seconds / 60 % 60, seconds % 60);
}

}  // namespace

std::string ProgressLine(const Progress& progress, absl::Duration elapsed) {
  if (progress.total <= 0) return absl::StrCat(Clock(elapsed), "  ", progress.rates);
  const double share = std::clamp(static_cast<double>(progress.done) / progress.total, 0.0, 1.0);
  const int filled = static_cast<int>(share * kBarWidth);
  std::string line = absl::StrFormat("[%s%s] %3d %%  %s", std::string(filled, '#'),
                                     std::string(kBarWidth - filled, '.'),
                                     static_cast<int>(share * 100), progress.rates);
  if (share > 0) absl::StrAppend(&line, "  ", Clock(elapsed * ((1 - share) / share)), " left");
  return line;
}

ProgressBar::ProgressBar() : terminal_(isatty(STDERR_FILENO) == 1), start_(absl::Now()) {}
ProgressBar::~ProgressBar() { Hide(); }

void ProgressBar::Show(const Progress& progress) {
  if (!terminal_) return;
  // Carriage return, line, clear to the end of the line.
  std::fprintf(stderr, "\r%s\033[K", ProgressLine(progress, absl::Now() - start_).c_str());
  shown_ = true;
}

void ProgressBar::Hide() {
  if (shown_) std::fprintf(stderr, "\r\033[K");
  shown_ = false;
}

}  // namespace ela::client
