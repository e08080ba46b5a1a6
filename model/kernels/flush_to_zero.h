// Denormals are flushed to zero, in and out, on every thread that computes: results then do not
// depend on the thread's history, and decayed weights cost no microcode. The caller's own setting
// comes back when the scope ends.
#ifndef ELA_MODEL_KERNELS_FLUSH_TO_ZERO_H_
#define ELA_MODEL_KERNELS_FLUSH_TO_ZERO_H_

#include <xmmintrin.h>

namespace ela {

class ScopedFlushToZero {
 public:
  // Sets the whole control word: flush to zero, denormals are zero, round to nearest, no traps.
  ScopedFlushToZero() : saved_(_mm_getcsr()) { _mm_setcsr(0x9fc0); }
  ~ScopedFlushToZero() { _mm_setcsr(saved_); }
  ScopedFlushToZero(const ScopedFlushToZero&) = delete;
  ScopedFlushToZero& operator=(const ScopedFlushToZero&) = delete;

 private:
  const unsigned int saved_;
};

}  // namespace ela

#endif  // ELA_MODEL_KERNELS_FLUSH_TO_ZERO_H_
