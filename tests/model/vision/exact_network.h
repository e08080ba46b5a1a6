// A detector's network by its definition: float64, one loop a layer, BatchNorm as it stands in the
// checkpoint. Slow; the truth of the serving network.
#ifndef ELA_TESTS_MODEL_VISION_EXACT_NETWORK_H_
#define ELA_TESTS_MODEL_VISION_EXACT_NETWORK_H_

#include <cstdint>
#include <vector>

#include "model/checkpoint/weights.h"
#include "model/vision/network_plan.h"

namespace ela {

struct ExactMap {
  int64_t channels = 0, rows = 0, columns = 0;
  std::vector<double> values;  // [channels, rows, columns]
  double& At(int64_t c, int64_t y, int64_t x) { return values[(c * rows + y) * columns + x]; }
  double At(int64_t c, int64_t y, int64_t x) const { return values[(c * rows + y) * columns + x]; }
};

// Maps of all layers. picture: [3, height, width].
std::vector<ExactMap> RunExactly(const NetworkPlan& plan, const Weights& weights,
                                 const ExactMap& picture);

// y_i = sum_d exp(q_id) (sum_j exp(k_jd) v_j) / sum_d exp(q_id) (sum_j exp(k_jd)) of one head, with
// logarithms of the sums. q, k, v: [positions, width]; row i at i * stride.
std::vector<double> AttendExactly(int64_t positions, int64_t width, int64_t stride, const double* q,
                                  const double* k, const double* v);

}  // namespace ela

#endif  // ELA_TESTS_MODEL_VISION_EXACT_NETWORK_H_
