#include "model/language/language_model.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace ela {

LanguageModel::LanguageModel(const LanguageConfig& config, const LanguageWeights& weights,
                             const StateLayout& layout, const Compute& compute, int64_t max_rows)
    : config_(config),
      weights_(weights),
      layout_(layout),
      compute_(compute),
      max_rows_(max_rows),
      ld_(RoundUp(config.hidden_size, kPanel)),
      ld_input_(weights.layers[0].input.padded_n()),
      ld_lobe_(RoundUp(3 * config.hidden_size, kPanel)),
      attention_(layout, compute),
      experts_(config, compute, max_rows) {
  const int64_t d = config.hidden_size, pairs = config.head_size() / 2;
  x_ = AlignedBuffer(max_rows * d);
  normed_ = AlignedBuffer(max_rows * d);
  projected_ = AlignedBuffer(max_rows * ld_input_);
  if (config.short_conv > 0) convolved_ = AlignedBuffer(max_rows * 3 * d);
  if (config.decay == Decay::kGated) decays_ = AlignedBuffer(max_rows * ld_);
  attended_ = AlignedBuffer(max_rows * d);
  a_ = AlignedBuffer(max_rows * ld_);
  flow_ = AlignedBuffer(max_rows * d);
  if (config.memory_lobe.has_value()) lobe_rows_ = AlignedBuffer(max_rows * ld_lobe_);
  if (config.position_encoding == PositionEncoding::kRope) {
    for (int64_t i = 0; i < pairs; ++i) {
      frequencies_.push_back(
          std::pow(config.rope_theta, -2.0 * i / static_cast<double>(config.head_size())));
    }
    cosine_ = AlignedBuffer(max_rows * pairs);
    sine_ = AlignedBuffer(max_rows * pairs);
  }
  head_rows_ = AlignedBuffer(kLogitRows * d);
  const int64_t routed = config.num_hidden_layers * max_rows * config.num_experts_per_tok;
  chosen_.resize(routed);
  chosen_weights_.resize(routed);
  expert_rows_.resize(config.num_hidden_layers * config.num_experts);
}

void LanguageModel::Run(absl::Span<const SequenceRows> sequences,
                        absl::Span<const TokenId> tokens) {
  const int64_t d = config_.hidden_size, m = static_cast<int64_t>(tokens.size());
  for (int64_t r = 0; r < m; ++r) weights_.embedding.GetOutput(tokens[r], x_.get() + r * d);
  Angles(sequences);
  std::fill(expert_rows_.begin(), expert_rows_.end(), 0);
  for (int layer = 0; layer < config_.num_hidden_layers; ++layer) RunLayer(layer, sequences, m);
}

void LanguageModel::RunLayer(int layer, absl::Span<const SequenceRows> sequences, int64_t m) {
  const int64_t d = config_.hidden_size, k = config_.num_experts_per_tok;
  const LayerWeights& weights = weights_.layers[layer];
  const Kernels& kernels = compute_.kernels;
  Attend(layer, sequences, m);
  if (config_.residual == Residual::kStandard) {
    ForRows(compute_.threads, m, [&](int64_t first, int64_t rows) {
      for (int64_t r = first; r < first + rows; ++r) {
        kernels.add(d, a_.get() + r * ld_, nullptr, x_.get() + r * d);
      }
      kernels.rms_norm(rows, d, x_.get() + first * d, d, weights.moe_norm.data(),
                       config_.rms_norm_eps, a_.get() + first * ld_, ld_);
    });
  }
  const int64_t routed = layer * max_rows_ * k;
  experts_.Run(weights, m, a_.get(), ld_, flow_.get(), d, chosen_.data() + routed,
               chosen_weights_.data() + routed, expert_rows_.data() + layer * config_.num_experts);
  const bool lobe = config_.memory_lobe.has_value();
  if (lobe) {
    float* rows = lobe_rows_.get();
    DenseLayer(compute_, m, flow_.get(), d, weights.lobe, rows, ld_lobe_);
    attention_.Run(layer, layout_.lobe(), sequences,
                   {rows, rows + d, rows + 2 * d, ld_lobe_, nullptr, 0, attended_.get(), d});
  }
  ForRows(compute_.threads, m, [&](int64_t first, int64_t rows) {
    kernels.add(rows * d, flow_.get() + first * d, lobe ? attended_.get() + first * d : nullptr,
                x_.get() + first * d);
  });
}

