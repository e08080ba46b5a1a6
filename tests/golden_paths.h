// The implementations that golden_check puts to the test, behind two seams: a path loads a
// checkpoint directory and computes logits, or a detector's raw maps. A new path is one source file
// for each and one row in golden_check.cc.
#ifndef ELA_TESTS_GOLDEN_PATHS_H_
#define ELA_TESTS_GOLDEN_PATHS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace ela::golden {

struct Segment {
  int64_t length;
  bool generated;  // else part of a prompt
};

struct Case {
  std::vector<int32_t> token_ids;
  std::vector<Segment> segments;  // empty: one prompt
};

class Model {
 public:
  virtual ~Model() = default;
  // Logits after every token, row-major [token_ids.size(), V]. Each call is a sequence of its own.
  virtual absl::StatusOr<std::vector<float>> Logits(const Case& input) = 0;
};

// LibTorch modules in float32, attention by definition. All configurations.
absl::StatusOr<std::unique_ptr<Model>> LoadTorchModel(const std::string& directory);

// The worker that serves, on its fastest kernels; segments go through it in passes where its lobe
// sees ahead. All configurations.
absl::StatusOr<std::unique_ptr<Model>> LoadServingModel(const std::string& directory);
// The same on one table of kernels (LanguageWorkerOptions::kernels).
absl::StatusOr<std::unique_ptr<Model>> LoadServingModelOn(const std::string& kernels,
                                                          const std::string& directory);

// [3, height, width], RGB, 0 to 1.
struct Picture {
  int32_t width = 0, height = 0;
  std::vector<float> values;
};

// [channels, rows, columns].
struct RawMap {
  int32_t channels = 0, rows = 0, columns = 0;
  int32_t stride = 0;  // input pixels per cell
  std::vector<float> values;
};

class DetectorModel {
 public:
  virtual ~DetectorModel() = default;
  // One map: the heads of the paper's variants have one scale.
  virtual absl::StatusOr<RawMap> Map(const Picture& picture) = 0;
};

absl::StatusOr<std::unique_ptr<DetectorModel>> LoadTorchDetector(const std::string& directory);
absl::StatusOr<std::unique_ptr<DetectorModel>> LoadServingDetector(const std::string& directory);

}  // namespace ela::golden

#endif  // ELA_TESTS_GOLDEN_PATHS_H_
