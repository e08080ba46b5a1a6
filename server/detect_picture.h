// One picture of a call, from its bytes in the message to its result in the answer.
#ifndef ELA_SERVER_DETECT_PICTURE_H_
#define ELA_SERVER_DETECT_PICTURE_H_

#include <cstdint>
#include <string>

#include "ela/v1/detection.pb.h"
#include "model/image/fit.h"
#include "scheduler/detect_task.h"
#include "server/detect_convert.h"
#include "server/detector_card.h"

namespace ela {

// The call that a picture belongs to.
class PictureOwner {
 public:
  virtual ~PictureOwner() = default;
  // The call is cancelled. Any thread.
  virtual bool Abandoned() const = 0;
  // The picture's result is written, or the call as a whole cannot go on: `status` is not OK
  // (kCancelled, kDeadlineExceeded, kUnavailable). Worker thread; the owner may be gone afterwards.
  virtual void OnPictureDone(uint64_t number, const absl::Status& status) = 0;
};

// Everything is borrowed until OnDone.
struct PictureParts {
  PictureOwner& owner;
  const DetectorCard& card;
  const DetectSettings& settings;
  const std::string& request_id;
  absl::Time deadline;
};

class DetectPicture final : public DetectTask {
 public:
  // `number` is the owner's own. `result` is empty; only this picture touches it until OnDone.
  DetectPicture(const PictureParts& parts, uint64_t number, const PictureFacts& facts,
                const v1::DetectImage& image, v1::ImageResult& result)
      : parts_(parts), number_(number), facts_(facts), image_(image), result_(result) {}

  uint64_t number() const { return number_; }

  DetectTaskFacts Facts() const override {
    return {facts_.bytes, facts_.pixels(), parts_.deadline};
  }
  const DetectionOptions& Options() const override { return parts_.settings.options; }
  bool Abandoned() const override { return parts_.owner.Abandoned(); }
  absl::Status Prepare(PreparedPicture* picture) override;
  void OnDone(const absl::Status& status, const DetectOutput& output,
              const PictureTimes& times) override;

 private:
  const PictureParts parts_;
  const uint64_t number_;
  const PictureFacts facts_;
  const v1::DetectImage& image_;
  v1::ImageResult& result_;

  // Set by Prepare.
  Placement placement_;
  int32_t orientation_ = 1;
};

}  // namespace ela

#endif  // ELA_SERVER_DETECT_PICTURE_H_
