#include "model/language/mixture_of_experts.h"

#include <algorithm>
#include <cstring>

namespace ela {

MixtureOfExperts::MixtureOfExperts(const LanguageConfig& config, const Compute& compute,
                                   int64_t max_rows)
    : config_(config),
      compute_(compute),
      ld_scores_(RoundUp(config.num_experts, kPanel)),
      ld_hidden_(RoundUp(2 * config.moe_intermediate_size, kPanel)),
      ld_out_(RoundUp(config.hidden_size, kPanel)) {
  const int64_t places = max_rows * config.num_experts_per_tok;
  scores_ = AlignedBuffer(max_rows * ld_scores_);
  gathered_ = AlignedBuffer(places * config.hidden_size);
  hidden_ = AlignedBuffer(places * ld_hidden_);
  activated_ = AlignedBuffer(places * config.moe_intermediate_size);
  out_ = AlignedBuffer(places * ld_out_);
  place_.resize(places);
  row_of_.resize(places);
  first_.resize(config.num_experts + 1);
}

void MixtureOfExperts::Run(const LayerWeights& layer, int64_t m, const float* a, int64_t lda,
                           float* f, int64_t ldf, int32_t* chosen, float* weights,
                           int64_t* counts) {
  const int64_t d = config_.hidden_size, k = config_.num_experts_per_tok;
  Route(layer, m, a, lda, chosen, weights);
  SortByExpert(m, chosen);
  for (int e = 0; e < config_.num_experts; ++e) {
    const int64_t rows = first_[e + 1] - first_[e];
    counts[e] += rows;
    if (rows > 0) RunExpert(layer.experts[e], first_[e], rows, a, lda);
  }
  const bool inner = config_.moe_bias == MoeBias::kInner;
  ForRows(compute_.threads, m, [&](int64_t first, int64_t rows) {
    for (int64_t r = first; r < first + rows; ++r) {
      float* flow = f + r * ldf;
      if (config_.moe_residual) {
        std::memcpy(flow, a + r * lda, d * sizeof(float));
      } else {
        std::memset(flow, 0, d * sizeof(float));
      }
      for (int64_t i = r * k; i < (r + 1) * k; ++i) {
        const float* label = layer.labels.empty() ? nullptr : layer.labels.data() + chosen[i] * d;
        compute_.kernels.add_expert(d, weights[i], out_.get() + place_[i] * ld_out_, label, inner,
                                    flow);
      }
    }
  });
}

void MixtureOfExperts::Route(const LayerWeights& layer, int64_t m, const float* a, int64_t lda,
                             int32_t* chosen, float* weights) {
  const int64_t k = config_.num_experts_per_tok;
  DenseLayer(compute_, m, a, lda, layer.router, scores_.get(), ld_scores_);
  ForRows(compute_.threads, m, [&](int64_t first, int64_t rows) {
    for (int64_t r = first; r < first + rows; ++r) {
      compute_.kernels.route(config_.num_experts, k, scores_.get() + r * ld_scores_,
                             layer.router_bias.data(), chosen + r * k, weights + r * k);
    }
  });
}

void MixtureOfExperts::SortByExpert(int64_t m, const int32_t* chosen) {
  const int64_t k = config_.num_experts_per_tok;
  std::fill(first_.begin(), first_.end(), 0);
  for (int64_t i = 0; i < m * k; ++i) ++first_[chosen[i] + 1];
  for (size_t e = 1; e < first_.size(); ++e) first_[e] += first_[e - 1];
  for (int64_t i = 0; i < m * k; ++i) {  // takes each expert's places in turn, moving its start
    const int64_t place = first_[chosen[i]]++;
    place_[i] = place;
    row_of_[place] = i / k;
  }
  for (size_t e = first_.size() - 1; e > 0; --e) first_[e] = first_[e - 1];
  first_[0] = 0;
}

void MixtureOfExperts::RunExpert(const ExpertWeights& expert, int64_t first, int64_t rows,
                                 const float* a, int64_t lda) {
  const int64_t d = config_.hidden_size, h = config_.moe_intermediate_size;
  float* gathered = gathered_.get() + first * d;
  float* hidden = hidden_.get() + first * ld_hidden_;
  float* activated = activated_.get() + first * h;
  for (int64_t i = 0; i < rows; ++i) {
    std::memcpy(gathered + i * d, a + row_of_[first + i] * lda, d * sizeof(float));
  }
  DenseLayer(compute_, rows, gathered, d, expert.in, hidden, ld_hidden_);
  ForRows(compute_.threads, rows, [&](int64_t begin, int64_t n) {
    compute_.kernels.swiglu(n, h, hidden + begin * ld_hidden_, ld_hidden_, activated + begin * h,
                            h);
  });
  DenseLayer(compute_, rows, activated, h, expert.out, out_.get() + first * ld_out_, ld_out_);
}

}  // namespace ela
