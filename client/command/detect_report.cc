#include "client/command/detect_report.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "absl/strings/str_format.h"
#include "client/error_details.h"

namespace ela::client {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kWidestName = 60;  // a longer one moves its own row alone
constexpr char kNothing[] = "(none)";

int NameWidth(const std::vector<Picture>& pictures) {
  size_t width = 5;  // "IMAGE"
  for (const Picture& picture : pictures) width = std::max(width, picture.name.size());
  return static_cast<int>(std::min(width, kWidestName));
}

int ClassWidth(const std::vector<std::string>& class_names) {
  size_t width = sizeof(kNothing) - 1;
  for (const std::string& name : class_names) width = std::max(width, name.size());
  return static_cast<int>(std::min(width, kWidestName));
}

Json ToJson(const DetectedObject& object) {
  const DetectionBox& box = object.box;
  return {{"class", object.class_name},
          {"class_id", object.class_id},
          {"score", Shortest(object.score)},
          {"box", {Shortest(box.x0), Shortest(box.y0), Shortest(box.x1), Shortest(box.y1)}}};
}

Json ToJson(const absl::Status& status) {
  Json json = {{"code", absl::StatusCodeToString(status.code())}};
  const std::string reason = DetailsOf(status).reason;
  if (!reason.empty()) json["reason"] = reason;
  json["message"] = std::string(status.message());
  return json;
}

}  // namespace

double Shortest(float value) {
  char digits[32] = {};
  std::to_chars(digits, digits + sizeof(digits) - 1, value);
  return std::strtod(digits, nullptr);
}

DetectTable::DetectTable(const std::vector<Picture>& pictures,
                         const std::vector<std::string>& class_names)
    : name_width_(NameWidth(pictures)), class_width_(ClassWidth(class_names)) {}

std::string DetectTable::Header() const {
  return absl::StrFormat("%-*s  %-*s  SCORE       X0       Y0       X1       Y1\n", name_width_,
                         "IMAGE", class_width_, "CLASS");
}

std::string DetectTable::Rows(const Picture& picture, const ImageResult& result) const {
  if (result.objects.empty()) {
    return absl::StrFormat("%-*s  %s\n", name_width_, picture.name, kNothing);
  }
  std::string rows;
  for (const DetectedObject& object : result.objects) {
    absl::StrAppendFormat(&rows, "%-*s  %-*s  %5.2f %8.1f %8.1f %8.1f %8.1f\n", name_width_,
                          picture.name, class_width_, object.class_name, object.score,
                          object.box.x0, object.box.y0, object.box.x1, object.box.y1);
  }
  return rows;
}

std::string DetectJson(const Picture& picture, const ImageResult& result) {
  Json json = {{"image", picture.path}};
  if (!result.status.ok()) {
    json["error"] = ToJson(result.status);
  } else {
    json["width"] = result.width;
    json["height"] = result.height;
    json["orientation"] = result.orientation;
    json["objects"] = Json::array();
    for (const DetectedObject& object : result.objects) json["objects"].push_back(ToJson(object));
    json["truncated"] = result.truncated;
    json["times"] = {{"decode_seconds", absl::ToDoubleSeconds(result.times.decode)},
                     {"queue_seconds", absl::ToDoubleSeconds(result.times.queue)},
                     {"network_seconds", absl::ToDoubleSeconds(result.times.network)},
                     {"postprocess_seconds", absl::ToDoubleSeconds(result.times.postprocess)}};
    if (!picture.draw_to.empty()) json["drawn"] = picture.draw_to;
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace ela::client
