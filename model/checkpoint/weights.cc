#include "model/checkpoint/weights.h"

#include <openssl/evp.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/json_file.h"
#include "model/status_macros.h"

namespace ela {
namespace {

using nlohmann::json;

constexpr int64_t kMaxIndexBytes = 100'000'000;
constexpr absl::string_view kIgnoredSuffix = ".rope.inv_freq";  // buffers of the paper's reference

// Problems of all files, with the code that the worst of them calls for.
class Problems {
 public:
  void Add(absl::StatusCode code, std::string line) {
    if (lines_.empty() || code == absl::StatusCode::kInvalidArgument) code_ = code;
    lines_.push_back(std::move(line));
  }
  void Add(const absl::Status& status) { Add(status.code(), std::string(status.message())); }
  absl::Status ToStatus() const {
    return lines_.empty() ? absl::OkStatus() : absl::Status(code_, absl::StrJoin(lines_, "\n"));
  }

 private:
  absl::StatusCode code_ = absl::StatusCode::kOk;
  std::vector<std::string> lines_;
};

// Which file holds which tensor. With a single file the map is empty: every tensor of it counts.
struct Shards {
  std::vector<std::string> files;                 // names within the directory
  std::map<std::string, std::string> weight_map;  // tensor -> file
};

bool Exists(const std::string& path) {
  struct stat facts;
  return stat(path.c_str(), &facts) == 0;
}

absl::StatusOr<Shards> ReadIndex(const std::string& path) {
  ELA_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path, kMaxIndexBytes));
  ELA_ASSIGN_OR_RETURN(const json index, ParseJson(text, path));
  const json* map = nullptr;
  if (index.is_object() && index.contains("weight_map")) map = &index["weight_map"];
  if (map == nullptr || !map->is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": has no object \"weight_map\""));
  }
  Shards shards;
  Problems problems;
  std::set<std::string> files;
  for (const auto& [tensor, file] : map->items()) {
    // A plain file name: an index must not lead out of its directory.
    if (!file.is_string() || file.get_ref<const std::string&>().empty() ||
        absl::StrContains(file.get_ref<const std::string&>(), '/') ||
        absl::StrContains(file.get_ref<const std::string&>(), '\0')) {
      problems.Add(absl::StatusCode::kInvalidArgument,
                   absl::StrCat(path, ": tensor \"", absl::Utf8SafeCEscape(tensor),
                                "\" is said to be in ", file.dump(), ", which is no file name"));
      continue;
    }
    shards.weight_map[tensor] = file.get<std::string>();
    files.insert(file.get<std::string>());
  }
  ELA_RETURN_IF_ERROR(problems.ToStatus());
  shards.files.assign(files.begin(), files.end());
  return shards;
}

absl::StatusOr<Shards> FindShards(const std::string& directory) {
  if (!Exists(directory)) {
    return absl::NotFoundError(absl::StrCat(directory, ": no such directory"));
  }
  if (Exists(directory + "/model.safetensors")) return Shards{{"model.safetensors"}, {}};
  if (Exists(directory + "/model.safetensors.index.json")) {
    return ReadIndex(directory + "/model.safetensors.index.json");
  }
  return absl::NotFoundError(
      absl::StrCat(directory, ": has neither model.safetensors nor model.safetensors.index.json"));
}

