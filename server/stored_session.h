// How a session's record is written in a store: a format byte, then its members, little-endian,
// text with its length before it. Every store writes the same bytes for the same record.
#ifndef ELA_SERVER_STORED_SESSION_H_
#define ELA_SERVER_STORED_SESSION_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "scheduler/state_store.h"

namespace ela {

std::string EncodeMeta(const SessionMeta& meta);
std::string EncodeSession(const StoredSession& session);

// Errors: kDataLoss (truncated, lengths that disagree, bytes left over), kFailedPrecondition (a
// newer format).
absl::StatusOr<SessionMeta> DecodeMeta(absl::string_view bytes);
absl::StatusOr<StoredSession> DecodeSession(absl::string_view bytes);

// Microseconds since 1970; InfiniteFuture is the largest.
int64_t TimeToMicros(absl::Time time);
absl::Time MicrosToTime(int64_t micros);

}  // namespace ela

#endif  // ELA_SERVER_STORED_SESSION_H_
