#include "model/language/state_blob.h"

#include <openssl/evp.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "model/status_macros.h"

namespace ela {
namespace {

constexpr char kMagic[8] = {'E', 'L', 'A', 'S', 'T', 'A', 'T', 'E'};
constexpr uint32_t kVersion = 1;

// As it stands in the file. Every field is at its natural offset: no padding.
struct Prefix {
  char magic[8];
  uint32_t version;
  uint32_t header_bytes;
  char model_fingerprint[64];
  char lobe_fingerprint[64];  // zeros without a lobe
  char numerics_id[32];
  uint32_t layout[12];
  int64_t position;
  int32_t last_sampled;
  int32_t sealed_tail;
  uint64_t payload_bytes;
  uint8_t checksum[32];  // SHA-256 of the whole blob with this field zero
};
static_assert(sizeof(Prefix) == 280, "the header has no padding");

void DescribeLayout(const StateShape& shape, uint32_t* words) {
  const StateLayout& layout = shape.layout;
  const auto head = [](const StateLayout::Head& h, uint32_t* out) {
    out[0] = static_cast<uint32_t>(h.kernel);
    out[1] = static_cast<uint32_t>(h.count);
    out[2] = static_cast<uint32_t>(h.width);
    out[3] = h.decay ? 1 : 0;
  };
  words[0] = static_cast<uint32_t>(layout.layers());
  words[1] = static_cast<uint32_t>(layout.convolution_window());
  words[2] = static_cast<uint32_t>(layout.convolution_width());
  words[3] = kBlock;
  head(layout.attention(), words + 4);
  head(shape.lobe, words + 8);
}

// The things that walk over a state, in one order: measuring, writing, checking, reading. `Base`
// parts are absent from memory while nothing has been merged; the blob holds zeros for them.
struct Measure {
  size_t bytes = 0;
  template <class T>
  void Field(T*, size_t n, bool) {
    bytes += n * sizeof(T);
  }
};
struct Write {
  char* out;
  template <class T>
  void Field(T* field, size_t n, bool present) {
    if (present) {
      std::memcpy(out, field, n * sizeof(T));
    } else {
      std::memset(out, 0, n * sizeof(T));
    }
    out += n * sizeof(T);
  }
};
// Exponent bits all set: infinity or NaN.
struct CheckFinite {
  const char* in;
  bool finite = true;
  void Field(float*, size_t n, bool) { Check<uint32_t>(n, 0x7f800000u); }
  void Field(double*, size_t n, bool) { Check<uint64_t>(n, 0x7ff0000000000000u); }

