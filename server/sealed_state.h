// The envelope in which a state leaves the server, for a client to hold or a store to keep: what it
// takes to continue elsewhere, under one checksum or, with a key, encrypted and authenticated. The
// layout is docs/state.md, "The sealed envelope".
//
// AES-256-GCM from OpenSSL, which is linked for fingerprints and TLS anyway and does it in hardware
// (0.3 ms for the paper's state). Each blob has a key of its own, derived from the file's key and
// 32 random bytes, so that no number of blobs wears a key out; and a derived value that tells a
// wrong key from damaged bytes.
#ifndef ELA_SERVER_SEALED_STATE_H_
#define ELA_SERVER_SEALED_STATE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/types.h"
#include "server/seal_keys.h"

namespace ela {

struct SealedState {
  // In clear, for an early refusal; authenticated with the rest.
  std::string model_fingerprint;  // 64 characters, or empty
  int64_t position = 0;           // tokens absorbed into `state`, [0, 2^48]

  std::string lobe;                  // of Request
  int64_t first_token_position = 0;  // of tokens[0]
  std::vector<TokenId> tokens;       // the log, or the part of it that penalties and text need
  std::string details;               // the session layer's own encoding
  std::string state;                 // as of Worker::BeginSave
};

// What can be read without a key, and nobody vouches for.
struct SealedHeader {
  uint32_t version = 0;
  bool encrypted = false;
  std::string key_id;  // empty: not encrypted
  std::string model_fingerprint;
  int64_t position = 0;
  uint64_t payload_bytes = 0;
};

struct OpenSealedOptions {
  uint64_t max_bytes = uint64_t{1} << 30;  // of the blob
  std::string model_fingerprint;           // that it must have; empty: any
  // With keys, a blob that is not encrypted is refused: anybody could have made it.
  bool allow_unencrypted = false;
};

// Encrypts with keys->sealing(); null: only a checksum, which finds damage and proves no origin.
// Errors: kInvalidArgument (a fingerprint that is not 64 characters, a position out of range),
// kInternal (OpenSSL).
absl::StatusOr<std::string> SealState(const SealedState& state, const SealKeys* keys);

// Checks lengths and the header's own checksum. Errors: kDataLoss (no sealed state, cut off, longer
// than it says, damaged header), kFailedPrecondition (a newer version, an unknown algorithm),
// kInvalidArgument (longer than max_bytes).
absl::StatusOr<SealedHeader> ReadSealedHeader(absl::string_view blob, uint64_t max_bytes);

// Errors, beside those: kFailedPrecondition (another model's; no key, none of that id, another key
// under that id; not encrypted where it must be), kDataLoss (damaged, forged, or contents that
// disagree with themselves).
absl::StatusOr<SealedState> OpenSealedState(absl::string_view blob, const SealKeys* keys,
                                            const OpenSealedOptions& options);

}  // namespace ela

#endif  // ELA_SERVER_SEALED_STATE_H_
