// One Detect call. Its pictures go to the batcher together and come back in any order, each into
// its own place in the response; whoever brings the last one ends the call.
#ifndef ELA_SERVER_DETECT_CALL_H_
#define ELA_SERVER_DETECT_CALL_H_

#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "ela/v1/detection.pb.h"
#include "server/detect_house.h"
#include "server/detect_picture.h"

namespace ela {

class DetectCall final : public grpc::ServerUnaryReactor, public PictureOwner {
 public:
  // OnDone deletes it.
  DetectCall(const DetectHouse& house, grpc::CallbackServerContext* context,
             const v1::DetectRequest* request, v1::DetectResponse* response);

  // Once, by the service, before it returns the reactor.
  void Begin();

  bool Abandoned() const override { return cancelled_.load(std::memory_order_relaxed); }
  void OnPictureDone(uint64_t number, const absl::Status& status) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  absl::Status Submit();
  // The pictures that can be read; the others have their error in the response already.
  absl::StatusOr<std::vector<std::unique_ptr<DetectTask>>> MakePictures();
  // `count` pictures are through; the last one ends the call.
  void Account(int64_t count);
  void Close(const absl::Status& status);

  // Constant once Begin has submitted.
  const DetectHouse& house_;
  const grpc::CallbackServerContext& context_;
  const v1::DetectRequest& request_;
  v1::DetectResponse& response_;
  const std::string request_id_;
  const absl::Time started_;
  ServedDetector* detector_ = nullptr;
  DetectSettings settings_;
  std::optional<PictureParts> parts_;
  uint64_t caller_ = 0;

  std::atomic<bool> cancelled_{false};
  // Pictures that are not through. Also what orders the rest: the last one sees all results.
  std::atomic<int64_t> remaining_{0};
  std::mutex mutex_;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);  // the first that ends the call as a whole
  grpc::StatusCode code_ = grpc::StatusCode::OK;  // set by Close
};

}  // namespace ela

#endif  // ELA_SERVER_DETECT_CALL_H_