// a = W_o · (attention of norm(x), gated where configured), into a_.
void LanguageModel::Attend(int layer, absl::Span<const SequenceRows> sequences, int64_t m) {
  const int64_t d = config_.hidden_size;
  const LayerWeights& weights = weights_.layers[layer];
  const Kernels& kernels = compute_.kernels;
  ForRows(compute_.threads, m, [&](int64_t first, int64_t rows) {
    kernels.rms_norm(rows, d, x_.get() + first * d, d, weights.attention_norm.data(),
                     config_.rms_norm_eps, normed_.get() + first * d, d);
  });
  float* projected = projected_.get();
  DenseLayer(compute_, m, normed_.get(), d, weights.input, projected, ld_input_);
  if (config_.decay == Decay::kGated) {
    DenseLayer(compute_, m, projected + weights.decay_column, ld_input_, weights.decay_out,
               decays_.get(), ld_);
    ForRows(compute_.threads, m, [&](int64_t first, int64_t rows) {
      kernels.log_decay(rows, d, weights.decay_bias.data(), decays_.get() + first * ld_, ld_);
    });
  }
  AttentionRows rows;
  float* qkv = projected;
  rows.ld = ld_input_;
  if (config_.short_conv > 0) {
    Convolve(layer, sequences);
    qkv = convolved_.get();
    rows.ld = 3 * d;
  }
  if (!frequencies_.empty() || config_.qk_scale != 1.0f) {
    const int64_t pairs = static_cast<int64_t>(frequencies_.size());
    ForRows(compute_.threads, m, [&](int64_t first, int64_t count) {
      for (int64_t r = first; r < first + count; ++r) {  // q and k lie side by side
        kernels.rope(2 * config_.num_attention_heads, config_.head_size(),
                     pairs == 0 ? nullptr : cosine_.get() + r * pairs,
                     pairs == 0 ? nullptr : sine_.get() + r * pairs, config_.qk_scale,
                     qkv + r * rows.ld);
      }
    });
  }
  rows.q = qkv;
  rows.k = qkv + d;
  rows.v = qkv + 2 * d;
  if (config_.decay == Decay::kGated) {
    rows.g = decays_.get();
    rows.ldg = ld_;
  }
  rows.y = attended_.get();
  rows.ldy = d;
  attention_.Run(layer, layout_.attention(), sequences, rows);
  if (config_.output_gate) {
    ForRows(compute_.threads, m, [&](int64_t first, int64_t count) {
      kernels.gate(count, d, projected + first * ld_input_ + weights.gate_column, ld_input_,
                   attended_.get() + first * d, d);
    });
  }
  DenseLayer(compute_, m, attended_.get(), d, weights.output, a_.get(), ld_);
}

// The slot keeps the rows before the convolution: W-1 from before the block, then the block's own,
// so that a rewind within the block finds them.
void LanguageModel::Convolve(int layer, absl::Span<const SequenceRows> sequences) {
  const int64_t width = 3 * config_.hidden_size, window = config_.short_conv;
  compute_.threads.Run(static_cast<int64_t>(sequences.size()), [&](int64_t task, int) {
    const SequenceRows& sequence = sequences[task];
    float* kept = layout_.Convolution(sequence.state, layer);
    int64_t position = sequence.first_position, row = sequence.first_row;
    const int64_t end = row + sequence.rows;
    while (row < end) {
      const int64_t t = position % kBlock, n = std::min(kBlock - t, end - row);
      for (int64_t i = 0; i < n; ++i) {
        std::memcpy(kept + (window - 1 + t + i) * width, projected_.get() + (row + i) * ld_input_,
                    width * sizeof(float));
      }
      compute_.kernels.convolve(n, width, window, weights_.layers[layer].convolution.data(),
                                kept + t * width, width, convolved_.get() + row * width, width);
      if (t + n == kBlock) {
        std::memmove(kept, kept + kBlock * width, (window - 1) * width * sizeof(float));
      }
      row += n;
      position += n;
    }
  });
}

void LanguageModel::Angles(absl::Span<const SequenceRows> sequences) {
  const int64_t pairs = static_cast<int64_t>(frequencies_.size());
  if (pairs == 0) return;
  for (const SequenceRows& sequence : sequences) {
    for (int64_t i = 0; i < sequence.rows; ++i) {
      const int64_t at = (sequence.first_row + i) * pairs;
      compute_.kernels.rope_angles(sequence.first_position + i, pairs, frequencies_.data(),
                                   cosine_.get() + at, sine_.get() + at);
    }
  }
}

void LanguageModel::Logits(absl::Span<const int64_t> rows, float* logits) {
  const int64_t d = config_.hidden_size, n = static_cast<int64_t>(rows.size());
  for (int64_t i = 0; i < n; ++i) {
    const float* x = x_.get() + rows[i] * d;
    float* row = head_rows_.get() + i * d;
    if (config_.final_norm) {
      compute_.kernels.rms_norm(1, d, x, d, weights_.final_norm.data(), config_.rms_norm_eps, row,
                                d);
    } else {
      std::memcpy(row, x, d * sizeof(float));
    }
  }
  DenseLayer(compute_, n, head_rows_.get(), d, weights_.embedding, logits, logits_ld());
}

const int32_t* LanguageModel::chosen(int layer, int64_t row) const {
  return chosen_.data() + (layer * max_rows_ + row) * config_.num_experts_per_tok;
}

const float* LanguageModel::chosen_weights(int layer, int64_t row) const {
  return chosen_weights_.data() + (layer * max_rows_ + row) * config_.num_experts_per_tok;
}

void LanguageModel::Derive(char* state, int64_t position) {
  const int tail = static_cast<int>(position % kBlock);
  for (int layer = 0; layer < config_.num_hidden_layers; ++layer) {
    attention_.Derive(layer, layout_.attention(), state, position - tail, tail);
    attention_.Derive(layer, layout_.lobe(), state, position - tail, tail);
  }
}

}  // namespace ela
