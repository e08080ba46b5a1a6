#include "model/vision/detector_config.h"

#include <charconv>
#include <nlohmann/json.hpp>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/json_file.h"
#include "model/json_object.h"
#include "model/status_macros.h"

namespace ela {
namespace {

using nlohmann::json;

constexpr int64_t kMaxConfigBytes = 1 << 20;
constexpr int64_t kMaxClasses = 1000;
constexpr size_t kMaxClassNameBytes = 128;

constexpr Word<DetectorVariant> kVariants[] = {{"lat", DetectorVariant::kLat},
                                               {"lat-dsc", DetectorVariant::kLatDsc},
                                               {"lat-ms", DetectorVariant::kLatMs}};
constexpr Word<Activation> kActivations[] = {
    {"none", Activation::kNone}, {"relu", Activation::kRelu}, {"silu", Activation::kSilu}};
constexpr Word<ContextKind> kContexts[] = {
    {"none", ContextKind::kNone}, {"ela", ContextKind::kEla}, {"softmax", ContextKind::kSoftmax}};
constexpr Word<FitMode> kFits[] = {{"letterbox", FitMode::kLetterbox},
                                   {"stretch", FitMode::kStretch}};

// N integers within [min, max], each a multiple of `multiple`.
template <size_t N>
void ReadList(JsonObject& reader, absl::string_view key, int64_t min, int64_t max, int64_t multiple,
              std::array<int32_t, N>* field) {
  const json* value = reader.Find(key);
  if (value == nullptr) return;
  if (!value->is_array() || value->size() != N) {
    reader.Problem(key, absl::StrCat("must be a list of ", N, " integers"));
    return;
  }
  for (size_t i = 0; i < N; ++i) {
    int64_t number = 0;
    if (!reader.ToInteger(key, (*value)[i], min, max, &number)) return;
    if (number % multiple != 0) {
      reader.Problem(key, absl::StrCat("holds ", number, ", not a multiple of ", multiple));
      return;
    }
    (*field)[i] = static_cast<int32_t>(number);
  }
}

void ReadShape(JsonObject& reader, std::vector<std::string>* problems, MultiScaleShape* shape) {
  const json* value = reader.Find("shape");
  if (value == nullptr) return;
  if (!value->is_object()) {
    reader.Problem("shape", absl::StrCat("must be an object, not ", TypeName(*value)));
    return;
  }
  JsonObject nested(*value, "shape.", problems);
  ReadList(nested, "stem", 8, 512, 8, &shape->stem);
  ReadList(nested, "widths", 8, 512, 8, &shape->widths);
  ReadList(nested, "blocks", 0, 8, 1, &shape->blocks);
  if (nested.Integer("neck", false, 8, 512, &shape->neck) && shape->neck % 8 != 0) {
    nested.Problem("neck", absl::StrCat("is ", shape->neck, ", not a multiple of 8"));
  }
  nested.Integer("head_blocks", false, 1, 4, &shape->head_blocks);
  nested.Integer("neck_kernel", false, 3, 5, &shape->neck_kernel);
  if (shape->neck_kernel == 4) nested.Problem("neck_kernel", "is 4, allowed are 3 and 5");
  nested.OneOf("context", kContexts, &shape->context);
  if (nested.Integer("context_heads", false, 1, 64, &shape->context_heads) &&
      shape->neck % shape->context_heads != 0) {
    nested.Problem("context_heads", absl::StrCat("is ", shape->context_heads,
                                                 ", which does not divide neck ", shape->neck));
  }
  nested.OneOf("activation", kActivations, &shape->activation);
  nested.ReportUnknownKeys();
}

void ReadClassNames(JsonObject& reader, DetectorConfig* config) {
  int64_t num_classes = 0;
  const bool counted = reader.Integer("num_classes", false, 1, kMaxClasses, &num_classes);
  const json* names = reader.Find("class_names");
  if (names == nullptr) {
    if (counted && num_classes == 0) reader.Problem("class_names", "is missing");
    for (int64_t i = 0; i < num_classes; ++i) config->class_names.push_back(absl::StrCat(i));
    return;
  }
  if (!names->is_array() || names->empty() || names->size() > kMaxClasses) {
    reader.Problem("class_names", absl::StrCat("must be a list of 1 to ", kMaxClasses, " names"));
    return;
  }
  std::set<std::string> seen;
  for (const json& name : *names) {
    if (!name.is_string() || name.get_ref<const std::string&>().empty() ||
        name.get_ref<const std::string&>().size() > kMaxClassNameBytes) {
      reader.Problem("class_names", absl::StrCat("holds ", name.dump(), ", a name has 1 to ",
                                                 kMaxClassNameBytes, " bytes"));
      return;
    }
    config->class_names.push_back(name.get<std::string>());
    if (!seen.insert(config->class_names.back()).second) {
      reader.Problem("class_names", absl::StrCat("holds ", name.dump(), " twice"));
    }
  }
  if (num_classes != 0 && static_cast<size_t>(num_classes) != config->class_names.size()) {
    reader.Problem("num_classes", absl::StrCat("is ", num_classes, ", but class_names has ",
                                               config->class_names.size()));
  }
}

void ReadInputSize(JsonObject& reader, DetectorConfig* config) {
  const json* value = reader.Find("input_size");
  if (value == nullptr) return;
  const int64_t multiple = SizeMultiple(config->variant);
  auto read = [&](const json& side, int32_t* field) {
    int64_t number = 0;
    if (!reader.ToInteger("input_size", side, multiple, kMaxDetectorInputSide, &number)) return;
    if (number % multiple != 0) {
      reader.Problem("input_size", absl::StrCat("is ", number, ", ", Name(config->variant),
                                                " takes multiples of ", multiple));
      return;
    }
    *field = static_cast<int32_t>(number);
  };
  if (value->is_array()) {
    if (value->size() != 2) {
      reader.Problem("input_size", "must be one integer or [width, height]");
      return;
    }
    read((*value)[0], &config->input_width);
    read((*value)[1], &config->input_height);
    return;
  }
  read(*value, &config->input_width);
  config->input_height = config->input_width;
}

void ReadThreshold(JsonObject& reader, absl::string_view key, float* field) {
  const json* value = reader.Find(key);
  if (value == nullptr) return;
  if (!value->is_number() || !(value->get<double>() >= 0 && value->get<double>() <= 1)) {
    reader.Problem(key, absl::StrCat("is ", value->dump(), ", allowed are 0 to 1"));
    return;
  }
  *field = value->get<float>();
}

// The shortest decimal that reads back to the same float: 0.55, not 0.550000011920929.
double Short(float value) {
  char text[64];
  const auto end = std::to_chars(text, text + sizeof(text), value).ptr;
  double number = 0;
  std::from_chars(text, end, number);
  return number;
}

}  // namespace

absl::string_view Name(DetectorVariant variant) { return NameOf(kVariants, variant); }
absl::string_view Name(Activation activation) { return NameOf(kActivations, activation); }
absl::string_view Name(ContextKind context) { return NameOf(kContexts, context); }

int32_t SizeMultiple(DetectorVariant variant) {
  return variant == DetectorVariant::kLatMs ? 32 : 16;
}

absl::StatusOr<DetectorConfig> ParseDetectorConfig(absl::string_view text,
                                                   absl::string_view origin) {
  ELA_ASSIGN_OR_RETURN(const json object, ParseJson(text, origin));
  if (!object.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(origin, ": must be an object, not ", TypeName(object)));
  }
  std::vector<std::string> problems;
  JsonObject reader(object, "", &problems);
  DetectorConfig config;
  const json* type = reader.Find("model_type");
  if (type == nullptr || *type != "yolo_lat") {
    reader.Problem("model_type",
                   type == nullptr ? "is missing"
                                   : absl::StrCat("is ", type->dump(), ", expected \"yolo_lat\""));
  }
  reader.OneOf("variant", kVariants, &config.variant);
  ReadClassNames(reader, &config);
  ReadInputSize(reader, &config);
  reader.OneOf("fit", kFits, &config.fit);
  ReadThreshold(reader, "score_threshold", &config.score_threshold);
  ReadThreshold(reader, "iou_threshold", &config.iou_threshold);
  if (config.variant == DetectorVariant::kLatMs) ReadShape(reader, &problems, &config.shape);
  reader.ReportUnknownKeys();
  if (!problems.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(origin, ": ", absl::StrJoin(problems, absl::StrCat("\n", origin, ": "))));
  }
  return config;
}

