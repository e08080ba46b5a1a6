#include "server/sealed_state.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "model/status_macros.h"
#include "server/byte_coding.h"

namespace ela {
namespace {

constexpr absl::string_view kMagic = "ELASEALD";
constexpr uint32_t kVersion = 1;
constexpr size_t kPrefixBytes = 24;  // magic, version, header bytes, header check: every version
constexpr size_t kHeaderBytes = 224;
constexpr size_t kMaxHeaderBytes = 4096;  // of any version
constexpr size_t kCheckAt = 16, kCheckBytes = 8;
constexpr size_t kTagAt = 192, kTagBytes = 32, kGcmTagBytes = 16;
constexpr size_t kFingerprintBytes = 64, kKeyIdBytes = 16;
constexpr int64_t kMaxPosition = int64_t{1} << 48;
constexpr char kKeyPurpose[] = "ela sealed state 1";

enum Algorithm : uint32_t { kChecksum = 0, kAes256Gcm = 1 };

using Salt = std::array<uint8_t, 32>;

// The fixed part of version 1, as its members stand in the blob.
struct Header {
  uint32_t algorithm = kChecksum;
  std::string key_id;
  Salt salt = {};
  std::array<uint8_t, 32> key_check = {};
  std::string model_fingerprint;
  int64_t position = 0;
  uint64_t payload_bytes = 0;
  std::array<uint8_t, kTagBytes> tag = {};
};

// Derived from a file's key for one blob.
struct BlobKey {
  std::array<uint8_t, 32> encryption = {};
  std::array<uint8_t, 32> check = {};
  ~BlobKey() { OPENSSL_cleanse(encryption.data(), encryption.size()); }
};

absl::Status OpenSslError(const char* what) {
  return absl::InternalError(absl::StrCat("OpenSSL: ", what, " failed"));
}

std::array<uint8_t, 32> Sha256(absl::string_view first, absl::string_view second) {
  std::array<uint8_t, 32> digest = {};
  const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context(EVP_MD_CTX_new(),
                                                                   EVP_MD_CTX_free);
  const bool ok = context != nullptr &&
                  EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) == 1 &&
                  EVP_DigestUpdate(context.get(), first.data(), first.size()) == 1 &&
                  EVP_DigestUpdate(context.get(), second.data(), second.size()) == 1 &&
                  EVP_DigestFinal_ex(context.get(), digest.data(), nullptr) == 1;
  ELA_CHECK(ok, "SHA-256 is part of every OpenSSL");
  return digest;
}

absl::string_view TextOf(const std::array<uint8_t, 32>& bytes) {
  return absl::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

void PutPadded(absl::string_view text, size_t size, std::string* bytes) {
  bytes->append(text.data(), text.size());
  bytes->append(size - text.size(), '\0');
}

// All of the header; check and tag as they are in `header`, the header check zero.
std::string EncodeHeader(const Header& header) {
  std::string bytes(kMagic);
  PutNumber(kVersion, &bytes);
  PutNumber(static_cast<uint32_t>(kHeaderBytes), &bytes);
  bytes.append(kCheckBytes, '\0');
  PutNumber(header.algorithm, &bytes);
  PutNumber(uint32_t{0}, &bytes);
  PutPadded(header.key_id, kKeyIdBytes, &bytes);
  absl::StrAppend(&bytes, TextOf(header.salt));
  absl::StrAppend(&bytes, TextOf(header.key_check));
  PutPadded(header.model_fingerprint, kFingerprintBytes, &bytes);
  PutNumber(header.position, &bytes);
  PutNumber(header.payload_bytes, &bytes);
  absl::StrAppend(&bytes, TextOf(header.tag));
  return bytes;
}

std::string HeaderCheck(absl::string_view header) {
  std::string bytes(header);
  std::fill_n(bytes.begin() + kCheckAt, kCheckBytes, '\0');
  return std::string(TextOf(Sha256(bytes, "")).substr(0, kCheckBytes));
}

absl::StatusOr<BlobKey> DeriveKey(const SealKey& key, const Salt& salt) {
  const std::unique_ptr<EVP_KDF, void (*)(EVP_KDF*)> hkdf(EVP_KDF_fetch(nullptr, "HKDF", nullptr),
                                                          EVP_KDF_free);
  if (hkdf == nullptr) return OpenSslError("HKDF");
  const std::unique_ptr<EVP_KDF_CTX, void (*)(EVP_KDF_CTX*)> context(EVP_KDF_CTX_new(hkdf.get()),
                                                                     EVP_KDF_CTX_free);
  char digest[] = "SHA256";
  const auto octets = [](const char* name, const void* data, size_t size) {
    return OSSL_PARAM_construct_octet_string(name, const_cast<void*>(data), size);
  };
  const OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
                               octets(OSSL_KDF_PARAM_KEY, key.bytes.data(), key.bytes.size()),
                               octets(OSSL_KDF_PARAM_SALT, salt.data(), salt.size()),
                               octets(OSSL_KDF_PARAM_INFO, kKeyPurpose, sizeof(kKeyPurpose) - 1),
                               OSSL_PARAM_construct_end()};
  std::array<uint8_t, 64> derived = {};
  if (context == nullptr ||
      EVP_KDF_derive(context.get(), derived.data(), derived.size(), params) != 1) {
    return OpenSslError("HKDF");
  }
  BlobKey result;
  std::copy_n(derived.begin(), 32, result.encryption.begin());
  std::copy_n(derived.begin() + 32, 32, result.check.begin());
  OPENSSL_cleanse(derived.data(), derived.size());
  return result;
}

// AES-256-GCM in place. The nonce is zero: a blob's key encrypts one message. Opening: `tag` is
// compared; false: it does not fit.
absl::StatusOr<bool> Gcm(bool seal, const BlobKey& key, absl::string_view authenticated,
                         char* payload, size_t size, uint8_t* tag) {
  const std::unique_ptr<EVP_CIPHER_CTX, void (*)(EVP_CIPHER_CTX*)> context(EVP_CIPHER_CTX_new(),
                                                                           EVP_CIPHER_CTX_free);
  const std::array<uint8_t, 12> nonce = {};
  int done = 0;
  if (context == nullptr ||
      EVP_CipherInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, key.encryption.data(),
                        nonce.data(), seal ? 1 : 0) != 1 ||
      EVP_CipherUpdate(context.get(), nullptr, &done,
                       reinterpret_cast<const uint8_t*>(authenticated.data()),
                       static_cast<int>(authenticated.size())) != 1) {
    return OpenSslError("AES-256-GCM");
  }
  constexpr size_t kPiece = size_t{1} << 30;  // lengths are int there
  for (size_t at = 0; at < size; at += kPiece) {
    uint8_t* const bytes = reinterpret_cast<uint8_t*>(payload + at);
    if (EVP_CipherUpdate(context.get(), bytes, &done, bytes,
                         static_cast<int>(std::min(kPiece, size - at))) != 1) {
      return OpenSslError("AES-256-GCM");
    }
  }
  uint8_t none[16];
  if (seal) {
    if (EVP_CipherFinal_ex(context.get(), none, &done) != 1 ||
        EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_GET_TAG, kGcmTagBytes, tag) != 1) {
      return OpenSslError("AES-256-GCM");
    }
    return true;
  }
  if (EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_SET_TAG, kGcmTagBytes, tag) != 1) {
    return OpenSslError("AES-256-GCM");
  }
  return EVP_CipherFinal_ex(context.get(), none, &done) == 1;
}

