// Writes small labelled data sets: each picture shows one filled rectangle on dark grey, in a
// colour that tells its class.
#ifndef ELA_TESTS_MODEL_TRAIN_DETECTOR_PICTURE_FOLDER_H_
#define ELA_TESTS_MODEL_TRAIN_DETECTOR_PICTURE_FOLDER_H_

#include <array>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "model/detector.h"
#include "model/image/image.h"
#include "tests/model/image/picture_files.h"

namespace ela {

using Rgb = std::array<uint8_t, 3>;
inline constexpr Rgb kBackground = {30, 30, 30};
inline const std::vector<Rgb> kClassColours = {{220, 30, 30},  {30, 210, 40},  {40, 60, 230},
                                               {220, 210, 20}, {210, 30, 220}, {20, 210, 220}};

struct Drawn {
  int32_t width = 96;
  int32_t height = 64;
  Box box;
  int32_t class_id = 0;
};

// Number `index` of an endless row of different ones.
inline Drawn DrawnNumber(int index, int num_classes, int32_t width = 96, int32_t height = 64) {
  const auto x = static_cast<float>((index * 23) % (width / 2)),
             y = float((index * 17) % (height / 2));
  const auto w = static_cast<float>(width / 4 + (index * 7) % (width / 5));
  const auto h = static_cast<float>(height / 4 + (index * 5) % (height / 5));
  return {width, height, {x, y, x + w, y + h}, index % num_classes};
}

inline Image PictureOf(const Drawn& drawn) {
  Image image{drawn.width, drawn.height, {}};
  for (int32_t y = 0; y < drawn.height; ++y) {
    for (int32_t x = 0; x < drawn.width; ++x) {
      const Box& b = drawn.box;
      const bool inside = x >= b.x0 && x < b.x1 && y >= b.y0 && y < b.y1;
      const Rgb& colour = inside ? kClassColours[drawn.class_id] : kBackground;
      image.pixels.insert(image.pixels.end(), colour.begin(), colour.end());
    }
  }
  return image;
}

inline bool IsColour(const Image& image, int32_t x, int32_t y, const Rgb& colour) {
  for (int c = 0; c < 3; ++c) {
    const int value = image.pixels[3 * (size_t{1} * y * image.width + x) + c];
    if (std::abs(value - colour[c]) > 45) return false;
  }
  return true;
}

inline void WriteFile(const std::string& path, const void* data, size_t size) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path, std::ios::binary).write(static_cast<const char*>(data), size);
}
inline void WriteFile(const std::string& path, const std::string& text) {
  WriteFile(path, text.data(), text.size());
}

inline std::string XmlOf(const Drawn& drawn) {
  const auto number = [](float value) { return std::to_string(static_cast<int>(value)); };
  return "<annotation><size><width>" + std::to_string(drawn.width) + "</width><height>" +
         std::to_string(drawn.height) + "</height></size><object><name>class" +
         std::to_string(drawn.class_id) + "</name><bndbox><xmin>" + number(drawn.box.x0) +
         "</xmin><ymin>" + number(drawn.box.y0) + "</ymin><xmax>" + number(drawn.box.x1) +
         "</xmax><ymax>" + number(drawn.box.y1) + "</ymax></bndbox></object></annotation>";
}

inline void WritePicture(const std::string& path, const Drawn& drawn) {
  const Bytes png = PngOf(PictureOf(drawn));
  WriteFile(path, png.data(), png.size());
}

// Pictures and XML side by side, numbers first … first + count - 1.
inline void WriteFolder(const std::string& folder, int first, int count, int num_classes) {
  for (int i = first; i < first + count; ++i) {
    const Drawn drawn = DrawnNumber(i, num_classes);
    WritePicture(folder + "/p" + std::to_string(i) + ".png", drawn);
    WriteFile(folder + "/p" + std::to_string(i) + ".xml", XmlOf(drawn));
  }
}

// With ImageSets: `train` and `val` as lists.
inline void WriteVoc(const std::string& folder, int num_train, int num_val, int num_classes) {
  std::string train, val;
  for (int i = 0; i < num_train + num_val; ++i) {
    const std::string name = "p" + std::to_string(i);
    const Drawn drawn = DrawnNumber(i, num_classes);
    WritePicture(folder + "/JPEGImages/" + name + ".png", drawn);
    WriteFile(folder + "/Annotations/" + name + ".xml", XmlOf(drawn));
    (i < num_train ? train : val) += name + "\n";
  }
  WriteFile(folder + "/ImageSets/Main/train.txt", train);
  WriteFile(folder + "/ImageSets/Main/val.txt", val);
}

// A COCO file of pictures that are written into `images`.
inline void WriteCoco(const std::string& file, const std::string& images, int first, int count,
                      int num_classes) {
  std::string pictures, annotations, categories;
  for (int i = first; i < first + count; ++i) {
    const Drawn d = DrawnNumber(i, num_classes);
    const std::string id = std::to_string(i), comma = i > first ? "," : "";
    WritePicture(images + "/p" + id + ".png", d);
    pictures += comma + "{\"id\":" + id + ",\"file_name\":\"p" + id +
                ".png\",\"width\":" + std::to_string(d.width) +
                ",\"height\":" + std::to_string(d.height) + "}";
    annotations += comma + "{\"id\":" + id + ",\"image_id\":" + id +
                   ",\"category_id\":" + std::to_string(7 + d.class_id) +
                   ",\"iscrowd\":0,\"bbox\":[" + std::to_string(d.box.x0) + "," +
                   std::to_string(d.box.y0) + "," + std::to_string(d.box.x1 - d.box.x0) + "," +
                   std::to_string(d.box.y1 - d.box.y0) + "]}";
  }
  for (int c = 0; c < num_classes; ++c) {
    categories += std::string(c > 0 ? "," : "") + "{\"id\":" + std::to_string(7 + c) +
                  ",\"name\":\"class" + std::to_string(c) + "\"}";
  }
  WriteFile(file, "{\"images\":[" + pictures + "],\"annotations\":[" + annotations +
                      "],\"categories\":[" + categories + "]}");
}

}  // namespace ela

#endif  // ELA_TESTS_MODEL_TRAIN_DETECTOR_PICTURE_FOLDER_H_
