#ifndef ELA_CLIENT_COMMAND_PROGRESS_H_
#define ELA_CLIENT_COMMAND_PROGRESS_H_

#include <cstdint>
#include <string>

#include "absl/time/time.h"

namespace ela::client {

// How far a job is. `total` 0: not known.
struct Progress {
  int64_t done = 0;
  int64_t total = 0;
  std::string rates;  // shown behind the bar: "5,120 tokens/s  1.84 bits/byte"
};

// One line: "[######......]  48 %  RATES  0:12 left". `elapsed` since the start.
std::string ProgressLine(const Progress& progress, absl::Duration elapsed);

// Keeps that line at the bottom of a terminal, on stderr; does nothing when stderr is no terminal.
// One thread.
class ProgressBar {
 public:
  ProgressBar();
  ~ProgressBar();  // removes the line

  void Show(const Progress& progress);
  // Removes the line, so that something else can be printed.
  void Hide();

 private:
  const bool terminal_;
  const absl::Time start_;
  bool shown_ = false;
};

}  // namespace ela::client

#endif  // ELA_CLIENT_COMMAND_PROGRESS_H_
