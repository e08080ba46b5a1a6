// The keys that sealed states are encrypted with: a text file, one key per line, an id and 64
// hexadecimal digits (openssl rand -hex 32); '#' begins a comment.
//
//   # the first key seals, all of them open
//   2027-01 7d2f...
//   2026-07 91aa...
//
// Rotation: put a new line first and restart the servers; remove an old line when no state sealed
// with it is wanted any more. On several servers the new line goes last everywhere first, then
// first everywhere: so none meets a key that it does not know.
#ifndef ELA_SERVER_SEAL_KEYS_H_
#define ELA_SERVER_SEAL_KEYS_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace ela {

struct SealKey {
  std::string id;  // 1 to 16 letters, digits, '.', '-' or '_'; stands in every blob in clear
  std::array<uint8_t, 32> bytes = {};
};

// Immutable. No message ever holds a byte of a key.
class SealKeys {
 public:
  // Errors: kNotFound, kInvalidArgument (names the line), kFailedPrecondition (everybody on the
  // machine may read or write the file).
  static absl::StatusOr<SealKeys> Load(const std::string& path);
  static absl::StatusOr<SealKeys> Parse(absl::string_view text, absl::string_view origin);

  const SealKey& sealing() const { return keys_.front(); }
  const SealKey* Find(absl::string_view id) const;  // null: not here
  std::string Ids() const;                          // "2027-01, 2026-07": for messages

 private:
  std::vector<SealKey> keys_;  // at least one
};

}  // namespace ela

#endif  // ELA_SERVER_SEAL_KEYS_H_
