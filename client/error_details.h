#ifndef ELA_CLIENT_ERROR_DETAILS_H_
#define ELA_CLIENT_ERROR_DETAILS_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace ela::client {

// One thing that is wrong with a request.
struct FieldViolation {
  std::string field;        // path in the request: "sampling.top_p"
  std::string description;  // the value and the limit
};

// What a server said of an error beside its code and message (google.rpc error details).
struct ErrorDetails {
  std::vector<FieldViolation> field_violations;  // with kInvalidArgument
  std::optional<absl::Duration> retry_after;     // with kResourceExhausted and kUnavailable
  std::string reason;                            // UPPER_SNAKE_CASE, stable; empty: none was sent
  std::string domain;
  std::map<std::string, std::string> metadata;
};

// The details of a status that came from a Client; empty for any other status. The message of such
// a status already tells all of this in words: programs that act on it ask here. Thread-safe.
ErrorDetails DetailsOf(const absl::Status& status);

// Is it kResourceExhausted because a message was over its receiver's limit? Unlike a full server
// that is no matter of time: the same call fails again. Thread-safe.
bool IsTooLarge(const absl::Status& status);

}  // namespace ela::client

#endif  // ELA_CLIENT_ERROR_DETAILS_H_
