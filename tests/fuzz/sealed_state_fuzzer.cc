// libFuzzer target of the sealed envelope. The first byte chooses: a blob as it is; a blob whose
// header check is put right (so that what is behind it is reached); contents under a right
// checksum; a right blob with damage. Whatever opens is sealed again to the same contents.
#include <openssl/evp.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "server/sealed_state.h"

namespace {

void Check(bool holds) {
  if (!holds) std::abort();
}

const ela::SealKeys& Keys() {
  static const auto* const keys = new ela::SealKeys(*ela::SealKeys::Parse(
      "k 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", "keys"));
  return *keys;
}

std::string Sha256(const std::string& bytes) {
  uint8_t digest[32];
  EVP_Digest(bytes.data(), bytes.size(), digest, nullptr, EVP_sha256(), nullptr);
  return std::string(reinterpret_cast<char*>(digest), sizeof(digest));
}

void FixHeaderCheck(std::string* blob) {
  if (blob->size() < 224) return;
  std::string header = blob->substr(0, 224);
  std::fill_n(header.begin() + 16, 8, '\0');
  blob->replace(16, 8, Sha256(header).substr(0, 8));
}

void Use(const std::string& blob) {
  ela::OpenSealedOptions options;
  options.max_bytes = 1 << 16;
  options.allow_unencrypted = true;
  const bool header = ela::ReadSealedHeader(blob, options.max_bytes).ok();
  const auto opened = ela::OpenSealedState(blob, &Keys(), options);
  if (!opened.ok()) {
    Check(absl::IsDataLoss(opened.status()) || absl::IsFailedPrecondition(opened.status()) ||
          absl::IsInvalidArgument(opened.status()));
    return;
  }
  Check(header);
  if (opened->model_fingerprint.size() != 64) return;
  const auto again = ela::OpenSealedState(*ela::SealState(*opened, &Keys()), &Keys(), {});
  Check(again.ok() && again->tokens == opened->tokens && again->state == opened->state &&
        again->details == opened->details && again->lobe == opened->lobe);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  std::string rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 4) {
    case 0:
      Use(rest);
      break;
    case 1:
      FixHeaderCheck(&rest);
      Use(rest);
      break;
    case 2: {  // `rest` as the payload of a plain blob
      std::string blob = *ela::SealState(ela::SealedState(), nullptr);
      blob.resize(224);
      for (int i = 0; i < 8; ++i) blob[184 + i] = static_cast<char>(rest.size() >> (8 * i));
      std::fill_n(blob.begin() + 192, 32, '\0');
      std::fill_n(blob.begin() + 16, 8, '\0');
      blob.replace(192, 32, Sha256(blob + rest));
      FixHeaderCheck(&blob);
      Use(blob + rest);
      break;
    }
    case 3: {  // sealed, then bytes exchanged
      ela::SealedState state;
      state.state = rest;
      std::string blob = *ela::SealState(state, &Keys());
      bool changed = false;
      for (size_t i = 0; i + 2 < rest.size() && i < 12; i += 3) {
        const size_t at =
            (static_cast<uint8_t>(rest[i]) * 256 + static_cast<uint8_t>(rest[i + 1])) % blob.size();
        changed = changed || blob[at] != rest[i + 2];
        blob[at] = rest[i + 2];
      }
      if (data[0] & 0x40) FixHeaderCheck(&blob);
      ela::OpenSealedOptions options;
      options.allow_unencrypted = true;
      const auto opened = ela::OpenSealedState(blob, &Keys(), options);
      Check(!opened.ok() || opened->state == rest);
      Check(changed || opened.ok());
      break;
    }
  }
  return 0;
}
