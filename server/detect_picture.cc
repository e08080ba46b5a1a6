#include "server/detect_picture.h"

#include "absl/types/span.h"
#include "model/status_macros.h"

namespace ela {
namespace {

// Errors of the call rather than of one picture.
bool EndsTheCall(const absl::Status& status) {
  return absl::IsCancelled(status) || absl::IsDeadlineExceeded(status) ||
         absl::IsUnavailable(status);
}

}  // namespace

absl::Status DetectPicture::Prepare(PreparedPicture* picture) {
  const DetectSettings& settings = parts_.settings;
  placement_ = PlaceInInput(facts_.width, facts_.height, settings.input_width,
                            settings.input_height, parts_.card.info.fit);
  ELA_ASSIGN_OR_RETURN(
      const DecodedImage decoded,
      DecodePicture(image_, parts_.card.image, placement_.fitted_width, placement_.fitted_height));
  orientation_ = decoded.orientation;
  picture->width = settings.input_width;
  picture->height = settings.input_height;
  picture->pixels.resize(size_t{3} * settings.input_width * settings.input_height);
  FitImage(decoded, placement_, absl::MakeSpan(picture->pixels));
  return absl::OkStatus();
}

void DetectPicture::OnDone(const absl::Status& status, const DetectOutput& output,
                           const PictureTimes& times) {
  if (EndsTheCall(status)) return parts_.owner.OnPictureDone(number_, status);
  if (status.ok()) {
    SetResult(parts_.card, placement_, orientation_, output, times, &result_);
  } else {
    SetError(status, parts_.request_id, &result_);
  }
  parts_.owner.OnPictureDone(number_, absl::OkStatus());
}

}  // namespace ela
