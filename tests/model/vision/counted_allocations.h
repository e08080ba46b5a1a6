// Counts what a test program allocates with new: link counted_allocations.cc into it.
#ifndef ELA_TESTS_MODEL_VISION_COUNTED_ALLOCATIONS_H_
#define ELA_TESTS_MODEL_VISION_COUNTED_ALLOCATIONS_H_

#include <cstdint>

namespace ela {

// Calls of operator new so far, on all threads.
int64_t NumAllocations();

}  // namespace ela

#endif  // ELA_TESTS_MODEL_VISION_COUNTED_ALLOCATIONS_H_
