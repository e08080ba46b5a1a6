// The safetensors file format: 8 bytes little-endian header length, a JSON header, the data. Read
// through mmap, so that opening costs nothing and weights are paged in once.
#ifndef ELA_MODEL_CHECKPOINT_SAFETENSORS_H_
#define ELA_MODEL_CHECKPOINT_SAFETENSORS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace ela {

enum class DType { kF32, kBF16, kF16, kF64, kI64, kI32, kU8 };
size_t ByteSize(DType dtype);
absl::string_view Name(DType dtype);  // "F32", "BF16", …

struct TensorView {
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  const void* data = nullptr;  // row-major; may be unaligned for its type: copy, do not cast
  size_t num_bytes = 0;

  int64_t num_elements() const;
};

// One mapped file. Immutable after Open, thread-safe; views live as long as the object.
class SafetensorsFile {
 public:
  // Checks the whole header before anything is read: length within the file, offsets in range, no
  // overlap and no hole, sizes that match dtype and shape. All problems of a file come in one
  // message, one per line. Errors: kNotFound (no such file), kInvalidArgument (not a safetensors
  // file), kDataLoss (truncated).
  static absl::StatusOr<std::unique_ptr<SafetensorsFile>> Open(const std::string& path);
  ~SafetensorsFile();
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;

  const std::map<std::string, TensorView>& tensors() const { return tensors_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  SafetensorsFile() = default;
  absl::Status ReadHeader(const std::string& path);

  void* mapping_ = nullptr;
  size_t mapping_bytes_ = 0;
  std::map<std::string, TensorView> tensors_;
  std::map<std::string, std::string> metadata_;
};

struct NamedTensor {
  std::string name;
  TensorView view;
};

// Writes a complete file beside `path` and renames it over `path`, synced, so that a crash or a
// full disk leaves either the old file or the new one. Errors: kResourceExhausted (disk full),
// kUnavailable (other I/O).
absl::Status WriteSafetensors(const std::string& path, absl::Span<const NamedTensor> tensors,
                              const std::map<std::string, std::string>& metadata = {});

// Widens `source` (kF32, kBF16, kF16) to float32, exactly. `destination` holds
// source.num_elements() floats.
void ConvertToFloat(const TensorView& source, float* destination);
// Rounds to nearest even.
uint16_t FloatToBFloat16(float value);

}  // namespace ela

#endif  // ELA_MODEL_CHECKPOINT_SAFETENSORS_H_
