// The serving kernels against the exact (float64) logits of every golden model.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "model/checkpoint/safetensors.h"
#include "model/config.h"
#include "tests/golden_paths.h"

namespace ela {
namespace {

std::vector<std::string> GoldenModels() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(ELA_SOURCE_DIR "/tests/golden/lm")) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

class ServingGoldenTest : public testing::TestWithParam<std::string> {};

golden::Case ReadCase(const nlohmann::json& json) {
  golden::Case read;
  read.token_ids = json["token_ids"].get<std::vector<int32_t>>();
  if (!json.contains("segments") || !json["segments"].is_array()) return read;
  for (const nlohmann::json& segment : json["segments"]) {
    read.segments.push_back({segment[0], segment[1] == "generated"});
  }
  return read;
}

// Largest |difference| / max(1, |logit|) of one case; -1 when the worker failed.
double LargestError(golden::Model* model, const nlohmann::json& golden_case,
                    const SafetensorsFile& expected) {
  const auto positions = golden_case["positions"].get<std::vector<int64_t>>();
  const TensorView& view = expected.tensors().at(golden_case["logits"].get<std::string>());
  std::vector<float> truth(view.num_elements());
  std::vector<double> exact(view.num_elements());
  if (view.dtype == DType::kF64) {
    std::copy_n(static_cast<const char*>(view.data), view.num_bytes,
                reinterpret_cast<char*>(exact.data()));
  } else {
    ConvertToFloat(view, truth.data());
    std::copy(truth.begin(), truth.end(), exact.begin());
  }
  const absl::StatusOr<std::vector<float>> logits = model->Logits(ReadCase(golden_case));
  EXPECT_TRUE(logits.ok()) << logits.status();
  if (!logits.ok()) return -1;
  const int64_t vocab = static_cast<int64_t>(exact.size() / positions.size());
  double largest = 0;
  for (size_t p = 0; p < positions.size(); ++p) {
    for (int64_t i = 0; i < vocab; ++i) {
      const double want = exact[p * vocab + i];
      const double got = logits->at(positions[p] * vocab + i);
      const double error = std::abs(got - want) / std::max(1.0, std::abs(want));
      if (!(error <= largest)) largest = error;  // also when it is NaN
    }
  }
  return largest;
}

TEST_P(ServingGoldenTest, LogitsAreWithinFloat32OfTheExactOnes) {
  const std::string directory = ELA_SOURCE_DIR "/tests/golden/lm/" + GetParam();
  for (const char* kernels : {"portable", "reference"}) {
    auto model = golden::LoadServingModelOn(kernels, directory);
    ASSERT_TRUE(model.ok()) << model.status();
    const double tolerance = LoadLanguageConfig(directory)->qk_scale >= 8 ? 3e-4 : 2e-5;
    const auto expected = *SafetensorsFile::Open(directory + "/logits.safetensors");
    std::ifstream cases(directory + "/cases.json");
    for (const auto& golden_case : nlohmann::json::parse(cases)) {
      const double error = LargestError(model->get(), golden_case, *expected);
      EXPECT_GE(error, 0);
      EXPECT_LE(error, tolerance) << kernels << " " << golden_case["logits"];
      RecordProperty(golden_case["logits"].get<std::string>(), std::to_string(error));
      std::printf("%s %s %s largest error %.2e\n", GetParam().c_str(), kernels,
                  golden_case["logits"].get<std::string>().c_str(), error);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Golden, ServingGoldenTest, testing::ValuesIn(GoldenModels()),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace ela
