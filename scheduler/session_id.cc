#include "scheduler/session_id.h"

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace ela {

std::string SessionId::ToHex() const { return absl::BytesToHexString(raw()); }

absl::StatusOr<SessionId> SessionId::FromHex(absl::string_view hex) {
  SessionId id;
  bool digits = hex.size() == 2 * id.bytes.size();
  for (const char c : hex) digits = digits && absl::ascii_isxdigit(static_cast<unsigned char>(c));
  if (!digits) {
    return absl::InvalidArgumentError(
        absl::StrCat("a session id is 32 hexadecimal digits, this one has ", hex.size(),
                     " characters", hex.size() == 32 ? " but not all are digits" : ""));
  }
  const std::string raw = absl::HexStringToBytes(hex);
  for (size_t i = 0; i < id.bytes.size(); ++i) id.bytes[i] = static_cast<uint8_t>(raw[i]);
  return id;
}

}  // namespace ela
