// What a session is beside its tokens and states, as one string of bytes: kept in the StateStore
// (SessionMeta::details) and in exported states (SealedState::details).
#ifndef ELA_SCHEDULER_SESSION_DETAILS_H_
#define ELA_SCHEDULER_SESSION_DETAILS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "model/types.h"
#include "scheduler/session_command.h"

namespace ela {

struct SessionDetails {
  std::vector<Segment> segments;  // of the log
  absl::Duration time_to_live = absl::InfiniteDuration();
  absl::Time used;  // to the microsecond
  Durability durability = Durability::kNone;
  std::string label;
  SessionCall last_call;
};

std::string EncodeDetails(const SessionDetails& details);
// Errors: kDataLoss (truncated, of another version, lengths or kinds that cannot be).
absl::StatusOr<SessionDetails> DecodeDetails(absl::string_view bytes);

}  // namespace ela

#endif  // ELA_SCHEDULER_SESSION_DETAILS_H_
