// Which pictures a command line means, and where the drawing of each goes.
#ifndef ELA_CLIENT_COMMAND_PICTURE_LIST_H_
#define ELA_CLIENT_COMMAND_PICTURE_LIST_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace ela::client {

struct Picture {
  std::string name;     // for people: the path, or "standard input"
  std::string path;     // "-": standard input
  std::string draw_to;  // ends in .png, .jpg or .jpeg; empty: not to be drawn
};

struct PictureList {
  std::vector<Picture> pictures;
  std::vector<std::string> faults;  // what could not be looked into; the others stand
};

// `arguments` are files, which are taken whatever their names (one that does not exist fails when
// it is read), folders, of which all .jpg, .jpeg and .png files are taken in the order of their
// paths, subfolders included, hidden ones and links to folders not, and "-".
//
// `draw` is empty, a file for one picture, or a folder: that of the drawings keep the place that
// the picture has in its folder, and their ending if it is one that we write. Two that would land
// in one file get numbers. What stands in the folder `draw` is not taken for a picture.
// Errors: kInvalidArgument (the command line is wrong, or a drawing would replace a picture).
absl::StatusOr<PictureList> ListPictures(const std::vector<std::string>& arguments,
                                         const std::string& draw);

}  // namespace ela::client

#endif  // ELA_CLIENT_COMMAND_PICTURE_LIST_H_
