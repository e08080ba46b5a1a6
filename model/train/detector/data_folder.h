// Finds pictures and labels in what a person points at: a Pascal VOC folder, a COCO JSON file, or a
// folder with such files in it, as the usual tools lay them out.
#ifndef ELA_MODEL_TRAIN_DETECTOR_DATA_FOLDER_H_
#define ELA_MODEL_TRAIN_DETECTOR_DATA_FOLDER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/vision/dataset.h"

namespace ela::train {

// One split of `data`:
//  - a .json file: COCO, whatever the split; pictures beside it, or in an images folder near it;
//  - a folder with SPLIT*.json, instances_SPLIT*.json or SPLIT/*.json, in it or in annotations/:
//    COCO, pictures in the folder that has them;
//  - else Pascal VOC: ImageSets/Main/SPLIT.txt, or the sub-folder SPLIT, also of images/, with XML
//    beside the pictures or in folders of their own.
// `split` empty: the whole folder. `class_names` empty: the data's own; else boxes are mapped to
// them by name and others rejected.
// Errors: kNotFound naming what was looked for and what is there; kInvalidArgument.
absl::StatusOr<Dataset> ReadSplit(const std::string& data, const std::string& split,
                                  const std::vector<std::string>& class_names);

struct DataOptions {
  std::string data;
  std::string validation_data;  // empty: `data`
  std::string train_split = "train";
  std::string validation_split = "val";
  double held_out_share = 0.15;  // of the training split, where there is no validation split
  uint64_t seed = 1;             // which pictures those are
};

struct TrainingData {
  Dataset training;
  Dataset validation;
  std::string note;  // where validation comes from, for the person
};

// Training and validation with the same classes. Where no split is called validation_split ("val"
// also finds "valid" and "validation"), a share of the training pictures, chosen by `seed`, is held
// out; a test split is never touched. A folder without any split, or with trainval alone, is
// training data as a whole.
// Errors: as ReadSplit; kInvalidArgument with fewer than two pictures or no box at all.
absl::StatusOr<TrainingData> ReadTrainingData(const DataOptions& options);

}  // namespace ela::train

#endif  // ELA_MODEL_TRAIN_DETECTOR_DATA_FOLDER_H_
