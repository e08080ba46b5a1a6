// Prompt segments between their passes (rule 7 of model/worker.h): how far each has come, and the
// scratch that carries its rows from one pass to the next. The scratch is no slot state: what is
// interrupted here starts again.
#ifndef ELA_MODEL_LANGUAGE_SEGMENT_PASSES_H_
#define ELA_MODEL_LANGUAGE_SEGMENT_PASSES_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "model/kernels/aligned_buffer.h"
#include "model/types.h"

namespace ela {

// Engine thread only. A segment's scratch is allocated when its first chunk comes, and freed with
// its last or when it is dropped.
class SegmentPasses {
 public:
  struct Limits {
    int32_t passes = 1;
    int64_t segment_tokens = 0;  // of one segment
    int64_t scratch_tokens = 0;  // of all segments under way together
  };
  // row_floats: scratch of one token.
  SegmentPasses(const Limits& limits, int64_t row_floats, int32_t num_slots);

  bool under_way(int32_t slot) const { return slots_[slot].segment.length > 0; }

  // Whether `tokens` tokens of `segment` at `first_position` are what the slot, which stands at
  // `position`, expects next. Errors: kInternal (a caller's mistake, in words).
  absl::Status Check(int32_t slot, int64_t position, const Segment& segment, int64_t first_position,
                     int64_t tokens) const;

  // The slot's segment begins. Errors: kResourceExhausted (the scratch of all segments together, or
  // memory).
  absl::Status Begin(int32_t slot, const Segment& segment);

  // Scratch of the token at `position` and, behind it, of those that follow.
  float* Row(int32_t slot, int64_t position) const;

  // `tokens` more have gone through the present pass; true: the segment is done, and dropped.
  bool Advance(int32_t slot, int64_t tokens);

  void Drop(int32_t slot);

 private:
  struct Slot {
    Segment segment;       // length 0: none is under way; pass: the present one
    int64_t position = 0;  // of the next token in it
    AlignedBuffer rows;    // [segment.length, row_floats]
  };

  const Limits limits_;
  const int64_t row_floats_;
  std::vector<Slot> slots_;
  int64_t scratch_tokens_ = 0;  // in use
};

}  // namespace ela

#endif  // ELA_MODEL_LANGUAGE_SEGMENT_PASSES_H_
