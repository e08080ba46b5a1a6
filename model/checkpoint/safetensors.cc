#include "model/checkpoint/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/checkpoint/atomic_file.h"
#include "model/json_file.h"
#include "model/status_macros.h"

namespace ela {
namespace {

using nlohmann::json;

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit
constexpr uint64_t kDataAlignment = 64;            // of the data's start in files that we write

struct DTypeFacts {
  DType dtype;
  absl::string_view name;
  size_t bytes;
};
constexpr DTypeFacts kDTypes[] = {{DType::kF32, "F32", 4}, {DType::kBF16, "BF16", 2},
                                  {DType::kF16, "F16", 2}, {DType::kF64, "F64", 8},
                                  {DType::kI64, "I64", 8}, {DType::kI32, "I32", 4},
                                  {DType::kU8, "U8", 1}};

const DTypeFacts& FactsOf(DType dtype) {
  for (const DTypeFacts& facts : kDTypes) {
    if (facts.dtype == dtype) return facts;
  }
  ELA_CHECK(false, "a dtype without facts");
  return kDTypes[0];
}

std::string Quoted(absl::string_view name) {
  return absl::StrCat("\"", absl::Utf8SafeCEscape(name), "\"");
}

std::optional<uint64_t> ToUnsigned(const json& value) {
  if (!value.is_number_unsigned()) return std::nullopt;
  return value.get<uint64_t>();
}

// One entry of the header, checked by itself but not yet against the file or its neighbours.
struct Entry {
  std::string name;
  TensorView view;
  uint64_t begin = 0, end = 0;
};

// Fills `entry`; returns what is wrong, or nothing.
std::string ReadEntry(const json& value, Entry* entry) {
  if (!value.is_object()) return absl::StrCat("must be an object, not ", TypeName(value));
  for (const auto& [key, unused] : value.items()) {
    if (key != "dtype" && key != "shape" && key != "data_offsets") {
      return absl::StrCat("has the unknown key ", Quoted(key));
    }
  }
  const json dtype = value.value("dtype", json());
  const DTypeFacts* facts = nullptr;
  for (const DTypeFacts& known : kDTypes) {
    if (dtype == std::string(known.name)) facts = &known;
  }
  if (facts == nullptr) return absl::StrCat("has the unsupported dtype ", dtype.dump());
  entry->view.dtype = facts->dtype;

  const json shape = value.value("shape", json());
  if (!shape.is_array()) return "has no list \"shape\"";
  // Checked in two factors, so that a zero anywhere does not hide an overflow elsewhere.
  uint64_t bytes = facts->bytes;
  bool empty = false;
  for (const json& size : shape) {
    const std::optional<uint64_t> number = ToUnsigned(size);
    if (!number || *number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return absl::StrCat("has the shape ", shape.dump(), ", which is not a list of sizes");
    }
    entry->view.shape.push_back(static_cast<int64_t>(*number));
    if (*number == 0) {
      empty = true;
    } else if (__builtin_mul_overflow(bytes, *number, &bytes)) {
      return absl::StrCat("has the shape ", shape.dump(), ", which is larger than any memory");
    }
  }
  if (empty) bytes = 0;
  entry->view.num_bytes = bytes;

  const json offsets = value.value("data_offsets", json());
  if (!offsets.is_array() || offsets.size() != 2 || !ToUnsigned(offsets[0]) ||
      !ToUnsigned(offsets[1])) {
    return "has no pair of \"data_offsets\"";
  }
  entry->begin = *ToUnsigned(offsets[0]);
  entry->end = *ToUnsigned(offsets[1]);
  if (entry->end < entry->begin || entry->end - entry->begin != bytes) {
    return absl::StrCat("has data_offsets [", entry->begin, ", ", entry->end, "], but ",
                        Name(facts->dtype), shape.dump(), " takes ", bytes, " bytes");
  }
  return "";
}

// Entries in order of their offsets must fill [0, data_bytes) without overlap or hole. Sets
// *outside when an entry lies beyond the file's end, and nothing else is wrong with it.
void CheckOffsets(std::vector<Entry>* entries, uint64_t data_bytes,
                  std::vector<std::string>* problems, int* num_outside) {
  std::sort(entries->begin(), entries->end(), [](const Entry& a, const Entry& b) {
    return std::make_pair(a.begin, a.end) < std::make_pair(b.begin, b.end);
  });
  uint64_t filled = 0;
  const Entry* last = nullptr;
  for (const Entry& entry : *entries) {
    if (entry.begin < filled) {
      problems->push_back(absl::StrCat("tensor ", Quoted(entry.name), " starts at ", entry.begin,
                                       " and overlaps ", Quoted(last->name), ", which ends at ",
                                       filled));
    } else if (entry.begin > filled) {
      problems->push_back(
          absl::StrCat("bytes ", filled, " to ", entry.begin, " of the data belong to no tensor"));
    }
    if (entry.end > data_bytes) {
      problems->push_back(absl::StrCat("tensor ", Quoted(entry.name), " ends at ", entry.end,
                                       ", but the data of the file end at ", data_bytes));
      ++*num_outside;
    }
    if (entry.end >= filled) {
      filled = entry.end;
      last = &entry;
    }
  }
  if (filled < data_bytes) {
    problems->push_back(
        absl::StrCat("bytes ", filled, " to ", data_bytes, " of the data belong to no tensor"));
  }
}

absl::Status Refusal(absl::StatusCode code, const std::string& path,
                     const std::vector<std::string>& problems) {
  auto line = [&](std::string* out, const std::string& problem) {
    absl::StrAppend(out, path, ": ", problem);
  };
  return absl::Status(code, absl::StrJoin(problems, "\n", line));
}

float HalfToFloat(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t exponent = (half >> 10) & 31u;
  const uint32_t fraction = half & 1023u;
  uint32_t bits = sign;
  if (exponent == 31) {
    bits |= 0x7f800000u | fraction << 13;
  } else if (exponent != 0) {
    bits |= (exponent + 112) << 23 | fraction << 13;
  } else {  // zero or subnormal: fraction · 2^-24, exact in float32
    const float value = static_cast<float>(fraction) * 0x1p-24f;
    return sign != 0 ? -value : value;
  }
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace

size_t ByteSize(DType dtype) { return FactsOf(dtype).bytes; }
absl::string_view Name(DType dtype) { return FactsOf(dtype).name; }

int64_t TensorView::num_elements() const {
  int64_t count = 1;
  for (int64_t size : shape) count *= size;
  return count;
}

absl::StatusOr<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Open(const std::string& path) {
  const int handle = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (handle < 0) {
    const std::string message = absl::StrCat(path, ": ", std::strerror(errno));
    if (errno == ENOENT || errno == ENOTDIR) return absl::NotFoundError(message);
    return absl::UnavailableError(message);
  }
  struct stat facts;
  const bool regular = fstat(handle, &facts) == 0 && S_ISREG(facts.st_mode);
  const uint64_t file_bytes = regular ? static_cast<uint64_t>(facts.st_size) : 0;
  void* mapping = MAP_FAILED;
  if (file_bytes >= kLengthBytes) {
    mapping = mmap(nullptr, file_bytes, PROT_READ, MAP_PRIVATE, handle, 0);
  }
  const int map_error = errno;
  close(handle);
  if (!regular) return absl::InvalidArgumentError(absl::StrCat(path, ": not a regular file"));
  if (file_bytes < kLengthBytes) {
    return absl::DataLossError(absl::StrCat(path, ": truncated: the file has ", file_bytes,
                                            " bytes, less than the 8 of its header's length"));
  }
  if (mapping == MAP_FAILED) {
    return absl::UnavailableError(
        absl::StrCat(path, ": cannot be mapped: ", std::strerror(map_error)));
  }
  std::unique_ptr<SafetensorsFile> file(new SafetensorsFile);
  file->mapping_ = mapping;
  file->mapping_bytes_ = file_bytes;
  ELA_RETURN_IF_ERROR(file->ReadHeader(path));
  return file;
}

absl::Status SafetensorsFile::ReadHeader(const std::string& path) {
  const char* bytes = static_cast<const char*>(mapping_);
  uint64_t header_bytes = 0;
  for (int i = 7; i >= 0; --i) header_bytes = header_bytes << 8 | static_cast<uint8_t>(bytes[i]);
  if (header_bytes > kMaxHeaderBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": not a safetensors file: its header says ", header_bytes,
                     " bytes, the format allows ", kMaxHeaderBytes));
  }
  if (header_bytes > mapping_bytes_ - kLengthBytes) {
    return absl::DataLossError(absl::StrCat(path, ": truncated: the header says ", header_bytes,
                                            " bytes, but only ", mapping_bytes_ - kLengthBytes,
                                            " follow"));
  }
  ELA_ASSIGN_OR_RETURN(
      const json header,
      ParseJson(absl::string_view(bytes + kLengthBytes, header_bytes), path + ": header"));
  if (!header.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": the header must be an object, not ", TypeName(header)));
  }

  const char* data = bytes + kLengthBytes + header_bytes;
  const uint64_t data_bytes = mapping_bytes_ - kLengthBytes - header_bytes;
  std::vector<std::string> problems;
  std::vector<Entry> entries;
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") {
      if (!value.is_object()) problems.push_back("__metadata__ must be an object");
      for (const auto& [key, text] : value.items()) {
        if (text.is_string()) {
          metadata_[key] = text.get<std::string>();
        } else {
          problems.push_back(absl::StrCat("__metadata__ ", Quoted(key), " must be a string"));
        }
      }
      continue;
    }
    Entry entry;
    entry.name = name;
    const std::string problem = ReadEntry(value, &entry);
    if (problem.empty()) {
      entries.push_back(std::move(entry));
    } else {
      problems.push_back(absl::StrCat("tensor ", Quoted(name), " ", problem));
    }
  }
  int num_outside = 0;
  // With an unreadable entry left out, holes would be reported that are none.
  if (problems.empty()) CheckOffsets(&entries, data_bytes, &problems, &num_outside);
  if (!problems.empty()) {
    const bool truncated = num_outside == static_cast<int>(problems.size());
    return Refusal(truncated ? absl::StatusCode::kDataLoss : absl::StatusCode::kInvalidArgument,
                   path, problems);
  }
  for (Entry& entry : entries) {
    entry.view.data = data + entry.begin;
    tensors_.emplace(std::move(entry.name), std::move(entry.view));
  }
  return absl::OkStatus();
}

