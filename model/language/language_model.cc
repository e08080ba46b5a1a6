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
  if (layout.lobe_bytes() > 0) lobe_rows_ = AlignedBuffer(max_rows * ld_lobe_);
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

namespace {

// Calls body(first, last) for stretches of neighbours that `same` holds together.
template <class Same, class Body>
void ForStretches(absl::Span<const SequenceRows> sequences, Same same, Body body) {
  for (size_t first = 0; first < sequences.size();) {
    size_t last = first + 1;
    while (last < sequences.size() && same(sequences[first], sequences[last])) ++last;
    body(sequences.subspan(first, last - first));
    first = last;
  }
}

}  // namespace

// body(row, rows) in chunks, rows counted within the step.
template <class Body>
void LanguageModel::ForRowsOf(const Group& group, Body body) {
  ForRows(compute_.threads, group.count,
          [&](int64_t row, int64_t rows) { body(group.first + row, rows); });
}

void LanguageModel::Run(absl::Span<const SequenceRows> sequences,
                        absl::Span<const TokenId> tokens) {
  std::fill(expert_rows_.begin(), expert_rows_.end(), 0);
  ForStretches(
      sequences, [](const SequenceRows& a, const SequenceRows& b) { return a.pass == b.pass; },
      [&](absl::Span<const SequenceRows> members) { RunGroup(Group(members), tokens); });
}

void LanguageModel::RunGroup(const Group& group, absl::Span<const TokenId> tokens) {
  const int64_t d = config_.hidden_size;
  const int32_t pass = group.sequences.front().pass;
  if (pass <= 0) {
    for (int64_t r = group.first; r < group.first + group.count; ++r) {
      weights_.embedding.GetOutput(tokens[r], x_.get() + r * d);
    }
  } else {
    Resume(pass - 1, group);
  }
  if (pass == config_.num_hidden_layers) return;
  Angles(group.sequences);
  if (pass != kAllLayers) {
    RunLayer(pass, group);
    return Suspend(pass, group);
  }
  for (int layer = 0; layer < config_.num_hidden_layers; ++layer) RunLayer(layer, group);
}

void LanguageModel::RunLayer(int layer, const Group& group) {
  const int64_t d = config_.hidden_size, k = config_.num_experts_per_tok;
  const LayerWeights& weights = weights_.layers[layer];
  const Kernels& kernels = compute_.kernels;
  Attend(layer, group);
  if (config_.residual == Residual::kStandard) {
    ForRowsOf(group, [&](int64_t first, int64_t rows) {
      for (int64_t r = first; r < first + rows; ++r) {
        kernels.add(d, a_.get() + r * ld_, nullptr, x_.get() + r * d);
      }
      kernels.rms_norm(rows, d, x_.get() + first * d, d, weights.moe_norm.data(),
                       config_.rms_norm_eps, a_.get() + first * ld_, ld_);
    });
  }
  const int64_t routed = (layer * max_rows_ + group.first) * k;
  experts_.Run(weights, group.count, a_.get() + group.first * ld_, ld_,
               flow_.get() + group.first * d, d, chosen_.data() + routed,
               chosen_weights_.data() + routed, expert_rows_.data() + layer * config_.num_experts);
  ForStretches(
      group.sequences,
      [](const SequenceRows& a, const SequenceRows& b) { return a.lobe == b.lobe; },
      [&](absl::Span<const SequenceRows> members) { AddFlow(layer, Group(members)); });
}

// x = x + f + Lobe(f), for rows that share a lobe. One that sees ahead absorbs its keys and values
// and answers in the next pass.
void LanguageModel::AddFlow(int layer, const Group& group) {
  const int64_t d = config_.hidden_size;
  const Lobe* lobe = group.sequences.front().lobe;
  const bool ahead =
      lobe != nullptr && lobe->sees_ahead() && group.sequences.front().pass != kAllLayers;
  if (lobe != nullptr) {
    float* rows = lobe_rows_.get();
    DenseLayer(compute_, group.count, flow_.get() + group.first * d, d, lobe->layers[layer],
               rows + group.first * ld_lobe_, ld_lobe_);
    const AttentionRows attention = {rows,    rows + d, rows + 2 * d,    ld_lobe_,
                                     nullptr, 0,        attended_.get(), d};
    if (ahead) {
      attention_.Absorb(layer, lobe->head, group.sequences, attention);
    } else {
      attention_.Run(layer, lobe->head, group.sequences, attention);
    }
  }
  const float* answers = lobe != nullptr && !ahead ? attended_.get() : nullptr;
  ForRowsOf(group, [&](int64_t first, int64_t rows) {
    compute_.kernels.add(rows * d, flow_.get() + first * d,
                         answers == nullptr ? nullptr : answers + first * d, x_.get() + first * d);
  });
}

