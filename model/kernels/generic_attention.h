// Exact linear attention of any kernel that factors, k(a, b) = phi(a)·psi(b), in float64 with plain
// sums (paper section 3): S = sum psi(k)' v, C = sum psi(k), y = phi(q)·S / phi(q)·C. A new kernel
// runs here at once; it earns a stable form and a row in the table of kernels.h later. The tests
// also hold the serving kernels against this.
#ifndef ELA_MODEL_KERNELS_GENERIC_ATTENTION_H_
#define ELA_MODEL_KERNELS_GENERIC_ATTENTION_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/types/span.h"

namespace ela {

struct FeatureMaps {
  int64_t features = 0;  // F
  // Writes the F features of a row of D numbers.
  std::function<void(absl::Span<const double> row, absl::Span<double> features)> phi, psi;
};

// One head, one sequence. Thread-compatible.
class GenericAttention {
 public:
  GenericAttention(FeatureMaps maps, int64_t width, int64_t value_width);

  // Recurrent form, one token: absorbs (k, v), then answers q. k, q: [D], v: [Dv]; returns y: [Dv].
  // The output is NaN where the denominator is 0.
  std::vector<double> Step(absl::Span<const double> q, absl::Span<const double> k,
                           absl::Span<const double> v);

  // Chunked form: T tokens at once, row-major [T, D] and [T, Dv]; y: [T, Dv]. The same function as
  // T calls of Step up to rounding.
  std::vector<double> Chunk(absl::Span<const double> q, absl::Span<const double> k,
                            absl::Span<const double> v);

 private:
  const FeatureMaps maps_;
  const int64_t width_, value_width_;
  std::vector<double> s_;  // [F, Dv]
  std::vector<double> c_;  // [F]
};

}  // namespace ela

#endif  // ELA_MODEL_KERNELS_GENERIC_ATTENTION_H_
