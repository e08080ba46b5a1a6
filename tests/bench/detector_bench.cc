// Speed of a detector on the serving kernels, one thread, one JSON object per figure:
//   detector_bench [--model DIR] [--variant NAME] [--picture FILE] [--width N] [--height N]
//                  [--kernels NAME] [--seconds S] [--runs]
// Without --model: random weights of --variant (three classes). Without --picture: noise, on which
// a trained network sees hundreds of objects; what follows the network takes its time accordingly.
// The figures are medians over single pictures: the network alone, and the whole of Detect. --runs
// instead prints the milliseconds of one picture after every line that it reads, so that a script
// can take turns with other programs.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "model/image/decode.h"
#include "model/image/fit.h"
#include "model/status_macros.h"
#include "model/vision/cpu_detector.h"
#include "model/vision/cpu_network.h"
#include "model/vision/network_plan.h"
#include "tests/model/vision/random_detector.h"

namespace ela {
namespace {

using Clock = std::chrono::steady_clock;

double MillisecondsSince(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

struct Options {
  std::string model, variant = "lat-ms", picture, kernels;
  int32_t width = 320, height = 320;
  double seconds = 2;
  bool runs = false;
};

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "detector_bench: %s\n", std::string(status.message()).c_str());
  return 1;
}

// The network's input.
absl::StatusOr<std::vector<uint8_t>> MakePicture(const Options& options, FitMode fit) {
  if (options.picture.empty()) return RandomPicture(options.width, options.height, 1);
  std::ifstream file(options.picture, std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  ELA_ASSIGN_OR_RETURN(
      const DecodedImage decoded,
      DecodeImage({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, ImageLimits()));
  std::vector<uint8_t> input(size_t{3} * options.width * options.height);
  FitImage(
      decoded,
      PlaceInInput(decoded.source_width, decoded.source_height, options.width, options.height, fit),
      absl::MakeSpan(input));
  return input;
}

int Measure(const Options& options, const std::string& directory) {
  const absl::StatusOr<DetectorConfig> config = LoadDetectorConfig(directory);
  if (!config.ok()) return Fail(config.status());
  const NetworkPlan plan = MakeNetworkPlan(*config);
  const absl::StatusOr<Weights> weights = Weights::Load(directory, ExpectedTensors(plan));
  if (!weights.ok()) return Fail(weights.status());
  const ConvolutionKernels* kernels = FindConvolutionKernels(options.kernels);
  if (kernels == nullptr) return Fail(absl::NotFoundError("this machine has no such kernels"));
  const CpuNetwork network(plan, *weights, *kernels);
  CpuNetwork::Scratch scratch;
  const absl::StatusOr<std::vector<uint8_t>> made = MakePicture(options, config->fit);
  if (!made.ok()) return Fail(made.status());
  const std::vector<uint8_t>& picture = *made;
  const auto run = [&] {
    const Clock::time_point start = Clock::now();
    network.Run({options.width, options.height, picture.data(), nullptr}, &scratch);
    return MillisecondsSince(start);
  };
  for (int i = 0; i < 10; ++i) run();
  if (options.runs) {
    for (std::string line; std::getline(std::cin, line);) {
      std::printf("%.4f\n", run());
      std::fflush(stdout);
    }
    return 0;
  }

  std::vector<double> network_ms;
  const Clock::time_point begin = Clock::now();
  while (MillisecondsSince(begin) < 1e3 * options.seconds) network_ms.push_back(run());
  const double multiply_adds =
      static_cast<double>(NumMultiplyAdds(plan, options.width, options.height));
  const double median = Median(network_ms);
  std::printf(
      "{\"figure\": \"network\", \"variant\": \"%s\", \"kernels\": \"%s\", \"width\": %d, "
      "\"height\": %d, \"threads\": 1, \"median_ms\": %.3f, \"best_ms\": %.3f, \"gflops\": %.1f, "
      "\"parameters\": %ld, \"multiply_adds\": %.0f}\n",
      std::string(Name(config->variant)).c_str(), kernels->name, options.width, options.height,
      median, *std::min_element(network_ms.begin(), network_ms.end()),
      2e-6 * multiply_adds / median, static_cast<long>(NumInferenceParameters(plan)),
      multiply_adds);
  if (!options.kernels.empty()) return 0;  // a detector chooses its kernels itself

  const absl::StatusOr<std::unique_ptr<Detector>> detector = CreateCpuDetector(directory, {});
  if (!detector.ok()) return Fail(detector.status());
  const DetectionOptions defaults = (*detector)->Info().defaults;
  const DetectItem item = {picture, &defaults};
  DetectOutput output;
  std::vector<double> call_ms, postprocess_ms;
  const Clock::time_point again = Clock::now();
  while (MillisecondsSince(again) < 1e3 * options.seconds) {
    const Clock::time_point start = Clock::now();
    const DetectTimes times =
        (*detector)->Detect(0, options.width, options.height, {&item, 1}, {&output, 1});
    call_ms.push_back(MillisecondsSince(start));
    postprocess_ms.push_back(absl::ToDoubleMilliseconds(times.postprocess));
  }
  std::printf(
      "{\"figure\": \"detect\", \"variant\": \"%s\", \"width\": %d, \"height\": %d, \"threads\": "
      "1, \"median_ms\": %.3f, \"postprocess_ms\": %.4f, \"candidates\": %d, \"boxes\": %zu}\n",
      std::string(Name(config->variant)).c_str(), options.width, options.height, Median(call_ms),
      Median(postprocess_ms), output.num_candidates, output.detections.size());
  return 0;
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app{"Speed of a detector, one thread."};
  app.add_option("--model", options.model, "checkpoint directory; absent: random weights");
  app.add_option("--variant", options.variant, "of the random weights")
      ->check(CLI::IsMember({"lat", "lat-dsc", "lat-ms"}))
      ->capture_default_str();
  app.add_option("--picture", options.picture, "JPEG or PNG; absent: noise");
  app.add_option("--kernels", options.kernels, "avx512, portable, reference; absent: the fastest");
  app.add_option("--width", options.width)->capture_default_str();
  app.add_option("--height", options.height)->capture_default_str();
  app.add_option("--seconds", options.seconds, "per figure")->capture_default_str();
  app.add_flag("--runs", options.runs, "one picture for every line read");
  CLI11_PARSE(app, argc, argv);
  if (!options.model.empty()) return Measure(options, options.model);
  DetectorVariant variant = DetectorVariant::kLatMs;
  if (options.variant == "lat") variant = DetectorVariant::kLat;
  if (options.variant == "lat-dsc") variant = DetectorVariant::kLatDsc;
  std::string directory = std::filesystem::temp_directory_path() / "ela_detector_XXXXXX";
  if (mkdtemp(directory.data()) == nullptr)
    return Fail(absl::UnavailableError("no temporary folder"));
  WriteRandomDetector(MakeDetectorConfig(variant, 3), 1, directory);
  const int result = Measure(options, directory);
  std::filesystem::remove_all(directory);
  return result;
}

}  // namespace
}  // namespace ela

int main(int argc, char** argv) { return ela::Main(argc, argv); }