// Puts the rows by until the next pass. Per row: x [d], the lobe's query [d], experts and their
// weights [layers, K] each.
void LanguageModel::Suspend(int layer, const Group& group) {
  const int64_t d = config_.hidden_size, k = config_.num_experts_per_tok;
  const int64_t routed = config_.num_hidden_layers * k;
  compute_.threads.Run(static_cast<int64_t>(group.sequences.size()), [&](int64_t task, int) {
    const SequenceRows& sequence = group.sequences[task];
    const bool ahead = sequence.lobe != nullptr && sequence.lobe->sees_ahead();
    for (int64_t i = 0; i < sequence.rows; ++i) {
      const int64_t row = sequence.first_row + i;
      float* to = sequence.scratch + i * scratch_floats();
      std::memcpy(to, x_.get() + row * d, d * sizeof(float));
      if (ahead) std::memcpy(to + d, lobe_rows_.get() + row * ld_lobe_, d * sizeof(float));
      to += 2 * d + layer * k;
      std::memcpy(to, chosen(layer, row), k * sizeof(int32_t));
      std::memcpy(to + routed, chosen_weights(layer, row), k * sizeof(float));
    }
  });
}

// Takes the rows up again as `layer` left them, and adds what its lobe says now.
void LanguageModel::Resume(int layer, const Group& group) {
  const int64_t d = config_.hidden_size, k = config_.num_experts_per_tok;
  const int layers = config_.num_hidden_layers;
  compute_.threads.Run(static_cast<int64_t>(group.sequences.size()), [&](int64_t task, int) {
    const SequenceRows& sequence = group.sequences[task];
    const bool ahead = sequence.lobe != nullptr && sequence.lobe->sees_ahead();
    for (int64_t i = 0; i < sequence.rows; ++i) {
      const int64_t row = sequence.first_row + i;
      const float* from = sequence.scratch + i * scratch_floats();
      std::memcpy(x_.get() + row * d, from, d * sizeof(float));
      if (ahead) std::memcpy(lobe_rows_.get() + row * ld_lobe_, from + d, d * sizeof(float));
      if (layer + 1 < layers) continue;
      from += 2 * d;  // the last pass: its outputs may be asked for the experts of all layers
      for (int l = 0; l < layers; ++l) {
        const int64_t at = (l * max_rows_ + row) * k;
        std::memcpy(&chosen_[at], from + l * k, k * sizeof(int32_t));
        std::memcpy(&chosen_weights_[at], from + (layers + l) * k, k * sizeof(float));
      }
    }
  });
  ForStretches(
      group.sequences,
      [](const SequenceRows& a, const SequenceRows& b) { return a.lobe == b.lobe; },
      [&](absl::Span<const SequenceRows> members) {
        const Lobe* lobe = members.front().lobe;
        if (lobe == nullptr || !lobe->sees_ahead()) return;
        attention_.Query(
            layer, lobe->head, members,
            {lobe_rows_.get(), nullptr, nullptr, ld_lobe_, nullptr, 0, attended_.get(), d});
        ForRowsOf(Group(members), [&](int64_t first, int64_t rows) {
          compute_.kernels.add(rows * d, attended_.get() + first * d, nullptr,
                               x_.get() + first * d);
        });
      });
}

// a = W_o · (attention of norm(x), gated where configured), into a_.
void LanguageModel::Attend(int layer, const Group& group) {
  const int64_t d = config_.hidden_size, m = group.count;
  const LayerWeights& weights = weights_.layers[layer];
  const Kernels& kernels = compute_.kernels;
  ForRowsOf(group, [&](int64_t first, int64_t rows) {
    kernels.rms_norm(rows, d, x_.get() + first * d, d, weights.attention_norm.data(),
                     config_.rms_norm_eps, normed_.get() + first * d, d);
  });
  float* projected = projected_.get();
  DenseLayer(compute_, m, normed_.get() + group.first * d, d, weights.input,
             projected + group.first * ld_input_, ld_input_);
  if (config_.decay == Decay::kGated) {
    DenseLayer(compute_, m, projected + group.first * ld_input_ + weights.decay_column, ld_input_,
               weights.decay_out, decays_.get() + group.first * ld_, ld_);
    ForRowsOf(group, [&](int64_t first, int64_t rows) {
      kernels.log_decay(rows, d, weights.decay_bias.data(), decays_.get() + first * ld_, ld_);
    });
  }
  AttentionRows rows;
  float* qkv = projected;
  rows.ld = ld_input_;
  if (config_.short_conv > 0) {
    Convolve(layer, group.sequences);
    qkv = convolved_.get();
    rows.ld = 3 * d;
  }
  if (!frequencies_.empty() || config_.qk_scale != 1.0f) {
    const int64_t pairs = static_cast<int64_t>(frequencies_.size());
    ForRowsOf(group, [&](int64_t first, int64_t count) {
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
  attention_.Run(layer, layout_.attention(), group.sequences, rows);
  if (config_.output_gate) {
    ForRowsOf(group, [&](int64_t first, int64_t count) {
      kernels.gate(count, d, projected + first * ld_input_ + weights.gate_column, ld_input_,
                   attended_.get() + first * d, d);
    });
  }
  DenseLayer(compute_, m, attended_.get() + group.first * d, d, weights.output,
             a_.get() + group.first * ld_, ld_);
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

void LanguageModel::Derive(char* state, const Lobe* lobe, int64_t position) {
  const int tail = static_cast<int>(position % kBlock);
  for (int layer = 0; layer < config_.num_hidden_layers; ++layer) {
    attention_.Derive(layer, layout_.attention(), state, position - tail, tail);
    if (lobe != nullptr) attention_.Derive(layer, lobe->head, state, position - tail, tail);
  }
}

}  // namespace ela
