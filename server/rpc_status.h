// How an error leaves the server: a code the caller can act on, a sentence, and google.rpc details
// in the trailer grpc-status-details-bin. Details travel inside absl::Status as payloads.
#ifndef ELA_SERVER_RPC_STATUS_H_
#define ELA_SERVER_RPC_STATUS_H_

#include <grpcpp/support/status.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace ela {

// Collects what is wrong with a request, so that the caller sees everything at once.
class Violations {
 public:
  static constexpr size_t kMaxShown = 16;

  // `field` is a path in the request: "sampling.top_p"; `sentence` starts with "is" or "has" and
  // names value and limit. Of a request with very many faults the first kMaxShown are told and the
  // rest counted: a status travels in HTTP headers, of which clients take 8 KB.
  void Add(absl::string_view field, absl::string_view sentence);
  bool empty() const { return fields_.empty(); }
  // kInvalidArgument with a google.rpc.BadRequest; OK when there are none.
  absl::Status ToStatus() const;

 private:
  std::vector<std::string> fields_, sentences_;
  size_t not_shown_ = 0;
};

// A name that a caller chose, for an error message: at most 64 bytes of it.
std::string Shortened(absl::string_view name);

// Adds a google.rpc.ErrorInfo with this reason (UPPER_SNAKE_CASE, stable, docs/server.md) and the
// domain "ela.v1". A status that has none gets its code's default in ToGrpcStatus.
absl::Status WithReason(absl::Status status, absl::string_view reason);
std::string ReasonOf(const absl::Status& status);

// The status as it goes over the wire: BadRequest, ErrorInfo, and RetryInfo from RetryAfter
// (scheduler/request.h). An internal error keeps its message to the log: the caller gets its
// request id.
grpc::Status ToGrpcStatus(const absl::Status& status, absl::string_view request_id);

}  // namespace ela

#endif  // ELA_SERVER_RPC_STATUS_H_
