// The transformation flow of a layer (paper 5.1): each row goes to the K experts that the router
// prefers. Rows are sorted by expert (a counting sort), gathered, run through small products, and
// summed back in rank order, so that a row's bits do not depend on the other rows.
#ifndef ELA_MODEL_LANGUAGE_MIXTURE_OF_EXPERTS_H_
#define ELA_MODEL_LANGUAGE_MIXTURE_OF_EXPERTS_H_

#include <cstdint>
#include <vector>

#include "model/config.h"
#include "model/kernels/aligned_buffer.h"
#include "model/language/dense_layer.h"
#include "model/language/language_weights.h"

namespace ela {

// Owns its scratch. Engine thread only.
class MixtureOfExperts {
 public:
  MixtureOfExperts(const LanguageConfig& config, const Compute& compute, int64_t max_rows);

  // f[m, d] from a[m, d]: f = (a if moe_residual) + sum over ranks of weight * expert(a), with the
  // labels where moe_bias asks for them. chosen, weights: [m, K], in rank order. counts: [E], rows
  // routed to each expert are added.
  void Run(const LayerWeights& layer, int64_t m, const float* a, int64_t lda, float* f, int64_t ldf,
           int32_t* chosen, float* weights, int64_t* counts);

 private:
  void Route(const LayerWeights& layer, int64_t m, const float* a, int64_t lda, int32_t* chosen,
             float* weights);
  void SortByExpert(int64_t m, const int32_t* chosen);
  void RunExpert(const ExpertWeights& expert, int64_t first, int64_t rows, const float* a,
                 int64_t lda);

  const LanguageConfig config_;
  const Compute compute_;
  const int64_t ld_scores_, ld_hidden_, ld_out_;

  // Scratch of one Run. "Place": index into the rows sorted by expert.
  AlignedBuffer scores_;         // [m, ld_scores]
  AlignedBuffer gathered_;       // [m*K, d]
  AlignedBuffer hidden_;         // [m*K, 2h padded]
  AlignedBuffer activated_;      // [m*K, h]
  AlignedBuffer out_;            // [m*K, d padded]
  std::vector<int64_t> place_;   // [m*K]: of (row, rank)
  std::vector<int64_t> row_of_;  // [m*K]: of a place
  std::vector<int64_t> first_;   // [E + 1]: first place of an expert
};

}  // namespace ela

#endif  // ELA_MODEL_LANGUAGE_MIXTURE_OF_EXPERTS_H_
