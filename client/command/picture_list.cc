#include "client/command/picture_list.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace ela::client {
namespace {

namespace fs = std::filesystem;

using FileId = std::pair<dev_t, ino_t>;

struct Found {
  Picture picture;
  fs::path place;  // within the folder that was given: what a drawing is named by
};

// Endings of pictures that are read, which are also those that are written.
bool HasPictureEnding(const fs::path& path) {
  const std::string ending = absl::AsciiStrToLower(path.extension().string());
  return ending == ".jpg" || ending == ".jpeg" || ending == ".png";
}

bool IsFolder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

bool IsSame(const fs::path& a, const fs::path& b) {
  std::error_code ignored;
  return fs::equivalent(a, b, ignored);
}

bool IdOf(const std::string& path, FileId* id) {
  struct stat facts = {};
  if (stat(path.c_str(), &facts) != 0) return false;
  *id = {facts.st_dev, facts.st_ino};
  return true;
}

void Scan(const fs::path& root, const fs::path& folder, const std::string& left_out,
          std::vector<Found>* found, std::vector<std::string>* faults) {
  std::error_code error;
  std::vector<fs::directory_entry> entries;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->path().filename().string()[0] != '.') entries.push_back(*entry);
  }
  if (error)
    faults->push_back(absl::StrCat("cannot list ", folder.string(), ": ", error.message()));
  std::sort(entries.begin(), entries.end());
  for (const fs::directory_entry& entry : entries) {
    std::error_code ignored;
    const fs::path& path = entry.path();
    if (entry.is_directory(ignored)) {
      if (entry.is_symlink(ignored) || IsSame(path, left_out)) continue;
      Scan(root, path, left_out, found, faults);
    } else if (HasPictureEnding(path) && entry.is_regular_file(ignored)) {
      found->push_back({{path.string(), path.string(), ""}, path.lexically_relative(root)});
    }
  }
}

absl::StatusOr<std::vector<Found>> Find(const std::vector<std::string>& arguments,
                                        const std::string& left_out,
                                        std::vector<std::string>* faults) {
  std::vector<Found> found;
  bool has_input = false;
  for (const std::string& argument : arguments) {
    if (argument == "-") {
      if (has_input) return absl::InvalidArgumentError("standard input can be read only once");
      has_input = true;
      found.push_back({{"standard input", "-", ""}, "stdin"});
    } else if (IsFolder(argument)) {
      const size_t before = found.size();
      Scan(argument, argument, left_out, &found, faults);
      if (found.size() == before) {
        faults->push_back(absl::StrCat(argument, " holds no .jpg, .jpeg or .png file"));
      }
    } else {
      found.push_back({{argument, argument, ""}, fs::path(argument).filename()});
    }
  }
  return found;
}

// Is --draw the name of one file? Errors: it can be neither file nor folder.
absl::StatusOr<bool> IsOneFile(const std::string& draw, size_t num_pictures, bool any_folder) {
  const fs::path path(draw);
  if (IsFolder(path) || !path.has_filename()) return false;
  if (HasPictureEnding(path)) {
    if (num_pictures <= 1) return true;
    return absl::InvalidArgumentError(absl::StrCat("--draw ", draw, " is one file and there are ",
                                                   num_pictures, " pictures: name a folder"));
  }
  if (num_pictures > 1 || any_folder || !path.has_extension()) return false;
  return absl::InvalidArgumentError(
      absl::StrCat("--draw ", draw, ": a file must end in .png, .jpg or .jpeg, a new folder in /"));
}

// The first of "place.jpg", "place-2.jpg", ... that is not in `taken`, where it is put.
std::string FreeName(const fs::path& place, std::set<std::string>* taken) {
  fs::path name = place;
  if (!HasPictureEnding(name)) name += ".png";
  const fs::path stem = name.parent_path() / name.stem();
  for (int number = 2; !taken->insert(name.string()).second; ++number) {
    name = fs::path(absl::StrCat(stem.string(), "-", number, name.extension().string()));
  }
  return name.string();
}

absl::Status RefuseToReplacePictures(const std::vector<Picture>& pictures) {
  std::set<FileId> inputs;
  FileId id;
  for (const Picture& picture : pictures) {
    if (IdOf(picture.path, &id)) inputs.insert(id);
  }
  for (const Picture& picture : pictures) {
    if (!IdOf(picture.draw_to, &id) || inputs.count(id) == 0) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "--draw would replace the picture ", picture.draw_to, ": name another file or folder"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PictureList> ListPictures(const std::vector<std::string>& arguments,
                                         const std::string& draw) {
  PictureList list;
  absl::StatusOr<std::vector<Found>> found = Find(arguments, draw, &list.faults);
  if (!found.ok()) return found.status();
  bool one_file = false;
  if (!draw.empty()) {
    const bool any_folder = std::any_of(arguments.begin(), arguments.end(), IsFolder);
    const absl::StatusOr<bool> is_one_file = IsOneFile(draw, found->size(), any_folder);
    if (!is_one_file.ok()) return is_one_file.status();
    one_file = *is_one_file;
  }
  std::set<std::string> taken;
  for (Found& one : *found) {
    if (one_file) {
      one.picture.draw_to = draw;
    } else if (!draw.empty()) {
      one.picture.draw_to = FreeName(draw / one.place, &taken);
    }
    list.pictures.push_back(std::move(one.picture));
  }
  if (absl::Status status = RefuseToReplacePictures(list.pictures); !status.ok()) return status;
  return list;
}

}  // namespace ela::client
