#include "server/detection_service.h"

#include "model/status_macros.h"
#include "server/detect_call.h"
#include "server/detect_convert.h"
#include "server/detect_stream.h"
#include "server/unary_call.h"

namespace ela {

grpc::ServerUnaryReactor* DetectionService::Detect(grpc::CallbackServerContext* context,
                                                   const v1::DetectRequest* request,
                                                   v1::DetectResponse* response) {
  auto* call = new DetectCall(house_, context, request, response);  // OnDone deletes it
  call->Begin();
  return call;
}

grpc::ServerBidiReactor<v1::DetectStreamRequest, v1::DetectStreamResponse>*
DetectionService::DetectStream(grpc::CallbackServerContext* context) {
  auto* stream = new ela::DetectStream(house_, context);  // OnDone deletes it
  stream->Begin();
  return stream;
}

grpc::ServerUnaryReactor* DetectionService::DescribeDetector(
    grpc::CallbackServerContext*, const v1::DescribeDetectorRequest* request,
    v1::DescribeDetectorResponse* response) {
  return UnaryCall::Begin(
      house_.metrics, Method::kDescribeDetector, nullptr, [=]() -> absl::Status {
        ELA_ASSIGN_OR_RETURN(ServedDetector * detector, house_.detectors.Find(request->model()));
        ela::DescribeDetector(detector->card(), response);
        return absl::OkStatus();
      });
}

}  // namespace ela