void PutPayload(const SealedState& state, std::string* bytes) {
  PutText(state.lobe, bytes);
  PutNumber(state.first_token_position, bytes);
  PutNumber(static_cast<uint64_t>(state.tokens.size()), bytes);
  PutTokens(state.tokens, bytes);
  PutText(state.details, bytes);
  PutNumber(static_cast<uint64_t>(state.state.size()), bytes);
  bytes->append(state.state);
}

absl::Status ReadPayload(absl::string_view bytes, SealedState* state) {
  ByteReader reader(bytes);
  state->lobe = std::string(reader.ReadText());
  state->first_token_position = reader.ReadNumber<int64_t>();
  const uint64_t num_tokens = reader.ReadNumber<uint64_t>();
  const bool fits = reader.ok() && num_tokens <= reader.num_left() / sizeof(TokenId);
  TakeTokens(reader.ReadBytes(fits ? num_tokens * sizeof(TokenId) : UINT64_MAX), &state->tokens);
  state->details = std::string(reader.ReadText());
  state->state = std::string(reader.ReadBytes(reader.ReadNumber<uint64_t>()));
  const int64_t first = state->first_token_position;
  if (!reader.done() || first < 0 || first > kMaxPosition) {
    return absl::DataLossError("a sealed state's contents disagree with their lengths");
  }
  return absl::OkStatus();
}

