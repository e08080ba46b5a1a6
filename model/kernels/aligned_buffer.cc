#include "model/kernels/aligned_buffer.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "model/status_macros.h"

namespace ela {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

size_t Align(size_t bytes) { return bytes >= kHugePage ? kHugePage : 64; }

}  // namespace

void* AllocateAligned(size_t bytes) {
  const size_t align = Align(bytes);
  const size_t rounded = (bytes + align - 1) / align * align;
  void* memory = std::aligned_alloc(align, rounded == 0 ? align : rounded);
  if (memory == nullptr) return nullptr;
  if (align == kHugePage) madvise(memory, rounded, MADV_HUGEPAGE);  // a wish: failure costs speed
  std::memset(memory, 0, bytes);
  return memory;
}

void FreeAligned(void* memory, size_t) { std::free(memory); }

AlignedBuffer::AlignedBuffer(int64_t size) {
  absl::StatusOr<AlignedBuffer> buffer = Allocate(size);
  ELA_CHECK(buffer.ok(), "the machine has no memory left for weights or scratch");
  *this = *std::move(buffer);
}

absl::StatusOr<AlignedBuffer> AlignedBuffer::Allocate(int64_t size) {
  const size_t bytes = static_cast<size_t>(size) * sizeof(float);
  AlignedBuffer buffer;
  buffer.data_ = static_cast<float*>(AllocateAligned(bytes));
  buffer.size_ = size;
  if (buffer.data_ != nullptr) return buffer;
  return absl::ResourceExhaustedError(
      absl::StrCat(bytes, " bytes are needed, more than this machine has free"));
}

AlignedBuffer::~AlignedBuffer() { FreeAligned(data_, static_cast<size_t>(size_) * sizeof(float)); }

}  // namespace ela
