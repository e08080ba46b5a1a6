#ifndef ELA_TESTS_FAKES_FAKE_CLOCK_H_
#define ELA_TESTS_FAKES_FAKE_CLOCK_H_

#include <atomic>
#include <cstdint>

#include "absl/time/time.h"
#include "scheduler/clock.h"

namespace ela {

// Time that stands still until a test moves it. Thread-safe.
class FakeClock final : public Clock {
 public:
  absl::Time Now() const override {
    return absl::FromUnixSeconds(1'000'000'000) + absl::Nanoseconds(nanoseconds_.load());
  }

  void Advance(absl::Duration by) { nanoseconds_ += absl::ToInt64Nanoseconds(by); }

 private:
  std::atomic<int64_t> nanoseconds_{0};
};

}  // namespace ela

#endif  // ELA_TESTS_FAKES_FAKE_CLOCK_H_