std::string Unpadded(absl::string_view bytes) {
  return std::string(bytes.substr(0, std::min(bytes.find('\0'), bytes.size())));
}

// The header of a blob of any version, after what every version promises.
absl::StatusOr<Header> DecodeHeader(absl::string_view blob, uint64_t max_bytes) {
  if (blob.size() > max_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("the sealed state has ", blob.size(),
                                                   " bytes, this server allows ", max_bytes));
  }
  if (blob.size() < kPrefixBytes || blob.substr(0, kMagic.size()) != kMagic) {
    return absl::DataLossError("these bytes are no sealed state");
  }
  ByteReader reader(blob.substr(kMagic.size()));
  const uint32_t version = reader.ReadNumber<uint32_t>();
  const uint32_t header_bytes = reader.ReadNumber<uint32_t>();
  const absl::string_view check = reader.ReadBytes(kCheckBytes);
  const auto damaged = [](absl::string_view what) {
    return absl::DataLossError(absl::StrCat("the sealed state is damaged: ", what));
  };
  if (header_bytes < kPrefixBytes || header_bytes > kMaxHeaderBytes || header_bytes > blob.size()) {
    return damaged("it is cut off in its header");
  }
  if (HeaderCheck(blob.substr(0, header_bytes)) != check) {
    return damaged("its header's checksum does not match");
  }
  if (version != kVersion) {
    return absl::FailedPreconditionError(absl::StrCat("the sealed state has version ", version,
                                                      ", this build reads version ", kVersion));
  }
  if (header_bytes != kHeaderBytes) return damaged("its header has another length");
  Header header;
  header.algorithm = reader.ReadNumber<uint32_t>();
  const uint32_t reserved = reader.ReadNumber<uint32_t>();
  const auto read_32 = [&reader](auto* field) {
    const absl::string_view bytes = reader.ReadBytes(32);
    std::copy(bytes.begin(), bytes.end(), field->begin());
  };
  header.key_id = Unpadded(reader.ReadBytes(kKeyIdBytes));
  read_32(&header.salt);
  read_32(&header.key_check);
  header.model_fingerprint = Unpadded(reader.ReadBytes(kFingerprintBytes));
  header.position = reader.ReadNumber<int64_t>();
  header.payload_bytes = reader.ReadNumber<uint64_t>();
  read_32(&header.tag);
  if (header.algorithm > kAes256Gcm || reserved != 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the sealed state has algorithm ", header.algorithm, ", which this build does not know"));
  }
  if (header.payload_bytes != blob.size() - kHeaderBytes) {
    return damaged(absl::StrCat("it has ", blob.size() - kHeaderBytes,
                                " bytes behind its header, which says ", header.payload_bytes));
  }
  if (header.position < 0 || header.position > kMaxPosition) {
    return damaged(absl::StrCat("position ", header.position));
  }
  return header;
}

// What the checksum or the tag covers beside the payload: the header as it stands, without them.
std::string Covered(absl::string_view header) {
  std::string bytes(header.substr(0, kHeaderBytes));
  std::fill_n(bytes.begin() + kCheckAt, kCheckBytes, '\0');
  std::fill_n(bytes.begin() + kTagAt, kTagBytes, '\0');
  return bytes;
}

absl::StatusOr<BlobKey> KeyFor(const Header& header, const SealKeys* keys) {
  const auto refuse = [&header](const std::string& why) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the state is sealed with key \"", absl::CHexEscape(header.key_id), "\", ", why));
  };
  if (keys == nullptr) return refuse("this server has no keys");
  const SealKey* const key = keys->Find(header.key_id);
  if (key == nullptr) return refuse(absl::StrCat("this server has ", keys->Ids()));
  ELA_ASSIGN_OR_RETURN(BlobKey blob_key, DeriveKey(*key, header.salt));
  if (CRYPTO_memcmp(blob_key.check.data(), header.key_check.data(), blob_key.check.size()) != 0) {
    return refuse("which is not the key that this server has under that id");
  }
  return blob_key;
}

}  // namespace

