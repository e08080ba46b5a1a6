#ifndef ELA_SCHEDULER_SESSION_ID_H_
#define ELA_SCHEDULER_SESSION_ID_H_

#include <array>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace ela {

// The name of a session: 128 random bits, written as 32 hexadecimal digits. Nobody guesses one, and
// two servers that hand them out never meet.
struct SessionId {
  std::array<uint8_t, 16> bytes = {};

  std::string ToHex() const;
  // Exactly 32 digits, either case. Errors: kInvalidArgument.
  static absl::StatusOr<SessionId> FromHex(absl::string_view hex);

  // The 16 bytes as they are, for keys; equal order as the digits.
  absl::string_view raw() const {
    return absl::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }

  friend bool operator==(const SessionId& a, const SessionId& b) { return a.bytes == b.bytes; }
  friend bool operator!=(const SessionId& a, const SessionId& b) { return a.bytes != b.bytes; }
  friend bool operator<(const SessionId& a, const SessionId& b) { return a.bytes < b.bytes; }
  template <typename H>
  friend H AbslHashValue(H h, const SessionId& id) {
    return H::combine(std::move(h), id.bytes);
  }
};

}  // namespace ela

#endif  // ELA_SCHEDULER_SESSION_ID_H_
