#ifndef ELA_SERVER_MODEL_SERVICE_H_
#define ELA_SERVER_MODEL_SERVICE_H_

#include "ela/v1/model.grpc.pb.h"
#include "server/served_model.h"
#include "server/server_metrics.h"

namespace ela {

// ela.v1.Models. Thread-safe. Borrows both.
class ModelService final : public v1::Models::CallbackService {
 public:
  ModelService(const ModelMap& models, ServerMetrics& metrics)
      : models_(models), metrics_(metrics) {}

  grpc::ServerUnaryReactor* List(grpc::CallbackServerContext* context,
                                 const v1::ListModelsRequest* request,
                                 v1::ListModelsResponse* response) override;
  grpc::ServerUnaryReactor* Describe(grpc::CallbackServerContext* context,
                                     const v1::DescribeModelRequest* request,
                                     v1::DescribeModelResponse* response) override;

 private:
  const ModelMap& models_;
  ServerMetrics& metrics_;
};

}  // namespace ela

#endif  // ELA_SERVER_MODEL_SERVICE_H_