absl::StatusOr<DetectorConfig> LoadDetectorConfig(const std::string& directory) {
  const std::string path = absl::StrCat(directory, "/config.json");
  ELA_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path, kMaxConfigBytes));
  return ParseDetectorConfig(text, path);
}

std::string ToJson(const DetectorConfig& config) {
  nlohmann::ordered_json object;
  object["model_type"] = "yolo_lat";
  object["variant"] = Name(config.variant);
  object["class_names"] = config.class_names;
  if (config.input_width == config.input_height) {
    object["input_size"] = config.input_width;
  } else {
    object["input_size"] = {config.input_width, config.input_height};
  }
  object["fit"] = NameOf(kFits, config.fit);
  object["score_threshold"] = Short(config.score_threshold);
  object["iou_threshold"] = Short(config.iou_threshold);
  if (config.variant == DetectorVariant::kLatMs) {
    const MultiScaleShape& shape = config.shape;
    object["shape"] = {{"stem", shape.stem},
                       {"widths", shape.widths},
                       {"blocks", shape.blocks},
                       {"neck", shape.neck},
                       {"head_blocks", shape.head_blocks},
                       {"neck_kernel", shape.neck_kernel},
                       {"context", Name(shape.context)},
                       {"context_heads", shape.context_heads},
                       {"activation", Name(shape.activation)}};
  }
  return object.dump(2) + "\n";
}

absl::StatusOr<std::string> ReadModelType(const std::string& directory) {
  const std::string path = absl::StrCat(directory, "/config.json");
  ELA_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path, kMaxConfigBytes));
  ELA_ASSIGN_OR_RETURN(const json object, ParseJson(text, path));
  if (!object.is_object() || !object.contains("model_type") || !object["model_type"].is_string()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": model_type is missing; known are \"ela_gpt\" and \"yolo_lat\""));
  }
  return object["model_type"].get<std::string>();
}

}  // namespace ela
