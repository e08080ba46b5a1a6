// What both readers do with a box that a file claims.
#ifndef ELA_MODEL_VISION_LABEL_CHECK_H_
#define ELA_MODEL_VISION_LABEL_CHECK_H_

#include <string>

#include "absl/strings/string_view.h"
#include "model/vision/dataset.h"

namespace ela {

// Corners as the file has them, in double, before anything is known of them.
struct ClaimedBox {
  double x0 = 0;
  double y0 = 0;
  double x1 = 0;
  double y1 = 0;
};

// Appends the box to `image`, or tells why not. Swapped corners are exchanged and what reaches
// beyond the picture is cut off (repaired); a number that is not finite, no area, or no part inside
// the picture rejects the box. `area` < 0: the box's own. A repaired box has its own area, if that
// is less.
void AddBox(const ClaimedBox& claimed, absl::string_view class_name, int32_t class_id, double area,
            bool crowd, LabelledImage* image, std::vector<LabelProblem>* problems);

}  // namespace ela

#endif  // ELA_MODEL_VISION_LABEL_CHECK_H_
