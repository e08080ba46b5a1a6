#include "model/train/detector/data_folder.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/status_macros.h"
#include "model/train/detector/random.h"

namespace ela::train {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> Entries(const fs::path& folder) {
  std::vector<fs::path> entries;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    entries.push_back(at->path());
  }
  std::sort(entries.begin(), entries.end());
  return entries;
}

bool IsJson(const fs::path& path) {
  return absl::AsciiStrToLower(path.extension().string()) == ".json";
}

// "instances_train2017.json", "train.json": the split is "train", perhaps with a year behind it.
bool NamesSplit(absl::string_view stem, absl::string_view split) {
  for (absl::string_view prefix : {"instances_", "annotations_", "_annotations_"}) {
    if (absl::StartsWith(stem, prefix)) stem.remove_prefix(prefix.size());
  }
  if (!absl::StartsWith(stem, split)) return false;
  stem.remove_prefix(split.size());
  return std::all_of(stem.begin(), stem.end(),
                     [](char c) { return absl::ascii_isdigit(c) || c == '_' || c == '-'; });
}

// The COCO file of a split below `folder`, or nothing.
std::optional<fs::path> CocoFile(const fs::path& folder, const std::string& split) {
  if (!split.empty()) {
    for (const fs::path& place : {folder / "annotations", folder}) {
      for (const fs::path& file : Entries(place)) {
        if (IsJson(file) && NamesSplit(file.stem().string(), split)) return file;
      }
    }
  }
  for (const fs::path& file : Entries(split.empty() ? folder : folder / split)) {
    if (IsJson(file)) return file;
  }
  return std::nullopt;
}

// Reads `file` with pictures from the first folder near it that has any of them.
absl::StatusOr<Dataset> ReadCocoNear(const fs::path& file, const fs::path& root,
                                     const std::string& split) {
  std::vector<fs::path> folders;
  std::string stem = file.stem().string();
  for (const char* prefix : {"instances_", "annotations_"}) {
    if (absl::StartsWith(stem, prefix)) stem = stem.substr(std::string(prefix).size());
  }
  for (const fs::path& base : {file.parent_path(), file.parent_path().parent_path(), root}) {
    for (const std::string& name : {stem, split}) {
      if (name.empty()) continue;
      folders.push_back(base / name);
      folders.push_back(base / "images" / name);
    }
    folders.push_back(base / "images");
    folders.push_back(base);
  }
  absl::StatusOr<Dataset> best = absl::NotFoundError(absl::StrCat(file.string(), ": no pictures"));
  for (const fs::path& folder : folders) {
    std::error_code error;
    if (!fs::is_directory(folder, error)) continue;
    absl::StatusOr<Dataset> dataset = ReadCocoDataset(file.string(), folder.string());
    if (!dataset.ok()) {
      if (!best.ok()) best = std::move(dataset);
      continue;
    }
    if (!best.ok() || dataset->images.size() > best->images.size()) best = std::move(dataset);
    // Most are there: what is missing is missing everywhere.
    if (best->images.size() > best->problems.size()) break;
  }
  return best;
}

void MapClasses(const std::vector<std::string>& class_names, Dataset* dataset) {
  std::map<std::string, int32_t> id_of;
  for (size_t i = 0; i < class_names.size(); ++i) id_of[class_names[i]] = static_cast<int32_t>(i);
  std::vector<int64_t> category_ids(class_names.size());
  std::vector<bool> known(class_names.size(), false);  // by the id: some files count from 0
  int64_t next = 0;
  for (size_t i = 0; i < dataset->class_names.size(); ++i) {
    next = std::max(next, dataset->category_ids[i]);
    const auto found = id_of.find(dataset->class_names[i]);
    if (found == id_of.end()) continue;
    category_ids[found->second] = dataset->category_ids[i];
    known[found->second] = true;
  }
  for (size_t i = 0; i < known.size(); ++i) {
    if (!known[i]) category_ids[i] = ++next;
  }
  for (LabelledImage& image : dataset->images) {
    std::vector<TruthBox> kept;
    for (TruthBox box : image.boxes) {
      const std::string& name = dataset->class_names[box.class_id];
      const auto found = id_of.find(name);
      if (found == id_of.end()) {
        dataset->problems.push_back({LabelProblem::Action::kBoxRejected, image.name,
                                     absl::StrCat("class '", name, "' is unknown")});
        continue;
      }
      box.class_id = found->second;
      kept.push_back(box);
    }
    image.boxes = std::move(kept);
  }
  dataset->class_names = class_names;
  dataset->category_ids = std::move(category_ids);
}

absl::Status SplitNotFound(const fs::path& folder, const std::string& split) {
  std::vector<std::string> there;
  for (const fs::path& entry : Entries(folder)) {
    if (there.size() < 20) there.push_back(entry.filename().string());
  }
  return absl::NotFoundError(absl::StrCat(
      folder.string(), ": no split '", split, "': neither ImageSets/Main/", split,
      ".txt, nor a folder ", split, ", nor a COCO file annotations/*", split,
      "*.json; the folder holds: ", there.empty() ? "nothing" : absl::StrJoin(there, ", "),
      "; a split of \"\" takes all of it"));
}

bool HasBoxes(const LabelledImage& image) { return !image.boxes.empty(); }

bool AnyBox(const std::vector<LabelledImage>& images) {
  return std::any_of(images.begin(), images.end(), HasBoxes);
}

