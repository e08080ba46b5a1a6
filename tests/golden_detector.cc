#include "tests/golden_detector.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "model/checkpoint/safetensors.h"
#include "model/status_macros.h"
#include "model/vision/detector_config.h"
#include "model/vision/head.h"

namespace ela::golden {
namespace {

constexpr double kRawTolerance = 1e-4;
constexpr double kBoxTolerance = 0.5;  // pixels
constexpr double kScoreTolerance = 1e-3;

struct GoldenCase {
  Picture picture;
  RawMap raw;
  std::vector<float> boxes, scores;
  std::vector<int32_t> classes;
};

absl::StatusOr<TensorView> Find(const SafetensorsFile& file, const std::string& name, size_t rank,
                                DType dtype) {
  const auto found = file.tensors().find(name);
  if (found == file.tensors().end() || found->second.shape.size() != rank ||
      found->second.dtype != dtype) {
    return absl::InvalidArgumentError(absl::StrCat("cases.safetensors has no tensor \"", name,
                                                   "\" of rank ", rank, " and type ", Name(dtype)));
  }
  return found->second;
}

absl::StatusOr<std::vector<float>> Floats(const SafetensorsFile& file, const std::string& name,
                                          size_t rank) {
  ELA_ASSIGN_OR_RETURN(const TensorView view, Find(file, name, rank, DType::kF32));
  std::vector<float> values(view.num_elements());
  ConvertToFloat(view, values.data());
  return values;
}

absl::StatusOr<GoldenCase> ReadCase(const SafetensorsFile& file, int index, int32_t num_classes) {
  GoldenCase read;
  const auto name = [&](const char* what) { return absl::StrCat(what, index); };
  ELA_ASSIGN_OR_RETURN(const TensorView image, Find(file, name("image"), 3, DType::kF32));
  ELA_ASSIGN_OR_RETURN(const TensorView raw, Find(file, name("raw"), 3, DType::kF32));
  ELA_ASSIGN_OR_RETURN(read.picture.values, Floats(file, name("image"), 3));
  ELA_ASSIGN_OR_RETURN(read.raw.values, Floats(file, name("raw"), 3));
  ELA_ASSIGN_OR_RETURN(read.boxes, Floats(file, name("boxes"), 2));
  ELA_ASSIGN_OR_RETURN(read.scores, Floats(file, name("scores"), 1));
  ELA_ASSIGN_OR_RETURN(const TensorView classes, Find(file, name("classes"), 1, DType::kI32));
  read.classes.resize(classes.num_elements());
  std::memcpy(read.classes.data(), classes.data, classes.num_bytes);
  read.picture.height = static_cast<int32_t>(image.shape[1]);
  read.picture.width = static_cast<int32_t>(image.shape[2]);
  read.raw.channels = static_cast<int32_t>(raw.shape[0]);
  read.raw.rows = static_cast<int32_t>(raw.shape[1]);
  read.raw.columns = static_cast<int32_t>(raw.shape[2]);
  const size_t cells = static_cast<size_t>(raw.shape[1] * raw.shape[2]);
  if (image.shape[0] != 3 || read.raw.channels != 5 + num_classes ||
      read.boxes.size() != 4 * cells || read.scores.size() != cells ||
      read.classes.size() != cells) {
    return absl::InvalidArgumentError(
        absl::StrCat("cases.safetensors: the tensors of case ", index, " do not fit together"));
  }
  return read;
}

void Raise(Deviation* deviation, double error) {
  if (!(error <= deviation->error)) deviation->error = error;  // also when it is NaN
}

void CompareBox(const Box& got, const float* want, const Picture& picture, Deviation* deviation) {
  const double cx = want[0] * picture.width, cy = want[1] * picture.height;
  const double half_width = want[2] * picture.width / 2;
  const double half_height = want[3] * picture.height / 2;
  Raise(deviation, std::abs(got.x0 - (cx - half_width)));
  Raise(deviation, std::abs(got.y0 - (cy - half_height)));
  Raise(deviation, std::abs(got.x1 - (cx + half_width)));
  Raise(deviation, std::abs(got.y1 - (cy + half_height)));
}

absl::Status Compare(DetectorModel* model, const DetectorConfig& config, const GoldenCase& golden,
                     Outcome* outcome) {
  ELA_ASSIGN_OR_RETURN(const RawMap map, model->Map(golden.picture));
  if (map.values.size() != golden.raw.values.size() || map.rows != golden.raw.rows ||
      map.columns != golden.raw.columns) {
    return absl::InvalidArgumentError(absl::StrCat("the map is ", map.channels, " x ", map.rows,
                                                   " x ", map.columns, ", not the golden one's"));
  }
  for (size_t i = 0; i < map.values.size(); ++i) {
    Raise(&(*outcome)[0], std::abs(double{map.values[i]} - golden.raw.values[i]));
  }
  HeadMaps head;
  head.scores = {map.values.data(), map.rows * map.columns, map.columns, 1};
  head.rows = map.rows;
  head.columns = map.columns;
  head.stride = map.stride;
  HeadReading reading;
  ELA_RETURN_IF_ERROR(ReadHead(config.variant, config.num_classes(), {&head, 1}, 0, &reading));
  for (size_t cell = 0; cell < golden.scores.size(); ++cell) {
    CompareBox(reading.boxes[cell], &golden.boxes[4 * cell], golden.picture, &(*outcome)[1]);
    const float* scores = &reading.scores[cell * config.num_classes()];
    const float best = *std::max_element(scores, scores + config.num_classes());
    Raise(&(*outcome)[2], std::abs(double{best} - golden.scores[cell]));
    // A wrong class is as far off as its score is below the best.
    Raise(&(*outcome)[2], double{best} - scores[golden.classes[cell]]);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Outcome> CheckDetector(const std::string& directory, LoadDetector load) {
  ELA_ASSIGN_OR_RETURN(const DetectorConfig config, LoadDetectorConfig(directory));
  if (config.variant == DetectorVariant::kLatMs) {
    return absl::UnimplementedError("the golden format knows the paper's variants alone");
  }
  ELA_ASSIGN_OR_RETURN(const auto file, SafetensorsFile::Open(directory + "/cases.safetensors"));
  ELA_ASSIGN_OR_RETURN(const auto model, load(directory));
  Outcome outcome = {
      {"raw: ", 0, kRawTolerance}, {"boxes: ", 0, kBoxTolerance}, {"scores: ", 0, kScoreTolerance}};
  int index = 0;
  for (; file->tensors().count(absl::StrCat("image", index)) > 0; ++index) {
    ELA_ASSIGN_OR_RETURN(const GoldenCase golden, ReadCase(*file, index, config.num_classes()));
    for (const int32_t class_id : golden.classes) {
      if (class_id < 0 || class_id >= config.num_classes()) {
        return absl::InvalidArgumentError(absl::StrCat("case ", index, " holds class ", class_id));
      }
    }
    ELA_RETURN_IF_ERROR(Compare(model.get(), config, golden, &outcome));
  }
  if (index == 0) return absl::InvalidArgumentError(absl::StrCat(directory, ": no case"));
  return outcome;
}

}  // namespace ela::golden
