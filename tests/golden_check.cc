// golden_check [--path torch|serving] DIR [DIR …]: compares what a path computes with the exact
// values of directories in the golden format: a language model's logits (config.json,
// model.safetensors, cases.json, logits.safetensors), or a detector's maps, boxes and scores (see
// golden_detector.h). Prints one line per directory; a language model's error is the largest
// |got − want| / max(1, |want|) of all its cases. Exits 0 only if every directory was checked and
// is within its tolerance; a configuration that the path does not serve was not checked.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "model/checkpoint/safetensors.h"
#include "model/config.h"
#include "model/status_macros.h"
#include "model/vision/detector_config.h"
#include "tests/golden_detector.h"
#include "tests/golden_paths.h"

namespace ela::golden {
namespace {

struct Path {
  absl::StatusOr<std::unique_ptr<Model>> (*load)(const std::string& directory);
  LoadDetector load_detector;
};

const std::map<std::string, Path> kPaths = {
#ifdef ELA_GOLDEN_TORCH
    {"torch", {&LoadTorchModel, &LoadTorchDetector}},
#endif
    {"serving", {&LoadServingModel, &LoadServingDetector}},
};

// Logits of random float32 weights agree with float64 to 2e-5; with q and k scaled by 8 and more
// the exponents are in the hundreds and float32 itself is no better than 3e-4.
double Tolerance(const LanguageConfig& config) { return config.qk_scale >= 8 ? 3e-4 : 2e-5; }

std::vector<double> Exact(const TensorView& view) {
  std::vector<double> values(view.num_elements());
  if (view.dtype == DType::kF64) {
    std::memcpy(values.data(), view.data, view.num_bytes);
    return values;
  }
  std::vector<float> floats(values.size());
  ConvertToFloat(view, floats.data());
  std::copy(floats.begin(), floats.end(), values.begin());
  return values;
}

Case ParseCase(const nlohmann::json& json) {
  Case parsed;
  parsed.token_ids = json.at("token_ids").get<std::vector<int32_t>>();
  if (json.contains("segments") && json["segments"].is_array()) {
    for (const nlohmann::json& segment : json["segments"]) {
      parsed.segments.push_back({segment.at(0), segment.at(1) == "generated"});
    }
  }
  return parsed;
}

absl::StatusOr<double> LargestError(Model* model, const nlohmann::json& json,
                                    const SafetensorsFile& logits, int64_t vocab_size) {
  const Case input = ParseCase(json);
  const std::string name = json.at("logits");
  const auto found = logits.tensors().find(name);
  if (found == logits.tensors().end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("logits.safetensors has no tensor \"", name, "\""));
  }
  const std::vector<double> want = Exact(found->second);
  std::vector<int64_t> positions;
  if (json.contains("positions") && json["positions"].is_array()) {
    positions = json["positions"].get<std::vector<int64_t>>();
  } else {
    for (size_t i = 0; i < input.token_ids.size(); ++i) positions.push_back(i);
  }
  if (want.size() != positions.size() * vocab_size) {
    return absl::InvalidArgumentError(absl::StrCat("\"", name, "\" has ", want.size(),
                                                   " elements, not ", positions.size(),
                                                   " positions of ", vocab_size));
  }
  ELA_ASSIGN_OR_RETURN(const std::vector<float> got, model->Logits(input));
  double largest = 0;
  for (size_t row = 0; row < positions.size(); ++row) {
    for (int64_t i = 0; i < vocab_size; ++i) {
      const double exact = want[row * vocab_size + i];
      const double error = std::abs(got.at(positions[row] * vocab_size + i) - exact);
      if (!(error / std::max(1.0, std::abs(exact)) <= largest)) {  // also when it is NaN
        largest = error / std::max(1.0, std::abs(exact));
      }
    }
  }
  return largest;
}

absl::StatusOr<Outcome> CheckLanguageModel(const std::string& directory, const Path& path) {
  ELA_ASSIGN_OR_RETURN(const LanguageConfig config, LoadLanguageConfig(directory));
  ELA_ASSIGN_OR_RETURN(const auto logits, SafetensorsFile::Open(directory + "/logits.safetensors"));
  std::ifstream file(directory + "/cases.json");
  if (!file) return absl::NotFoundError(absl::StrCat(directory, "/cases.json: cannot be opened"));
  ELA_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, path.load(directory));
  double largest = 0;
  try {
    const nlohmann::json cases = nlohmann::json::parse(file);
    if (cases.empty()) return absl::InvalidArgumentError(absl::StrCat(directory, ": no case"));
    for (const nlohmann::json& one : cases) {
      ELA_ASSIGN_OR_RETURN(const double error,
                           LargestError(model.get(), one, *logits, config.vocab_size));
      if (!(error <= largest)) largest = error;
    }
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(directory, "/cases.json: ", error.what()));
  }
  return Outcome{{"", largest, Tolerance(config)}};
}

absl::StatusOr<Outcome> CheckDirectory(const std::string& directory, const Path& path) {
  ELA_ASSIGN_OR_RETURN(const std::string type, ReadModelType(directory));
  return type == "yolo_lat" ? CheckDetector(directory, path.load_detector)
                            : CheckLanguageModel(directory, path);
}

int Main(int argc, char** argv) {
  CLI::App app{"Compares what is computed with the exact values of golden models."};
  std::string path = kPaths.rbegin()->first;
  std::vector<std::string> names, directories;
  for (const auto& [name, load] : kPaths) names.push_back(name);
  app.add_option("--path", path, "what computes")
      ->check(CLI::IsMember(names))
      ->capture_default_str();
  app.add_option("directories", directories, "golden directories")->required();
  CLI11_PARSE(app, argc, argv);

  bool all_within = true;
  for (const std::string& directory : directories) {
    const absl::StatusOr<Outcome> outcome = CheckDirectory(directory, kPaths.at(path));
    if (!outcome.ok()) {
      std::printf("%s  %s  not checked: %s\n", directory.c_str(), path.c_str(),
                  std::string(outcome.status().message()).c_str());
      all_within = false;
      continue;
    }
    std::printf("%s  %s", directory.c_str(), path.c_str());
    bool within = !outcome->empty();
    for (const Deviation& deviation : *outcome) {
      std::printf("  %slargest error %.2e  tolerance %.1g", deviation.what.c_str(), deviation.error,
                  deviation.tolerance);
      within = within && deviation.error <= deviation.tolerance;  // false for NaN
    }
    std::printf("  %s\n", within ? "ok" : "TOO LARGE");
    all_within = all_within && within;
  }
  return all_within ? 0 : 1;
}

}  // namespace
}  // namespace ela::golden

int main(int argc, char** argv) { return ela::golden::Main(argc, argv); }