std::string ShapeText(absl::Span<const int64_t> shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

// The row-major index of the first element that is NaN or infinite, or -1. Cost: one pass over the
// data.
int64_t FirstNonFinite(const TensorView& view) {
  constexpr size_t kChunk = 4096;
  const char* bytes = static_cast<const char*>(view.data);
  const size_t count = static_cast<size_t>(view.num_elements());
  std::vector<float> chunk(std::min(kChunk, count));
  for (size_t done = 0; done < count; done += kChunk) {
    TensorView piece;
    piece.dtype = view.dtype;
    piece.shape = {static_cast<int64_t>(std::min(kChunk, count - done))};
    piece.data = bytes + done * ByteSize(view.dtype);
    piece.num_bytes = static_cast<size_t>(piece.shape[0]) * ByteSize(view.dtype);
    ConvertToFloat(piece, chunk.data());
    for (size_t i = 0; i < static_cast<size_t>(piece.shape[0]); ++i) {
      uint32_t bits;
      std::memcpy(&bits, &chunk[i], sizeof bits);
      if ((bits & 0x7f800000u) == 0x7f800000u) return static_cast<int64_t>(done + i);
    }
  }
  return -1;
}

// What is wrong with one tensor that was expected and found; empty when nothing is.
std::string CheckTensor(const TensorSpec& spec, const TensorView& view) {
  if (view.dtype != DType::kF32 && view.dtype != DType::kBF16 && view.dtype != DType::kF16) {
    return absl::StrCat("has dtype ", Name(view.dtype), ", weights are F32, BF16 or F16");
  }
  if (view.shape != spec.shape) {
    return absl::StrCat("has shape ", ShapeText(view.shape), ", config.json demands ",
                        ShapeText(spec.shape));
  }
  int64_t element = FirstNonFinite(view);
  if (element < 0) return "";
  TensorView one;
  one.dtype = view.dtype;
  one.shape = {1};
  one.data =
      static_cast<const char*>(view.data) + static_cast<size_t>(element) * ByteSize(view.dtype);
  one.num_bytes = ByteSize(view.dtype);
  float value = 0;
  ConvertToFloat(one, &value);
  std::vector<int64_t> index(view.shape.size());
  for (size_t axis = index.size(); axis-- > 0;) {
    index[axis] = element % view.shape[axis];
    element /= view.shape[axis];
  }
  return absl::StrCat("holds ", value != value ? "NaN" : "an infinite value", " at ",
                      ShapeText(index));
}

bool IsLobe(absl::string_view name) {
  return absl::StartsWith(name, "lob.") || absl::StrContains(name, ".lob.");
}

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new()) {
    ELA_CHECK(context_ != nullptr && EVP_DigestInit_ex(context_, EVP_sha256(), nullptr) == 1,
              "OpenSSL must offer SHA-256");
  }
  ~Sha256() { EVP_MD_CTX_free(context_); }
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void Add(const void* data, size_t size) {
    if (size > 0) EVP_DigestUpdate(context_, data, size);
  }
  void AddNumber(uint64_t number) {
    unsigned char bytes[8];
    for (int i = 0; i < 8; ++i) bytes[i] = static_cast<unsigned char>(number >> (8 * i));
    Add(bytes, sizeof bytes);
  }
  // Length first, so that no two different lists of texts look alike.
  void AddText(absl::string_view text) {
    AddNumber(text.size());
    Add(text.data(), text.size());
  }
  void AddTensor(absl::string_view name, const TensorView& view) {
    AddText(name);
    AddText(Name(view.dtype));
    AddNumber(view.shape.size());
    for (int64_t size : view.shape) AddNumber(static_cast<uint64_t>(size));
    Add(view.data, view.num_bytes);
  }
  std::string Hex() {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    EVP_DigestFinal_ex(context_, digest, &size);
    return absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(digest), size));
  }

 private:
  EVP_MD_CTX* context_;
};

}  // namespace

