// The implementations that golden_check puts to the test, behind one seam: a path loads a
// checkpoint directory and computes logits. A new path is one source file and one row in
// golden_check.cc.
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

// The worker that serves, on its fastest kernels. kUnimplemented for configurations it does not
// serve.
absl::StatusOr<std::unique_ptr<Model>> LoadServingModel(const std::string& directory);

}  // namespace ela::golden

#endif  // ELA_TESTS_GOLDEN_PATHS_H_