SafetensorsFile::~SafetensorsFile() {
  if (mapping_ != nullptr) munmap(mapping_, mapping_bytes_);
}

absl::Status WriteSafetensors(const std::string& path, absl::Span<const NamedTensor> tensors,
                              const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t offset = 0;
  for (const NamedTensor& tensor : tensors) {
    const TensorView& view = tensor.view;
    ELA_CHECK(view.num_bytes == static_cast<size_t>(view.num_elements()) * ByteSize(view.dtype),
              "a tensor's size in bytes must follow from its shape and dtype");
    if (header.contains(tensor.name)) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": tensor ", Quoted(tensor.name), " stands twice"));
    }
    header[tensor.name] = {{"dtype", std::string(Name(view.dtype))},
                           {"shape", view.shape},
                           {"data_offsets", {offset, offset + view.num_bytes}}};
    offset += view.num_bytes;
  }
  std::string text = header.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  while ((kLengthBytes + text.size()) % kDataAlignment != 0) text += ' ';
  std::string length(kLengthBytes, '\0');
  for (uint64_t i = 0; i < kLengthBytes; ++i) {
    length[i] = static_cast<char>(static_cast<uint64_t>(text.size()) >> (8 * i));
  }
  std::vector<absl::string_view> parts = {length, text};
  for (const NamedTensor& tensor : tensors) {
    parts.emplace_back(static_cast<const char*>(tensor.view.data), tensor.view.num_bytes);
  }
  return WriteFileAtomically(path, parts);
}

void ConvertToFloat(const TensorView& source, float* destination) {
  const size_t count = static_cast<size_t>(source.num_elements());
  if (source.dtype == DType::kF32) {
    if (count > 0) std::memcpy(destination, source.data, source.num_bytes);
    return;
  }
  ELA_CHECK(source.dtype == DType::kBF16 || source.dtype == DType::kF16,
            "only F32, BF16 and F16 are widened to float32");
  const char* bytes = static_cast<const char*>(source.data);
  for (size_t i = 0; i < count; ++i) {
    uint16_t narrow;
    std::memcpy(&narrow, bytes + 2 * i, sizeof narrow);
    if (source.dtype == DType::kF16) {
      destination[i] = HalfToFloat(narrow);
    } else {
      const uint32_t bits = static_cast<uint32_t>(narrow) << 16;
      std::memcpy(&destination[i], &bits, sizeof bits);
    }
  }
}

uint16_t FloatToBFloat16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>(bits >> 16 | 0x40u);  // NaN
  return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

}  // namespace ela