absl::StatusOr<std::string> SealState(const SealedState& state, const SealKeys* keys) {
  if (!state.model_fingerprint.empty() && state.model_fingerprint.size() != kFingerprintBytes) {
    return absl::InvalidArgumentError(absl::StrCat("a model fingerprint has 64 characters, not ",
                                                   state.model_fingerprint.size()));
  }
  if (state.position < 0 || state.position > kMaxPosition) {
    return absl::InvalidArgumentError(absl::StrCat("position ", state.position));
  }
  Header header;
  header.model_fingerprint = state.model_fingerprint;
  header.position = state.position;
  std::string blob;
  blob.reserve(kHeaderBytes + 64 + state.lobe.size() + state.details.size() + state.state.size() +
               state.tokens.size() * sizeof(TokenId));
  blob.resize(kHeaderBytes);
  PutPayload(state, &blob);
  header.payload_bytes = blob.size() - kHeaderBytes;
  char* const payload = blob.data() + kHeaderBytes;

  if (keys == nullptr) {
    header.tag = Sha256(EncodeHeader(header), {payload, header.payload_bytes});
  } else {
    header.algorithm = kAes256Gcm;
    header.key_id = keys->sealing().id;
    if (RAND_bytes(header.salt.data(), static_cast<int>(header.salt.size())) != 1) {
      return OpenSslError("the random number generator");
    }
    ELA_ASSIGN_OR_RETURN(const BlobKey key, DeriveKey(keys->sealing(), header.salt));
    header.key_check = key.check;
    ELA_RETURN_IF_ERROR(
        Gcm(true, key, EncodeHeader(header), payload, header.payload_bytes, header.tag.data())
            .status());
  }
  std::string bytes = EncodeHeader(header);
  bytes.replace(kCheckAt, kCheckBytes, HeaderCheck(bytes));
  blob.replace(0, kHeaderBytes, bytes);
  return blob;
}

absl::StatusOr<SealedHeader> ReadSealedHeader(absl::string_view blob, uint64_t max_bytes) {
  ELA_ASSIGN_OR_RETURN(const Header header, DecodeHeader(blob, max_bytes));
  SealedHeader result;
  result.version = kVersion;
  result.encrypted = header.algorithm == kAes256Gcm;
  result.key_id = header.key_id;
  result.model_fingerprint = header.model_fingerprint;
  result.position = header.position;
  result.payload_bytes = header.payload_bytes;
  return result;
}

absl::StatusOr<SealedState> OpenSealedState(absl::string_view blob, const SealKeys* keys,
                                            const OpenSealedOptions& options) {
  ELA_ASSIGN_OR_RETURN(const Header header, DecodeHeader(blob, options.max_bytes));
  if (!options.model_fingerprint.empty() && header.model_fingerprint != options.model_fingerprint) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the sealed state is of the model with fingerprint ",
        absl::CHexEscape(header.model_fingerprint), ", this one has ", options.model_fingerprint));
  }
  SealedState state;
  state.model_fingerprint = header.model_fingerprint;
  state.position = header.position;
  absl::string_view payload = blob.substr(kHeaderBytes);
  if (header.algorithm == kChecksum) {
    if (keys != nullptr && !options.allow_unencrypted) {
      return absl::FailedPreconditionError(
          "the state is not encrypted, and this server takes only what is sealed with its keys");
    }
    if (Sha256(Covered(blob), payload) != header.tag) {
      return absl::DataLossError("the sealed state is damaged: its checksum does not match");
    }
    ELA_RETURN_IF_ERROR(ReadPayload(payload, &state));
    return state;
  }
  ELA_ASSIGN_OR_RETURN(const BlobKey key, KeyFor(header, keys));
  std::string opened(payload);
  std::array<uint8_t, kTagBytes> tag = header.tag;
  ELA_ASSIGN_OR_RETURN(const bool authentic,
                       Gcm(false, key, Covered(blob), opened.data(), opened.size(), tag.data()));
  if (!authentic) {
    return absl::DataLossError(
        "the sealed state is damaged: its authentication tag does not match");
  }
  ELA_RETURN_IF_ERROR(ReadPayload(opened, &state));
  return state;
}

}  // namespace ela
