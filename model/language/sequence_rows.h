// Which rows of a step belong to which slot, and what happens to them.
#ifndef ELA_MODEL_LANGUAGE_SEQUENCE_ROWS_H_
#define ELA_MODEL_LANGUAGE_SEQUENCE_ROWS_H_

#include <cstdint>

#include "model/language/lobe.h"

namespace ela {

inline constexpr int32_t kAllLayers = -1;

struct SequenceRows {
  char* state = nullptr;       // the slot's memory
  int64_t first_position = 0;  // of the first row; later rows follow without a gap
  int64_t first_row = 0;       // within the step
  int64_t rows = 0;
  const Lobe* lobe = nullptr;  // null: none
  // One pass of a prompt segment (rule 7 of model/worker.h), or all layers at once.
  int32_t pass = kAllLayers;
  int64_t segment_end = 0;   // with a pass: how many tokens the segment's rows see
  float* scratch = nullptr;  // with a pass: of the first row, LanguageModel::scratch_floats() each
};

}  // namespace ela

#endif  // ELA_MODEL_LANGUAGE_SEQUENCE_ROWS_H_
