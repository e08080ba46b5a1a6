#ifndef ELA_SERVER_DETECTION_SERVICE_H_
#define ELA_SERVER_DETECTION_SERVICE_H_

#include "ela/v1/detection.grpc.pb.h"
#include "server/detect_house.h"

namespace ela {

// ela.v1.Detection on the callback API. Thread-safe. Borrows the house.
class DetectionService final : public v1::Detection::CallbackService {
 public:
  explicit DetectionService(const DetectHouse& house) : house_(house) {}

  grpc::ServerUnaryReactor* Detect(grpc::CallbackServerContext* context,
                                   const v1::DetectRequest* request,
                                   v1::DetectResponse* response) override;
  grpc::ServerBidiReactor<v1::DetectStreamRequest, v1::DetectStreamResponse>* DetectStream(
      grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* DescribeDetector(grpc::CallbackServerContext* context,
                                             const v1::DescribeDetectorRequest* request,
                                             v1::DescribeDetectorResponse* response) override;

 private:
  const DetectHouse& house_;
};

}  // namespace ela

#endif  // ELA_SERVER_DETECTION_SERVICE_H_
