#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <limits>
#include <map>
#include <pugixml.hpp>
#include <set>
#include <sstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/status_macros.h"
#include "model/vision/dataset.h"
#include "model/vision/label_check.h"

namespace ela {
namespace {

namespace fs = std::filesystem;
constexpr int64_t kMaxXmlBytes = 16 << 20;
constexpr int64_t kMaxSide = 1 << 20;

bool IsPicture(const fs::path& path) {
  const std::string ending = absl::AsciiStrToLower(path.extension().string());
  return ending == ".jpg" || ending == ".jpeg" || ending == ".png";
}

// Picture and annotation of one line of a split.
struct Files {
  std::string name;
  fs::path annotation;
  fs::path picture;  // empty: there is none
};

fs::path PictureNamed(const fs::path& folder, const std::string& stem) {
  for (const char* ending : {".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG"}) {
    std::error_code error;
    const fs::path path = folder / (stem + ending);
    if (fs::is_regular_file(path, error)) return path;
  }
  return {};
}

absl::StatusOr<std::vector<Files>> FilesOfList(const fs::path& folder, const std::string& split) {
  const fs::path lists = folder / "ImageSets" / "Main";
  std::ifstream file(lists / (split + ".txt"));
  std::error_code error;
  if (!file) {
    std::vector<std::string> known;
    for (const auto& entry : fs::directory_iterator(lists, error)) {
      if (entry.path().extension() == ".txt") known.push_back(entry.path().stem().string());
    }
    std::sort(known.begin(), known.end());
    return absl::NotFoundError(absl::StrCat(
        (lists / (split + ".txt")).string(),
        " does not exist; lists there: ", known.empty() ? "none" : absl::StrJoin(known, ", ")));
  }
  std::vector<Files> files;
  for (std::string line; std::getline(file, line);) {
    // Some lists carry a second column (1, -1) that says whether a class occurs.
    const std::string stem = line.substr(0, line.find_first_of(" \t\r"));
    if (stem.empty()) continue;
    files.push_back({stem, folder / "Annotations" / (stem + ".xml"),
                     PictureNamed(folder / "JPEGImages", stem)});
  }
  return files;
}

// The first of `names` that is a folder in `folder`; else `folder` itself.
fs::path SubFolder(const fs::path& folder, std::initializer_list<const char*> names) {
  std::error_code error;
  for (const char* name : names) {
    if (fs::is_directory(folder / name, error)) return folder / name;
  }
  return folder;
}

// Pictures and annotations of the same names: side by side, or in a folder each.
absl::StatusOr<std::vector<Files>> FilesBeside(const fs::path& folder) {
  std::vector<Files> files;
  std::error_code error;
  const fs::path pictures = SubFolder(folder, {"JPEGImages", "images", "Images"});
  const fs::path annotations = SubFolder(folder, {"Annotations", "annotations"});
  fs::directory_iterator entries(pictures, error);
  if (error) return absl::NotFoundError(absl::StrCat(pictures.string(), ": ", error.message()));
  for (const auto& entry : entries) {
    if (!IsPicture(entry.path())) continue;
    const std::string name = entry.path().stem().string() + ".xml";
    const fs::path beside = pictures / name;
    const fs::path annotation = fs::exists(beside, error) ? beside : annotations / name;
    files.push_back({entry.path().stem().string(), annotation, entry.path()});
  }
  std::sort(files.begin(), files.end(),
            [](const Files& a, const Files& b) { return a.picture < b.picture; });
  return files;
}

struct ClaimedObject {
  std::string class_name;
  ClaimedBox box;
};

double Number(const pugi::xml_node& parent, const char* name) {
  double value = 0;
  const char* text = parent.child(name).text().get();
  return absl::SimpleAtod(text, &value) ? value : std::numeric_limits<double>::quiet_NaN();
}

// Fills size, and objects as they are claimed. The message of an error says what is wrong with the
// file.
absl::Status ReadAnnotation(const Files& files, LabelledImage* image,
                            std::vector<ClaimedObject>* objects) {
  std::error_code error;
  if (files.picture.empty()) return absl::NotFoundError("the picture does not exist");
  const uintmax_t size = fs::file_size(files.annotation, error);
  if (error) return absl::NotFoundError("the annotation does not exist");
  if (size > kMaxXmlBytes) return absl::InvalidArgumentError("the annotation is too large");
  pugi::xml_document document;
  const pugi::xml_parse_result parsed = document.load_file(files.annotation.c_str());
  if (!parsed) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the annotation is not XML: ", parsed.description(), " at byte ", parsed.offset));
  }
  const pugi::xml_node root = document.child("annotation");
  if (!root) return absl::InvalidArgumentError("the annotation has no <annotation>");
  const double width = Number(root.child("size"), "width");
  const double height = Number(root.child("size"), "height");
  if (!(width >= 1 && width <= kMaxSide && height >= 1 && height <= kMaxSide)) {
    return absl::InvalidArgumentError("the annotation's <size> is missing or not a picture's");
  }
  image->width = static_cast<int32_t>(width);
  image->height = static_cast<int32_t>(height);
  for (const pugi::xml_node& object : root.children("object")) {
    const pugi::xml_node box = object.child("bndbox");
    objects->push_back(
        {std::string(absl::StripAsciiWhitespace(object.child("name").text().get())),
         {Number(box, "xmin"), Number(box, "ymin"), Number(box, "xmax"), Number(box, "ymax")}});
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Dataset> ReadVocDataset(const std::string& folder, const std::string& split,
                                       std::vector<std::string> class_names) {
  std::error_code error;
  const fs::path root(folder);
  std::vector<Files> files;
  if (fs::is_directory(root / "ImageSets" / "Main", error)) {
    ELA_ASSIGN_OR_RETURN(files, FilesOfList(root, split));
  } else {
    const bool sub_folder = !split.empty() && fs::is_directory(root / split, error);
    ELA_ASSIGN_OR_RETURN(files, FilesBeside(sub_folder ? root / split : root));
  }

  Dataset dataset;
  std::vector<std::vector<ClaimedObject>> objects;
  std::set<std::string> occurring;
  for (const Files& of_image : files) {
    LabelledImage image;
    image.name = of_image.picture.empty() ? of_image.name : of_image.picture.filename().string();
    image.path = of_image.picture.string();
    image.id = static_cast<int64_t>(dataset.images.size()) + 1;
    std::vector<ClaimedObject> claimed;
    const absl::Status status = ReadAnnotation(of_image, &image, &claimed);
    if (!status.ok()) {
      dataset.problems.push_back(
          {LabelProblem::Action::kImageRejected, image.name, std::string(status.message())});
      continue;
    }
    for (const ClaimedObject& object : claimed) occurring.insert(object.class_name);
    objects.push_back(std::move(claimed));
    dataset.images.push_back(std::move(image));
  }
  if (dataset.images.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(folder, ", split '", split, "': none of ", files.size(),
                     " pictures can be used", dataset.problems.empty() ? "" : "; the first: ",
                     dataset.problems.empty() ? "" : ToString(dataset.problems.front())));
  }

  occurring.erase("");
  if (class_names.empty()) class_names.assign(occurring.begin(), occurring.end());
  std::map<std::string, int32_t> id_of;
  for (size_t i = 0; i < class_names.size(); ++i) {
    id_of[class_names[i]] = static_cast<int32_t>(i);
    dataset.category_ids.push_back(static_cast<int64_t>(i) + 1);
  }
  dataset.class_names = std::move(class_names);
  for (size_t i = 0; i < dataset.images.size(); ++i) {
    LabelledImage& image = dataset.images[i];
    for (const ClaimedObject& object : objects[i]) {
      const auto found = id_of.find(object.class_name);
      if (found == id_of.end()) {
        dataset.problems.push_back({LabelProblem::Action::kBoxRejected, image.name,
                                    absl::StrCat("class '", object.class_name, "' is unknown")});
        continue;
      }
      AddBox(object.box, object.class_name, found->second, -1, false, &image, &dataset.problems);
    }
  }
  return dataset;
}

}  // namespace ela
