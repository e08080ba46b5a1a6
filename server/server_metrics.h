// Everything that /metrics shows, read from lock-free counters: a scrape takes none of the
// engine's time.
#ifndef ELA_SERVER_SERVER_METRICS_H_
#define ELA_SERVER_SERVER_METRICS_H_

#include <grpcpp/support/status_code_enum.h>
#include <prometheus/collectable.h>

#include <array>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "model/worker.h"
#include "server/detect_metrics.h"
#include "server/histogram.h"
#include "server/model_metrics.h"

namespace ela {

enum class Method {
  kGenerate,
  kScore,
  kTokenize,
  kDetokenize,
  kList,
  kDescribe,
  kDetect,
  kDetectStream,
  kDescribeDetector
};
inline constexpr int kNumMethods = 9;
const char* NameOf(Method method);  // "Generate"

class ServerMetrics : public prometheus::Collectable {
 public:
  ServerMetrics();

  // Before the server starts; the result lives as long as this.
  ModelMetrics& AddModel(const std::string& name, const WorkerInfo& info);

  DetectMetrics& AddDetector(const std::string& name, const DetectorInfo& info);

  // A call ended. Any thread.
  void OnCall(Method method, grpc::StatusCode code, absl::Duration duration);

  // Any thread.
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  static constexpr int kNumCodes = 17;  // grpc::StatusCode

  std::vector<std::unique_ptr<ModelMetrics>> models_;
  std::vector<std::unique_ptr<DetectMetrics>> detectors_;
  std::array<std::array<Tally, kNumCodes>, kNumMethods> calls_;
  std::deque<Histogram> durations_;  // [kNumMethods]
};

}  // namespace ela

#endif  // ELA_SERVER_SERVER_METRICS_H_
