#ifndef ELA_SCHEDULER_CLOCK_H_
#define ELA_SCHEDULER_CLOCK_H_

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace ela {

// Where the engine takes time from; a test brings its own. Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual absl::Time Now() const = 0;
};

class RealClock : public Clock {
 public:
  absl::Time Now() const override { return absl::Now(); }
};

}  // namespace ela

#endif  // ELA_SCHEDULER_CLOCK_H_
