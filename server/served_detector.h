// One detector as it is served: its batcher on threads of its own, and the facts that requests are
// checked against. It shares nothing with the engines of text models but the cores.
#ifndef ELA_SERVER_SERVED_DETECTOR_H_
#define ELA_SERVER_SERVED_DETECTOR_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/detector.h"
#include "scheduler/clock.h"
#include "scheduler/detect_batcher.h"
#include "scheduler/detect_threads.h"
#include "server/config.h"
#include "server/detect_metrics.h"
#include "server/detector_card.h"

namespace ela {

// What is loaded from a checkpoint directory; a test brings a fake.
struct DetectorParts {
  std::string name;
  std::unique_ptr<Detector> detector;
};

// Thread-safe, but for JoinBy.
class ServedDetector {
 public:
  // Starts the worker threads: as many as the detector has lanes, at least config.threads. Borrows
  // metrics and clock. Errors: kInvalidArgument (options that do not fit together).
  static absl::StatusOr<std::unique_ptr<ServedDetector>> Create(DetectorParts parts,
                                                                const ServerConfig& config,
                                                                DetectMetrics& metrics,
                                                                const Clock& clock);

  const DetectorCard& card() const { return card_; }
  DetectBatcher& batcher() { return *batcher_; }
  DetectMetrics& metrics() { return metrics_; }

  // Refuses new pictures from now on; JoinBy waits for those that are in and ends the rest at
  // `deadline`.
  void BeginDrain(absl::Time deadline) { batcher_->Drain(deadline); }
  void JoinBy(absl::Time deadline);

 private:
  ServedDetector(DetectorParts parts, DetectMetrics& metrics)
      : parts_(std::move(parts)), metrics_(metrics) {}

  DetectorParts parts_;
  DetectMetrics& metrics_;
  DetectorCard card_;
  std::unique_ptr<DetectBatcher> batcher_;
  std::unique_ptr<DetectThreads> threads_;  // end before the batcher does
};

// All detectors of a server, by name. Constant once the server serves.
class DetectorMap {
 public:
  // The first is the default detector. REQUIRES: the name is new.
  void Add(std::unique_ptr<ServedDetector> detector);

  // The default detector for an empty name. Errors: kNotFound, names the detectors that there are.
  absl::StatusOr<ServedDetector*> Find(const std::string& name) const;
  const std::vector<std::unique_ptr<ServedDetector>>& all() const { return detectors_; }

 private:
  std::vector<std::unique_ptr<ServedDetector>> detectors_;
  std::map<std::string, ServedDetector*> by_name_;
};

}  // namespace ela

#endif  // ELA_SERVER_SERVED_DETECTOR_H_
