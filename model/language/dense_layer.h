// A dense product spread over the pool's threads: by rows and by output columns, never inside a
// sum.
#ifndef ELA_MODEL_LANGUAGE_DENSE_LAYER_H_
#define ELA_MODEL_LANGUAGE_DENSE_LAYER_H_

#include <algorithm>
#include <cstdint>

#include "model/kernels/kernels.h"
#include "model/kernels/packed_matrix.h"
#include "model/kernels/thread_pool.h"

namespace ela {

// What every part of the model computes with. Borrowed, constant.
struct Compute {
  const Kernels& kernels;
  ThreadPool& threads;
};

// Rows of a chunk: a multiple of the register tile, small enough to stay in the second cache.
inline constexpr int64_t kRowChunk = 96;

// Cuts [m rows, panels] into tasks and calls body(first_row, rows, first_panel, last_panel).
template <class Body>
void ForTiles(ThreadPool& threads, int64_t m, int64_t panels, Body body) {
  const int64_t row_chunks = (m + kRowChunk - 1) / kRowChunk;
  int64_t column_chunks = 1;
  if (threads.num_threads() > 1) {
    // Two tasks per thread even out a slow core; a task of under 6 panel-rows is not worth waking
    // for.
    const int64_t wanted = (2 * threads.num_threads() + row_chunks - 1) / row_chunks;
    const int64_t worth = std::max<int64_t>(1, panels * std::min(m, kRowChunk) / 6);
    column_chunks = std::min({wanted, worth, panels});
  }
  threads.Run(row_chunks * column_chunks, [&](int64_t task, int) {
    const int64_t row = task / column_chunks * kRowChunk, part = task % column_chunks;
    body(row, std::min(kRowChunk, m - row), panels * part / column_chunks,
         panels * (part + 1) / column_chunks);
  });
}

// y[m, matrix.padded_n()] = x[m, matrix.k()] · matrix.
inline void DenseLayer(const Compute& compute, int64_t m, const float* x, int64_t ldx,
                       const PackedMatrix& matrix, float* y, int64_t ldy) {
  ForTiles(compute.threads, m, matrix.panels(),
           [&](int64_t row, int64_t rows, int64_t first, int64_t last) {
             compute.kernels.dense(rows, matrix.k(), x + row * ldx, ldx, matrix.data(), first, last,
                                   y + row * ldy, ldy);
           });
}

// Calls body(first_row, rows) for chunks of the rows of a step.
template <class Body>
void ForRows(ThreadPool& threads, int64_t m, Body body) {
  constexpr int64_t kChunk = 16;
  threads.Run((m + kChunk - 1) / kChunk,
              [&](int64_t task, int) { body(task * kChunk, std::min(kChunk, m - task * kChunk)); });
}

}  // namespace ela

#endif  // ELA_MODEL_LANGUAGE_DENSE_LAYER_H_
