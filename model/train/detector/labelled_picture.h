// A picture of a data set as it is looked at, and its boxes in the same pixels. Labels are told in
// the pixels of the stored picture, decoding applies the camera's orientation: the boxes turn with
// it.
#ifndef ELA_MODEL_TRAIN_DETECTOR_LABELLED_PICTURE_H_
#define ELA_MODEL_TRAIN_DETECTOR_LABELLED_PICTURE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/image/image.h"
#include "model/vision/dataset.h"

namespace ela::train {

// `box` of a stored picture of that size, in the picture that `orientation` (EXIF, 1 to 8) makes.
Box TurnBox(const Box& box, int32_t stored_width, int32_t stored_height, int32_t orientation);

struct LabelledPicture {
  DecodedImage decoded;
  std::vector<TruthBox> boxes;         // oriented pixels of the full-size picture
  std::vector<LabelProblem> problems;  // the annotation's size against the picture's
};

// Reads, decodes and orients. wanted_width, wanted_height: as DecodeImage. The annotation's size
// says what its boxes are relative to: the stored picture, the oriented one (tools that turn
// pictures themselves), or a resized copy, whose boxes are scaled (repaired).
// Errors: kNotFound, kInvalidArgument (see ImageErrorOf). Thread-safe.
absl::StatusOr<LabelledPicture> LoadLabelledPicture(const LabelledImage& image,
                                                    int32_t wanted_width, int32_t wanted_height);

}  // namespace ela::train

#endif  // ELA_MODEL_TRAIN_DETECTOR_LABELLED_PICTURE_H_
