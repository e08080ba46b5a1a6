// What `ela detect` prints of a picture.
#ifndef ELA_CLIENT_COMMAND_DETECT_REPORT_H_
#define ELA_CLIENT_COMMAND_DETECT_REPORT_H_

#include <string>
#include <vector>

#include "client/command/picture_list.h"
#include "client/detect.h"

namespace ela::client {

// A table whose rows appear as pictures are done: the widths are fixed before, by the names.
class DetectTable {
 public:
  DetectTable(const std::vector<Picture>& pictures, const std::vector<std::string>& class_names);

  std::string Header() const;
  // A row an object; one that says so where there is none.
  std::string Rows(const Picture& picture, const ImageResult& result) const;

 private:
  const int name_width_;
  const int class_width_;
};

// One line, with its newline: {"image": …, "objects": [{"class": …, "score": …, "box": […]}], …},
// or {"image": …, "error": {…}}. Numbers have as many digits as their float needs.
std::string DetectJson(const Picture& picture, const ImageResult& result);

// The double that prints as the shortest decimal of `value`: 0.97, not 0.9700000286102295.
double Shortest(float value);

}  // namespace ela::client

#endif  // ELA_CLIENT_COMMAND_DETECT_REPORT_H_
