#ifndef ELA_SERVER_MODEL_SERVICE_H_
#define ELA_SERVER_MODEL_SERVICE_H_

#include "ela/v1/model.grpc.pb.h"
#include "server/served_detector.h"
#include "server/served_model.h"
#include "server/server_metrics.h"

namespace ela {

// ela.v1.Models: language models first, then detectors. Thread-safe. Borrows all three.
class ModelService final : public v1::Models::CallbackService {
 public:
  ModelService(const ModelMap& models, const DetectorMap& detectors, ServerMetrics& metrics)
      : models_(models), detectors_(detectors), metrics_(metrics) {}

  grpc::ServerUnaryReactor* List(grpc::CallbackServerContext* context,
                                 const v1::ListModelsRequest* request,
                                 v1::ListModelsResponse* response) override;
  grpc::ServerUnaryReactor* Describe(grpc::CallbackServerContext* context,
                                     const v1::DescribeModelRequest* request,
                                     v1::DescribeModelResponse* response) override;

 private:
  const ModelMap& models_;
  const DetectorMap& detectors_;
  ServerMetrics& metrics_;
};

}  // namespace ela

#endif  // ELA_SERVER_MODEL_SERVICE_H_
