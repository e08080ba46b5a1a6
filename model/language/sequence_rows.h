// Which rows of a step belong to which slot.
#ifndef ELA_MODEL_LANGUAGE_SEQUENCE_ROWS_H_
#define ELA_MODEL_LANGUAGE_SEQUENCE_ROWS_H_

#include <cstdint>

namespace ela {

struct SequenceRows {
  char* state = nullptr;       // the slot's memory
  int64_t first_position = 0;  // of the first row; later rows follow without a gap
  int64_t first_row = 0;       // within the step
  int64_t rows = 0;
};

}  // namespace ela

#endif  // ELA_MODEL_LANGUAGE_SEQUENCE_ROWS_H_
