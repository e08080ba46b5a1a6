#include <algorithm>
#include <filesystem>
#include <limits>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/json_file.h"
#include "model/status_macros.h"
#include "model/vision/dataset.h"
#include "model/vision/label_check.h"

namespace ela {
namespace {

using nlohmann::json;
constexpr int64_t kMaxJsonBytes = int64_t{1} << 30;
constexpr int64_t kMaxSide = 1 << 20;

// The list under `key`, or null.
const json* List(const json& root, const char* key) {
  if (!root.is_object()) return nullptr;
  const auto found = root.find(key);
  return found != root.end() && found->is_array() ? &*found : nullptr;
}

bool Integer(const json& object, const char* key, int64_t* value) {
  if (!object.is_object()) return false;
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_integer()) return false;
  *value = found->get<int64_t>();
  return true;
}

bool Text(const json& object, const char* key, std::string* value) {
  if (!object.is_object()) return false;
  const auto found = object.find(key);
  if (found == object.end() || !found->is_string()) return false;
  *value = found->get<std::string>();
  return !value->empty();
}

double Number(const json& value) {
  return value.is_number() ? value.get<double>() : std::numeric_limits<double>::quiet_NaN();
}

// A file name leads into the image folder and not out of it.
bool IsSafe(const std::string& name) {
  const std::filesystem::path path(name);
  return path.is_relative() && std::find(path.begin(), path.end(), "..") == path.end();
}

absl::Status ReadCategories(const json& list, Dataset* dataset,
                            std::map<int64_t, int32_t>* classes) {
  std::map<int64_t, std::string> names;
  for (const json& category : list) {
    int64_t id = 0;
    std::string name;
    if (!Integer(category, "id", &id) || !Text(category, "name", &name)) {
      return absl::InvalidArgumentError("a category has no integer `id` or no `name`");
    }
    if (!names.emplace(id, name).second) {
      return absl::InvalidArgumentError(absl::StrCat("category id ", id, " stands twice"));
    }
  }
  if (names.empty()) return absl::InvalidArgumentError("there is no category");
  for (const auto& [id, name] : names) {
    classes->emplace(id, static_cast<int32_t>(dataset->class_names.size()));
    dataset->class_names.push_back(name);
    dataset->category_ids.push_back(id);
  }
  return absl::OkStatus();
}

void ReadImages(const json& list, const std::string& folder, Dataset* dataset) {
  for (const json& from : list) {
    LabelledImage image;
    int64_t width = 0, height = 0;
    const auto reject = [&](const std::string& why) {
      dataset->problems.push_back({LabelProblem::Action::kImageRejected,
                                   image.name.empty() ? "an image" : image.name, why});
    };
    if (!Text(from, "file_name", &image.name) || !Integer(from, "id", &image.id)) {
      reject("no `file_name` or no integer `id`");
      continue;
    }
    if (!Integer(from, "width", &width) || !Integer(from, "height", &height) || width < 1 ||
        height < 1 || width > kMaxSide || height > kMaxSide) {
      reject("`width` or `height` is missing or not a picture's");
      continue;
    }
    if (!IsSafe(image.name)) {
      reject("the name leads out of the image folder");
      continue;
    }
    image.path = (std::filesystem::path(folder) / image.name).string();
    std::error_code error;
    if (!std::filesystem::is_regular_file(image.path, error)) {
      reject("the picture does not exist");
      continue;
    }
    image.width = static_cast<int32_t>(width);
    image.height = static_cast<int32_t>(height);
    dataset->images.push_back(std::move(image));
  }
  std::stable_sort(dataset->images.begin(), dataset->images.end(),
                   [](const LabelledImage& a, const LabelledImage& b) { return a.id < b.id; });
  const auto twice = [&](const LabelledImage& a, const LabelledImage& b) {
    if (a.id != b.id) return false;
    dataset->problems.push_back({LabelProblem::Action::kImageRejected, b.name,
                                 absl::StrCat("id ", b.id, " belongs to ", a.name)});
    return true;
  };
  dataset->images.erase(std::unique(dataset->images.begin(), dataset->images.end(), twice),
                        dataset->images.end());
}

void ReadAnnotations(const json& list, const std::map<int64_t, int32_t>& classes,
                     Dataset* dataset) {
  std::map<int64_t, LabelledImage*> images;
  for (LabelledImage& image : dataset->images) images[image.id] = &image;
  for (const json& from : list) {
    int64_t image_id = 0, category_id = 0, crowd = 0;
    const bool has_image = Integer(from, "image_id", &image_id);
    const auto image = has_image ? images.find(image_id) : images.end();
    const auto reject = [&](const std::string& why) {
      dataset->problems.push_back(
          {LabelProblem::Action::kBoxRejected,
           image == images.end() ? absl::StrCat("image ", image_id) : image->second->name, why});
    };
    if (image == images.end()) {
      reject("an annotation's picture is unknown");
      continue;
    }
    const auto class_id =
        Integer(from, "category_id", &category_id) ? classes.find(category_id) : classes.end();
    if (class_id == classes.end()) {
      reject(absl::StrCat("category ", category_id, " is unknown"));
      continue;
    }
    const json* box = List(from, "bbox");
    if (box == nullptr || box->size() != 4) {
      reject("`bbox` is not [x, y, width, height]");
      continue;
    }
    const double x = Number((*box)[0]), y = Number((*box)[1]);
    const double width = Number((*box)[2]), height = Number((*box)[3]);
    Integer(from, "iscrowd", &crowd);
    const auto area = from.find("area");
    AddBox({x, y, x + width, y + height}, dataset->class_names[class_id->second], class_id->second,
           area != from.end() && area->is_number() ? area->get<double>() : -1, crowd != 0,
           image->second, &dataset->problems);
  }
}

}  // namespace

absl::StatusOr<Dataset> ReadCocoDataset(const std::string& file, const std::string& image_folder) {
  ELA_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(file, kMaxJsonBytes));
  ELA_ASSIGN_OR_RETURN(const json root, ParseJson(text, file));
  const json* images = List(root, "images");
  const json* annotations = List(root, "annotations");
  const json* categories = List(root, "categories");
  if (images == nullptr || annotations == nullptr || categories == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        file, ": not a COCO file: it needs the lists images, annotations, categories"));
  }
  Dataset dataset;
  std::map<int64_t, int32_t> classes;
  const absl::Status status = ReadCategories(*categories, &dataset, &classes);
  if (!status.ok()) return absl::InvalidArgumentError(absl::StrCat(file, ": ", status.message()));
  ReadImages(*images, image_folder, &dataset);
  if (dataset.images.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": none of ", images->size(), " pictures can be used",
                     dataset.problems.empty() ? "" : "; the first: ",
                     dataset.problems.empty() ? "" : ToString(dataset.problems.front())));
  }
  ReadAnnotations(*annotations, classes, &dataset);
  return dataset;
}

}  // namespace ela