absl::StatusOr<Weights> Weights::Load(const std::string& directory,
                                      absl::Span<const TensorSpec> expected) {
  ELA_ASSIGN_OR_RETURN(const Shards shards, FindShards(directory));
  Weights weights;
  Problems problems;
  std::map<std::string, std::string> found_in;  // tensor -> file
  std::set<std::string> unreadable;
  for (const std::string& name : shards.files) {
    const std::string path = absl::StrCat(directory, "/", name);
    auto file = SafetensorsFile::Open(path);
    if (!file.ok()) {
      problems.Add(file.status());
      unreadable.insert(name);
      continue;
    }
    for (const auto& [tensor, view] : (*file)->tensors()) {
      if (absl::EndsWith(tensor, kIgnoredSuffix)) continue;
      const std::string quoted = absl::StrCat("tensor \"", absl::Utf8SafeCEscape(tensor), "\"");
      auto listed = shards.weight_map.find(tensor);
      if (auto [where, is_new] = found_in.emplace(tensor, name); !is_new) {
        problems.Add(absl::StatusCode::kInvalidArgument,
                     absl::StrCat(path, ": ", quoted, " is in ", where->second, " as well"));
      } else if (!shards.weight_map.empty() &&
                 (listed == shards.weight_map.end() || listed->second != name)) {
        problems.Add(absl::StatusCode::kInvalidArgument,
                     absl::StrCat(path, ": ", quoted, " is not listed for this file by the index"));
      } else {
        weights.tensors_.emplace(tensor, view);
      }
    }
    weights.files_.push_back(*std::move(file));
  }

  std::set<std::string> wanted;
  for (const TensorSpec& spec : expected) {
    wanted.insert(spec.name);
    auto found = found_in.find(spec.name);
    if (found == found_in.end()) {
      auto listed = shards.weight_map.find(spec.name);
      const bool lost = shards.weight_map.empty()
                            ? !unreadable.empty()
                            : listed != shards.weight_map.end() && unreadable.count(listed->second);
      if (!lost) {
        problems.Add(absl::StatusCode::kInvalidArgument,
                     absl::StrCat(directory, ": tensor \"", spec.name, "\" is missing"));
      }
      continue;
    }
    auto tensor = weights.tensors_.find(spec.name);
    if (tensor == weights.tensors_.end()) continue;  // reported above
    const std::string problem = CheckTensor(spec, tensor->second);
    if (!problem.empty()) {
      problems.Add(
          absl::StatusCode::kInvalidArgument,
          absl::StrCat(directory, "/", found->second, ": tensor \"", spec.name, "\" ", problem));
    }
  }
  for (const auto& [tensor, file] : found_in) {
    if (wanted.count(tensor) == 0) {
      problems.Add(absl::StatusCode::kInvalidArgument,
                   absl::StrCat(directory, "/", file, ": tensor \"", absl::Utf8SafeCEscape(tensor),
                                "\" is unknown"));
    }
  }
  for (const auto& [tensor, file] : shards.weight_map) {
    if (wanted.count(tensor) == 0 && found_in.count(tensor) == 0 && unreadable.count(file) == 0 &&
        !absl::EndsWith(tensor, kIgnoredSuffix)) {
      problems.Add(absl::StatusCode::kInvalidArgument,
                   absl::StrCat(directory, "/", file, ": tensor \"", absl::Utf8SafeCEscape(tensor),
                                "\" is listed by the index and unknown"));
    }
  }
  ELA_RETURN_IF_ERROR(problems.ToStatus());
  return weights;
}

const TensorView& Weights::at(const std::string& name) const {
  auto found = tensors_.find(name);
  ELA_CHECK(found != tensors_.end(), "a tensor was asked for that was not among the expected");
  return found->second;
}

std::vector<float> Weights::Float(const std::string& name) const {
  const TensorView& view = at(name);
  std::vector<float> values(static_cast<size_t>(view.num_elements()));
  ConvertToFloat(view, values.data());
  return values;
}

std::string Weights::Fingerprint(const LanguageConfig& config) const {
  LanguageConfig base = config;
  base.memory_lobe.reset();
  Sha256 hash;
  hash.AddText(ToJson(base));
  for (const auto& [name, view] : tensors_) {
    if (!IsLobe(name)) hash.AddTensor(name, view);
  }
  return hash.Hex();
}

std::string Weights::FingerprintOf(absl::string_view config) const {
  Sha256 hash;
  hash.AddText(config);
  for (const auto& [name, view] : tensors_) hash.AddTensor(name, view);
  return hash.Hex();
}

std::string Weights::LobeFingerprint(const LanguageConfig& config) const {
  Sha256 hash;
  bool any = false;
  if (config.memory_lobe) {
    hash.AddText(Name(config.memory_lobe->mode));
    hash.AddText(Name(config.memory_lobe->kernel));
    hash.AddNumber(static_cast<uint64_t>(config.memory_lobe->heads));
  }
  for (const auto& [name, view] : tensors_) {
    if (!IsLobe(name)) continue;
    hash.AddTensor(name, view);
    any = true;
  }
  return any ? hash.Hex() : "";
}

}  // namespace ela
