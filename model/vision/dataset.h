// Pictures with their true boxes, from the two layouts that people have: Pascal VOC folders and
// COCO JSON. What is wrong with a box is repaired or the box is rejected, and each case is told:
// labels of real data sets have faults.
#ifndef ELA_MODEL_VISION_DATASET_H_
#define ELA_MODEL_VISION_DATASET_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/detector.h"
#include "model/vision/coco_evaluation.h"

namespace ela {

struct TruthBox {
  Box box;               // pixels of the picture as stored; has area and lies inside the picture
  int32_t class_id = 0;  // index into Dataset::class_names
  double area = 0;       // of the object; COCO gives the mask's, else the box's
  bool crowd = false;    // COCO's iscrowd
};

struct LabelledImage {
  std::string name;  // of the file, without its folder
  std::string path;
  int64_t id = 0;     // COCO's, or 1, 2, … in the order of the split
  int32_t width = 0;  // as the annotation says; pixels
  int32_t height = 0;
  std::vector<TruthBox> boxes;
};

struct LabelProblem {
  enum class Action : uint8_t { kRepaired, kBoxRejected, kImageRejected };
  Action action = Action::kRepaired;
  std::string image;
  std::string what;  // "RBC box (181, 329, 181, 329) has no area"
};
std::string ToString(const LabelProblem& problem);  // "repaired: IMAGE: …"

struct Dataset {
  std::vector<std::string> class_names;
  std::vector<int64_t> category_ids;  // of each class: COCO's, or 1, 2, …
  std::vector<LabelledImage> images;
  std::vector<LabelProblem> problems;  // in the order in which they were met
};

// A Pascal VOC folder. With ImageSets/Main/SPLIT.txt its lines name the pictures (without ending),
// from Annotations/ and JPEGImages/; without ImageSets the folder itself, or its sub-folder SPLIT,
// holds pictures and XML side by side or in Annotations/ and JPEGImages/ (also annotations/ and
// images/), in the order of their names. `class_names` empty: those that
// occur, sorted; else a box of another class is rejected. Corners are taken as they stand, as
// edges. Errors: kNotFound (folder, list; the lists that exist are named), kInvalidArgument
// (nothing usable remains).
absl::StatusOr<Dataset> ReadVocDataset(const std::string& folder, const std::string& split,
                                       std::vector<std::string> class_names = {});

// A COCO instances file; pictures lie in `image_folder`. Classes are its categories in the order of
// their ids, pictures in the order of theirs. Errors: kNotFound, kInvalidArgument (not such a file;
// nothing usable remains).
absl::StatusOr<Dataset> ReadCocoDataset(const std::string& file, const std::string& image_folder);

// The image's truths in the evaluation's form.
std::vector<CocoTruth> TruthsOf(const LabelledImage& image);

}  // namespace ela

#endif  // ELA_MODEL_VISION_DATASET_H_
