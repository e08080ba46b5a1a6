#include "model/language/attention.h"

#include <algorithm>

namespace ela {

Attention::Attention(const StateLayout& layout, const Compute& compute)
    : layout_(layout), compute_(compute) {
  const int64_t width = layout.widest_head();
  for (int i = 0; i < compute.threads.num_threads(); ++i) {
    scratch_.emplace_back(AttentionScratch(width, width));
  }
}

void Attention::Run(int layer, const StateLayout::Head& head,
                    absl::Span<const SequenceRows> sequences, const AttentionRows& rows) {
  const AttentionKernels& kernels = compute_.kernels.attention[static_cast<int>(head.kernel)];
  const int64_t tasks = static_cast<int64_t>(sequences.size()) * head.count;
  compute_.threads.Run(tasks, [&](int64_t task, int thread) {
    const SequenceRows& sequence = sequences[task / head.count];
    const int index = static_cast<int>(task % head.count);
    const HeadState state = layout_.View(sequence.state, layer, head, index);
    const int64_t column = index * head.width;
    float* scratch = scratch_[thread].get();
    int64_t position = sequence.first_position;
    int64_t row = sequence.first_row;
    const int64_t end = row + sequence.rows;
    while (row < end) {
      const int t = static_cast<int>(position % kBlock);
      const int64_t merged = position - t;
      const int n = static_cast<int>(std::min<int64_t>(kBlock - t, end - row));
      const int64_t at = row * rows.ld + column;
      const float* g = rows.g == nullptr ? nullptr : rows.g + row * rows.ldg + column;
      kernels.append(state, merged, t, n, rows.k + at, rows.ld, rows.v + at, rows.ld, g, rows.ldg,
                     scratch);
      kernels.attend(state, merged, t, n, rows.q + at, rows.ld, rows.y + row * rows.ldy + column,
                     rows.ldy, scratch);
      if (t + n == kBlock) kernels.merge(state, merged, scratch);
      row += n;
      position += n;
    }
  });
}

void Attention::Absorb(int layer, const StateLayout::Head& head,
                       absl::Span<const SequenceRows> sequences, const AttentionRows& rows) {
  const AttentionKernels& kernels = compute_.kernels.attention[static_cast<int>(head.kernel)];
  const int64_t tasks = static_cast<int64_t>(sequences.size()) * head.count;
  compute_.threads.Run(tasks, [&](int64_t task, int thread) {
    const SequenceRows& sequence = sequences[task / head.count];
    const int index = static_cast<int>(task % head.count);
    const HeadState state = layout_.View(sequence.state, layer, head, index);
    float* scratch = scratch_[thread].get();
    for (int64_t done = 0; done < sequence.rows;) {
      const int64_t position = sequence.first_position + done;
      const int t = static_cast<int>(position % kBlock);
      const int n = static_cast<int>(std::min<int64_t>(kBlock - t, sequence.rows - done));
      const int64_t at = (sequence.first_row + done) * rows.ld + index * head.width;
      kernels.append(state, position - t, t, n, rows.k + at, rows.ld, rows.v + at, rows.ld, nullptr,
                     0, scratch);
      if (t + n == kBlock) kernels.merge(state, position - t, scratch);
      done += n;
    }
  });
}

void Attention::Query(int layer, const StateLayout::Head& head,
                      absl::Span<const SequenceRows> sequences, const AttentionRows& rows) {
  const AttentionKernels& kernels = compute_.kernels.attention[static_cast<int>(head.kernel)];
  const auto chunks = [](const SequenceRows& sequence) {
    return (sequence.rows + kBlock - 1) / kBlock;
  };
  int64_t tasks = 0;
  for (const SequenceRows& sequence : sequences) tasks += chunks(sequence) * head.count;
  compute_.threads.Run(tasks, [&](int64_t task, int thread) {
    const SequenceRows* sequence = sequences.data();
    for (; task >= chunks(*sequence) * head.count; ++sequence) {
      task -= chunks(*sequence) * head.count;
    }
    const int index = static_cast<int>(task % head.count);
    const int64_t done = task / head.count * kBlock, row = sequence->first_row + done;
    const int tail = static_cast<int>(sequence->segment_end % kBlock);
    kernels.query(layout_.View(sequence->state, layer, head, index), sequence->segment_end - tail,
                  tail, static_cast<int>(std::min<int64_t>(kBlock, sequence->rows - done)),
                  rows.q + row * rows.ld + index * head.width, rows.ld,
                  rows.y + row * rows.ldy + index * head.width, rows.ldy, scratch_[thread].get());
  });
}

void Attention::Derive(int layer, const StateLayout::Head& head, char* state, int64_t merged,
                       int tail) {
  const AttentionKernels& kernels = compute_.kernels.attention[static_cast<int>(head.kernel)];
  for (int index = 0; index < head.count; ++index) {
    kernels.derive(layout_.View(state, layer, head, index), merged, tail, scratch_[0].get());
  }
}

}  // namespace ela
