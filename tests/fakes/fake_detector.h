// A detector without a network that a person can check by eye: it reports the smallest box around
// all reddish pixels as "red", around all greenish ones as "green", around all bluish ones as
// "blue". A mixed-up picture, channel, size or mapping moves or loses a box.
//
// It holds its caller to the numbered rules of model/detector.h: a breach comes back as kInternal
// in that item, is kept in violations(), and ends the process in the destructor unless the test has
// taken it.
#ifndef ELA_TESTS_FAKES_FAKE_DETECTOR_H_
#define ELA_TESTS_FAKES_FAKE_DETECTOR_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "model/detector.h"
#include "tests/fakes/fake_clock.h"

namespace ela {

struct FakeDetectorOptions {
  int32_t num_lanes = 2;
  int32_t max_batch = 1;
  int32_t preferred_batch = 1;
  int32_t input_width = 64;
  int32_t input_height = 64;
  FitMode fit = FitMode::kLetterbox;

  FakeClock* clock = nullptr;  // moved by every batch, when not null
  absl::Duration batch_cost;
};

class FakeDetector final : public Detector {
 public:
  static constexpr float kScores[] = {0.9f, 0.8f, 0.7f};  // red, green, blue

  explicit FakeDetector(const FakeDetectorOptions& options = {});
  ~FakeDetector() override;

  const DetectorInfo& Info() const override { return info_; }
  DetectTimes Detect(int32_t lane, int32_t width, int32_t height,
                     absl::Span<const DetectItem> items, absl::Span<DetectOutput> outputs) override;

  // --- What tests script, before pictures come. ---

  // Called at the start of every batch, on its thread; it may block.
  void HoldWith(std::function<void()> gate) { gate_ = std::move(gate); }
  // Asked for every item: not OK is its status.
  void FailWhen(std::function<absl::Status(const DetectItem&)> fault) { fault_ = std::move(fault); }

  // --- What tests ask. ---

  struct Batch {
    int32_t lane;
    int32_t width, height;
    int32_t num_items;
  };
  std::vector<Batch> batches() const;  // in the order in which they started
  int64_t num_pictures() const { return num_pictures_.load(); }
  std::vector<std::string> TakeViolations();

 private:
  absl::Status Check(int32_t width, int32_t height, const DetectItem& item) const;
  absl::Status Violation(const std::string& what);

  const FakeDetectorOptions options_;
  DetectorInfo info_;
  std::function<void()> gate_;
  std::function<absl::Status(const DetectItem&)> fault_;

  std::atomic<int64_t> num_pictures_{0};
  mutable std::mutex mutex_;
  std::vector<char> busy_ ABSL_GUARDED_BY(mutex_);  // [num_lanes]
  std::vector<Batch> batches_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> violations_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace ela

#endif  // ELA_TESTS_FAKES_FAKE_DETECTOR_H_