// Without a box nothing can be learned, and nothing measured: `to` gets a picture that has one for
// one that has none. Nothing happens where both sides have boxes, or `from` has too few.
void ShareBoxes(std::vector<LabelledImage>* from, std::vector<LabelledImage>* to) {
  if (AnyBox(*to) || std::count_if(from->begin(), from->end(), HasBoxes) < 2) return;
  std::swap(*std::find_if(from->begin(), from->end(), HasBoxes), to->front());
}

// Holds out a share of the pictures: at least one, never all.
void HoldOut(double share, uint64_t seed, TrainingData* data) {
  std::vector<LabelledImage>& images = data->training.images;
  std::vector<int64_t> order(images.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int64_t>(i);
  Random random(seed, /*stream=*/0x5eed, 0);
  random.Shuffle(&order);
  const auto count =
      std::clamp<size_t>(static_cast<size_t>(share * images.size() + 0.5), 1, images.size() - 1);
  std::vector<bool> held_out(images.size(), false);
  for (size_t i = 0; i < count; ++i) held_out[order[i]] = true;
  data->validation.class_names = data->training.class_names;
  data->validation.category_ids = data->training.category_ids;
  std::vector<LabelledImage> kept;
  for (size_t i = 0; i < images.size(); ++i) {
    (held_out[i] ? data->validation.images : kept).push_back(std::move(images[i]));
  }
  images = std::move(kept);
  ShareBoxes(&images, &data->validation.images);
  ShareBoxes(&data->validation.images, &images);
}

}  // namespace

absl::StatusOr<Dataset> ReadSplit(const std::string& data, const std::string& split,
                                  const std::vector<std::string>& class_names) {
  fs::path path(data);
  std::error_code error;
  if (!fs::exists(path, error)) return absl::NotFoundError(absl::StrCat(data, " does not exist"));
  if (!fs::is_directory(path, error) && !IsJson(path)) {
    return absl::InvalidArgumentError(
        absl::StrCat(data, ": neither a folder nor a COCO .json file"));
  }
  std::optional<fs::path> coco;
  const bool lists = fs::is_directory(path / "ImageSets" / "Main", error);
  if (IsJson(path)) {
    coco = path;
  } else if (!lists) {
    coco = CocoFile(path, split);
  }
  if (coco) {
    ELA_ASSIGN_OR_RETURN(Dataset dataset,
                         ReadCocoNear(*coco, IsJson(path) ? path.parent_path() : path, split));
    if (!class_names.empty()) MapClasses(class_names, &dataset);
    return dataset;
  }
  if (!split.empty() && !lists && !fs::is_directory(path / split, error)) {
    if (!fs::is_directory(path / "images" / split, error)) return SplitNotFound(path, split);
    path /= "images";
  }
  return ReadVocDataset(path.string(), split, class_names);
}

absl::StatusOr<TrainingData> ReadTrainingData(const DataOptions& options) {
  TrainingData data;
  absl::StatusOr<Dataset> training = ReadSplit(options.data, options.train_split, {});
  bool whole = false;
  if (absl::IsNotFound(training.status()) && options.train_split == "train") {
    for (const char* name : {"trainval", ""}) {
      absl::StatusOr<Dataset> all = ReadSplit(options.data, name, {});
      if (!all.ok()) continue;
      training = std::move(all);
      whole = true;
      break;
    }
  }
  if (!training.ok()) return training.status();
  data.training = *std::move(training);

  const bool elsewhere = !options.validation_data.empty();
  const std::string& place = elsewhere ? options.validation_data : options.data;
  std::vector<std::string> names = {options.validation_split};
  if (options.validation_split == "val") names.insert(names.end(), {"valid", "validation"});
  const bool one_file = IsJson(options.data) && !elsewhere;
  absl::StatusOr<Dataset> validation = absl::NotFoundError("one file");
  for (const std::string& name : names) {
    if (whole || one_file) break;
    validation = ReadSplit(place, name, data.training.class_names);
    if (!absl::IsNotFound(validation.status())) break;
  }
  if (elsewhere && !validation.ok()) return validation.status();
  if (!validation.ok() && !absl::IsNotFound(validation.status())) return validation.status();
  size_t num_boxes = 0;
  for (const LabelledImage& image : data.training.images) num_boxes += image.boxes.size();
  if (num_boxes == 0) {
    return absl::InvalidArgumentError(absl::StrCat(options.data, ": no usable box in ",
                                                   data.training.images.size(), " pictures"));
  }
  if (validation.ok()) {
    data.validation = *std::move(validation);
    data.note = absl::StrCat("validation: ", data.validation.images.size(), " pictures of ", place);
    return data;
  }
  if (data.training.images.size() < 2) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.data, ": one picture cannot be split into training and validation"));
  }
  HoldOut(options.held_out_share, options.seed, &data);
  if (!AnyBox(data.training.images) || !AnyBox(data.validation.images)) {
    return absl::InvalidArgumentError(absl::StrCat(
        options.data, ": one picture with boxes cannot be split into training and validation"));
  }
  data.note =
      absl::StrCat("validation: no split '", options.validation_split, "' there, so ",
                   data.validation.images.size(),
                   " of the training pictures are held out (--val-share, seed ", options.seed, ")");
  return data;
}

}  // namespace ela::train
