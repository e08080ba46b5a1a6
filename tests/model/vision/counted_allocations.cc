// A file of its own: where a compiler sees these bodies inlined beside a call of new, it takes the
// pair for a mismatch.
#include "tests/model/vision/counted_allocations.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {
std::atomic<int64_t> num_allocations{0};
}  // namespace

void* operator new(std::size_t size) {
  ++num_allocations;
  void* memory = std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) std::abort();
  return memory;
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return operator new(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace ela {

int64_t NumAllocations() { return num_allocations; }

}  // namespace ela
