// What one detector's batcher and calls report, counted. docs/server.md lists every metric.
#ifndef ELA_SERVER_DETECT_METRICS_H_
#define ELA_SERVER_DETECT_METRICS_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <string>

#include "model/detector.h"
#include "scheduler/detect_observer.h"
#include "server/histogram.h"
#include "server/metrics_page.h"

namespace ela {

// Thread-safe: workers and calls count, scrapes read.
class DetectMetrics : public DetectObserver {
 public:
  DetectMetrics(std::string model, const DetectorInfo& info);

  void OnLoad(const DetectLoad& load) override;
  void OnBatch(int32_t num_pictures, const DetectTimes& times) override;
  void OnPicture(const absl::Status& status, const DetectOutput& output,
                 const PictureTimes& times) override;
  void OnRejected(const absl::Status& status) override;

  // Any thread. A picture that its header refused; a call that convert refused; a frame that a
  // newer one has overtaken.
  void OnBadImage(const absl::Status& status);
  void OnInvalid() { rejected_[kInvalid].Add(1); }
  void OnDropped() { dropped_.Add(1); }

  void Report(MetricsPage* page) const;

 private:
  // Bounded labels.
  enum Outcome { kOk, kCancelled, kDeadline, kFailed, kNumOutcomes };
  enum Rejection { kInvalid, kQueueFull, kDraining, kNumRejections };
  static constexpr int kNumImageErrors = 9;  // ImageError

  const std::string model_;
  const int64_t weight_bytes_;

  std::atomic<int32_t> waiting_{0}, preparing_{0}, ready_{0}, computing_{0};
  Tally dropped_;
  std::array<Tally, kNumOutcomes> ended_;
  std::array<Tally, kNumRejections> rejected_;
  std::array<Tally, kNumImageErrors> bad_images_;
  Histogram decode_, queue_, network_, postprocess_, batch_, boxes_;
};

}  // namespace ela

#endif  // ELA_SERVER_DETECT_METRICS_H_