  template <class Word>
  void Check(size_t n, Word exponent) {
    uint32_t bad = 0;
    for (size_t i = 0; i < n; ++i) {
      Word word;
      std::memcpy(&word, in + i * sizeof(Word), sizeof(Word));
      bad |= static_cast<uint32_t>((word & exponent) == exponent);
    }
    finite = finite && bad == 0;
    in += n * sizeof(Word);
  }
};
struct Read {
  const char* in;
  template <class T>
  void Field(T* field, size_t n, bool present) {
    if (present) std::memcpy(field, in, n * sizeof(T));
    in += n * sizeof(T);
  }
};

template <class Visitor>
void VisitHead(const StateLayout::Head& head, const HeadState& state, int64_t merged, int tail,
               Visitor* visitor) {
  const size_t row = head.width;
  const bool present = merged > 0;
  const auto base = [&](float* field) {
    if (field != nullptr) visitor->Field(field, row, present);
  };
  base(state.row_max);
  if (state.row_sum != nullptr) {
    visitor->Field(state.row_sum, row, present);
  }
  if (state.totals != nullptr) {
    visitor->Field(state.totals + (head.kernel == AttentionKernel::kDirMag ? 1 : 0), 1, present);
  }
  base(state.key_mean);
  base(state.value_mean);
  base(state.third);
  for (int64_t d = 0; d < head.width; ++d) {
    for (int64_t b = 0; b < head.width; b += kColumnBlock) {
      const int64_t stride = std::min<int64_t>(kColumnBlock, state.value_stride - b);
      const int64_t columns = std::min<int64_t>(kColumnBlock, head.width - b);
      visitor->Field(state.matrix + b * head.width + d * stride, columns, present);
    }
  }
  for (int j = 0; j < tail; ++j) {
    visitor->Field(state.keys + j * state.key_stride, row, true);
    visitor->Field(state.values + j * state.value_stride, row, true);
    if (state.decays != nullptr) visitor->Field(state.decays + j * state.key_stride, row, true);
  }
}

template <class Visitor>
void VisitState(const StateShape& shape, char* slot, int64_t position, Visitor* visitor) {
  const StateLayout& layout = shape.layout;
  const int tail = static_cast<int>(position % kBlock);
  for (int layer = 0; layer < layout.layers(); ++layer) {
    if (layout.convolution_window() > 0) {
      visitor->Field(layout.Convolution(slot, layer),
                     (layout.convolution_window() - 1 + tail) * layout.convolution_width(), true);
    }
    for (const StateLayout::Head* head : {&layout.attention(), &shape.lobe}) {
      for (int i = 0; i < head->count; ++i) {
        VisitHead(*head, layout.View(slot, layer, *head, i), position - tail, tail, visitor);
      }
    }
  }
}

// Field addresses are computed and not followed, so any slot address serves.
size_t PayloadBytes(const StateShape& shape, int64_t position, char* any_slot) {
  Measure measure;
  VisitState(shape, any_slot, position, &measure);
  return measure.bytes;
}

void Checksum(Prefix prefix, const char* payload, size_t bytes, uint8_t* digest) {
  std::memset(prefix.checksum, 0, sizeof(prefix.checksum));
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  const bool done = context != nullptr && EVP_DigestInit_ex(context, EVP_sha256(), nullptr) == 1 &&
                    EVP_DigestUpdate(context, &prefix, sizeof(prefix)) == 1 &&
                    EVP_DigestUpdate(context, payload, bytes) == 1 &&
                    EVP_DigestFinal_ex(context, digest, nullptr) == 1;
  EVP_MD_CTX_free(context);
  ELA_CHECK(done, "SHA-256 cannot fail but for lack of memory");
}

template <size_t N>
void PutText(const std::string& text, char (&field)[N]) {
  std::memcpy(field, text.data(), std::min(text.size(), N));
}

template <size_t N>
std::string GetText(const char (&field)[N]) {
  return std::string(field, strnlen(field, N));
}

Prefix PrefixOf(absl::Span<const char> blob) {
  Prefix prefix;
  std::memcpy(&prefix, blob.data(), sizeof(Prefix));
  return prefix;
}

}  // namespace

void SaveState(const StateShape& shape, const StateHeader& header, char* slot, std::string* blob) {
  Prefix prefix{};
  std::memcpy(prefix.magic, kMagic, sizeof(kMagic));
  prefix.version = kVersion;
  prefix.header_bytes = sizeof(Prefix);
  PutText(header.model_fingerprint, prefix.model_fingerprint);
  PutText(header.lobe_fingerprint, prefix.lobe_fingerprint);
  PutText(header.numerics_id, prefix.numerics_id);
  DescribeLayout(shape, prefix.layout);
  prefix.position = header.position;
  prefix.last_sampled = header.last_sampled;
  prefix.sealed_tail = header.sealed_tail;
  prefix.payload_bytes = PayloadBytes(shape, header.position, slot);
  blob->resize(sizeof(Prefix) + prefix.payload_bytes);
  Write write{blob->data() + sizeof(Prefix)};
  VisitState(shape, slot, header.position, &write);
  Checksum(prefix, blob->data() + sizeof(Prefix), prefix.payload_bytes, prefix.checksum);
  std::memcpy(blob->data(), &prefix, sizeof(Prefix));
}

absl::StatusOr<StateHeader> ReadStateHeader(absl::Span<const char> blob) {
  if (blob.size() < sizeof(Prefix)) {
    return absl::DataLossError(absl::StrCat(
        "a saved state of ", blob.size(), " bytes is shorter than its header of ", sizeof(Prefix)));
  }
  const Prefix prefix = PrefixOf(blob);
  if (std::memcmp(prefix.magic, kMagic, sizeof(kMagic)) != 0) {
    return absl::DataLossError("a saved state begins with ELASTATE, this one does not");
  }
  if (prefix.version != kVersion || prefix.header_bytes != sizeof(Prefix)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the saved state is of version ", prefix.version, ", this build reads ", kVersion));
  }
  if (blob.size() - sizeof(Prefix) != prefix.payload_bytes) {
    return absl::DataLossError(absl::StrCat("the saved state announces ", prefix.payload_bytes,
                                            " bytes after its header and has ",
                                            blob.size() - sizeof(Prefix)));
  }
  uint8_t digest[32];
  Checksum(prefix, blob.data() + sizeof(Prefix), prefix.payload_bytes, digest);
  if (std::memcmp(digest, prefix.checksum, sizeof(digest)) != 0) {
    return absl::DataLossError("the saved state is damaged: its SHA-256 does not match");
  }
  StateHeader header;
  header.model_fingerprint = GetText(prefix.model_fingerprint);
  header.lobe_fingerprint = GetText(prefix.lobe_fingerprint);
  header.numerics_id = GetText(prefix.numerics_id);
  header.position = prefix.position;
  header.last_sampled = prefix.last_sampled;
  header.sealed_tail = prefix.sealed_tail;
  return header;
}

absl::Status CheckState(const StateShape& shape, absl::Span<const char> blob, char* any_slot) {
  const Prefix prefix = PrefixOf(blob);
  uint32_t words[12];
  DescribeLayout(shape, words);
  if (std::memcmp(words, prefix.layout, sizeof(words)) != 0 || prefix.position < 0 ||
      PayloadBytes(shape, prefix.position, any_slot) != prefix.payload_bytes) {
    return absl::FailedPreconditionError(
        "the saved state has another layout (layers, heads, kernels or convolution) than this "
        "model");
  }
  // A checksum is no proof of origin, and one NaN would poison every later token.
  CheckFinite check{blob.data() + sizeof(Prefix)};
  VisitState(shape, any_slot, prefix.position, &check);
  if (!check.finite) return absl::DataLossError("the saved state holds NaN or infinity");
  return absl::OkStatus();
}

void LoadState(const StateShape& shape, absl::Span<const char> blob, char* slot) {
  Read read{blob.data() + sizeof(Prefix)};
  VisitState(shape, slot, PrefixOf(blob).position, &read);
}

}  // namespace ela
