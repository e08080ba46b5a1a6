#include "model/vision/label_check.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"

namespace ela {

std::string ToString(const LabelProblem& problem) {
  switch (problem.action) {
    case LabelProblem::Action::kRepaired:
      return absl::StrCat("repaired: ", problem.image, ": ", problem.what);
    case LabelProblem::Action::kBoxRejected:
      return absl::StrCat("box rejected: ", problem.image, ": ", problem.what);
    case LabelProblem::Action::kImageRejected:
      return absl::StrCat("image rejected: ", problem.image, ": ", problem.what);
  }
  return problem.what;
}

std::vector<CocoTruth> TruthsOf(const LabelledImage& image) {
  std::vector<CocoTruth> truths;
  for (const TruthBox& truth : image.boxes) {
    const double x = truth.box.x0, y = truth.box.y0;
    truths.push_back(
        {truth.class_id, {x, y, truth.box.x1 - x, truth.box.y1 - y}, truth.area, truth.crowd});
  }
  return truths;
}

void AddBox(const ClaimedBox& claimed, absl::string_view class_name, int32_t class_id, double area,
            bool crowd, LabelledImage* image, std::vector<LabelProblem>* problems) {
  ClaimedBox box = claimed;
  const auto tell = [&](LabelProblem::Action action, absl::string_view why) {
    problems->push_back({action, image->name,
                         absl::StrCat(class_name, " box (", claimed.x0, ", ", claimed.y0, ", ",
                                      claimed.x1, ", ", claimed.y1, ") ", why)});
  };
  const auto reject = [&](absl::string_view why) { tell(LabelProblem::Action::kBoxRejected, why); };
  for (const double value : {box.x0, box.y0, box.x1, box.y1}) {
    if (!std::isfinite(value)) return reject("is not made of numbers");
  }
  std::string repairs;
  if (box.x0 > box.x1 || box.y0 > box.y1) {
    if (box.x0 > box.x1) std::swap(box.x0, box.x1);
    if (box.y0 > box.y1) std::swap(box.y0, box.y1);
    repairs = "had its corners exchanged";
  }
  if (box.x0 == box.x1 || box.y0 == box.y1) return reject("has no area");
  const ClaimedBox whole = box;
  const double width = image->width, height = image->height;
  box.x0 = std::clamp(box.x0, 0.0, width);
  box.x1 = std::clamp(box.x1, 0.0, width);
  box.y0 = std::clamp(box.y0, 0.0, height);
  box.y1 = std::clamp(box.y1, 0.0, height);
  const std::string size = absl::StrCat(image->width, " x ", image->height);
  const Box stored = {static_cast<float>(box.x0), static_cast<float>(box.y0),
                      static_cast<float>(box.x1), static_cast<float>(box.y1)};
  if (!(stored.x0 < stored.x1 && stored.y0 < stored.y1)) {
    return reject(absl::StrCat("lies outside the picture of ", size));
  }
  if (box.x0 != whole.x0 || box.x1 != whole.x1 || box.y0 != whole.y0 || box.y1 != whole.y1) {
    absl::StrAppend(&repairs, repairs.empty() ? "" : " and ", "was cut to the picture of ", size);
  }
  const double own_area = (box.x1 - box.x0) * (box.y1 - box.y0);
  if (area < 0 || (!repairs.empty() && area > own_area)) area = own_area;
  if (!repairs.empty()) tell(LabelProblem::Action::kRepaired, repairs);
  image->boxes.push_back({stored, class_id, area, crowd});
}

}  // namespace ela
