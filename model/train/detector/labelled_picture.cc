#include "model/train/detector/labelled_picture.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/image/decode.h"
#include "model/image/exif.h"
#include "model/json_file.h"
#include "model/status_macros.h"

namespace ela::train {
namespace {

// Training data is the user's own: larger than what a server takes from strangers.
constexpr ImageLimits kLimits = {int64_t{256} << 20, 32768, 32768, 200'000'000};

struct Point {
  float x, y;
};

Point Turn(Point p, float width, float height, int32_t orientation) {
  switch (orientation) {
    case 2:
      return {width - p.x, p.y};
    case 3:
      return {width - p.x, height - p.y};
    case 4:
      return {p.x, height - p.y};
    case 5:
      return {p.y, p.x};
    case 6:
      return {height - p.y, p.x};
    case 7:
      return {height - p.y, width - p.x};
    case 8:
      return {p.y, width - p.x};
    default:
      return p;
  }
}

}  // namespace

Box TurnBox(const Box& box, int32_t stored_width, int32_t stored_height, int32_t orientation) {
  const auto width = static_cast<float>(stored_width), height = static_cast<float>(stored_height);
  const Point a = Turn({box.x0, box.y0}, width, height, orientation);
  const Point b = Turn({box.x1, box.y1}, width, height, orientation);
  return {std::min(a.x, b.x), std::min(a.y, b.y), std::max(a.x, b.x), std::max(a.y, b.y)};
}

absl::StatusOr<LabelledPicture> LoadLabelledPicture(const LabelledImage& image,
                                                    int32_t wanted_width, int32_t wanted_height) {
  ELA_ASSIGN_OR_RETURN(const std::string file, ReadTextFile(image.path, kLimits.max_bytes));
  const absl::Span<const uint8_t> bytes(reinterpret_cast<const uint8_t*>(file.data()), file.size());
  LabelledPicture picture;
  ELA_ASSIGN_OR_RETURN(picture.decoded, DecodeImage(bytes, kLimits, wanted_width, wanted_height));
  const int32_t orientation = picture.decoded.orientation;
  int32_t width = picture.decoded.source_width, height = picture.decoded.source_height;
  const bool as_seen = image.width == width && image.height == height;
  if (SwapsAxes(orientation)) std::swap(width, height);  // as stored
  const bool as_stored = image.width == width && image.height == height;
  const bool turn = as_stored || !as_seen;
  const double scale_x = turn ? static_cast<double>(width) / image.width : 1;
  const double scale_y = turn ? static_cast<double>(height) / image.height : 1;
  if (!as_stored && !as_seen) {
    picture.problems.push_back(
        {LabelProblem::Action::kRepaired, image.name,
         absl::StrCat("the annotation says ", image.width, " x ", image.height, ", the picture is ",
                      width, " x ", height, ": boxes are scaled")});
  }
  for (TruthBox truth : image.boxes) {
    if (turn) {
      const Box scaled = {
          static_cast<float>(truth.box.x0 * scale_x), static_cast<float>(truth.box.y0 * scale_y),
          static_cast<float>(truth.box.x1 * scale_x), static_cast<float>(truth.box.y1 * scale_y)};
      truth.box = TurnBox(scaled, width, height, orientation);
      truth.area *= scale_x * scale_y;
    }
    picture.boxes.push_back(truth);
  }
  return picture;
}

}  // namespace ela::train
