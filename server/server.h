// The gRPC server around the models, and the metrics endpoint beside it.
#ifndef ELA_SERVER_SERVER_H_
#define ELA_SERVER_SERVER_H_

#include <grpcpp/server.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "scheduler/clock.h"
#include "server/config.h"
#include "server/delivery_thread.h"
#include "server/detection_service.h"
#include "server/engine_stream.h"
#include "server/generation_service.h"
#include "server/model_service.h"
#include "server/served_model.h"
#include "server/server_metrics.h"

namespace ela {

// Thread-compatible: one thread starts and drains it.
class Server {
 public:
  // Serves `models` and `detectors` on config.listen once this returns: health says SERVING. Does
  // not open the metrics endpoint. Errors: kInvalidArgument (models that do not fit together),
  // kUnavailable (the address cannot be bound).
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerConfig& config,
                                                       std::vector<ModelParts> models,
                                                       std::vector<DetectorParts> detectors = {});
  // Drains with no grace if Drain was not called.
  ~Server();

  // As a client would dial it: with the port that was taken for port 0.
  const std::string& address() const { return address_; }
  const std::shared_ptr<ServerMetrics>& metrics() const { return metrics_; }
  // For clients in this process.
  std::shared_ptr<grpc::Channel> InProcessChannel();

  // Health turns NOT_SERVING, new requests are refused with UNAVAILABLE and RetryInfo, running ones
  // get `grace` to finish; the rest end with UNAVAILABLE and RetryInfo. Returns when all is over.
  // Further calls do nothing.
  void Drain(absl::Duration grace);

 private:
  explicit Server(const ServerConfig& config);
  absl::Status AddModels(std::vector<ModelParts> models);
  absl::Status AddDetectors(std::vector<DetectorParts> detectors);
  absl::Status Listen();
  void SetServing(bool serving);

  const ServerConfig config_;
  const RealClock clock_;
  const std::shared_ptr<ServerMetrics> metrics_;  // shared with the metrics endpoint
  ModelMap models_;
  DetectorMap detectors_;
  OpenStreams detect_streams_;
  DeliveryThread delivery_, tokenizing_;  // end after the engines' threads, before the models
  const StreamHouse house_;
  const DetectHouse detect_house_;
  GenerationService generation_service_;
  DetectionService detection_service_;
  ModelService model_service_;
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace ela

#endif  // ELA_SERVER_SERVER_H_
