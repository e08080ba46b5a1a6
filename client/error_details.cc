#include "client/error_details.h"

#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/connection.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace ela::client {
namespace {

// The payload holds the bytes of the trailer grpc-status-details-bin, a google.rpc.Status.
constexpr char kPayloadUrl[] = "type.googleapis.com/google.rpc.Status";

ErrorDetails Parse(const std::string& bytes) {
  ErrorDetails details;
  google::rpc::Status status;
  if (!status.ParseFromString(bytes)) return details;
  for (const google::protobuf::Any& any : status.details()) {
    google::rpc::BadRequest bad_request;
    google::rpc::RetryInfo retry;
    google::rpc::ErrorInfo info;
    if (any.UnpackTo(&bad_request)) {
      for (const auto& violation : bad_request.field_violations()) {
        details.field_violations.push_back({violation.field(), violation.description()});
      }
    } else if (any.UnpackTo(&retry)) {
      details.retry_after = absl::Seconds(retry.retry_delay().seconds()) +
                            absl::Nanoseconds(retry.retry_delay().nanos());
    } else if (any.UnpackTo(&info)) {
      details.reason = info.reason();
      details.domain = info.domain();
      details.metadata.insert(info.metadata().begin(), info.metadata().end());
    }
  }
  return details;
}

// gRPC's own words for a server that is not there.
bool NeverConnected(const std::string& message) {
  return absl::StrContains(message, "failed to connect") ||
         absl::StrContains(message, "Connection refused") ||
         absl::StrContains(message, "DNS resolution failed");
}

// gRPC's own words for a message over the limit of its receiver.
constexpr char kTooLarge[] = "larger than max";

// The server's message, with whatever of the details it does not say itself.
std::string MessageOf(const grpc::Status& status, const ErrorDetails& details,
                      const std::string& address, absl::Duration timeout) {
  std::string message = status.error_message();
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE && NeverConnected(message)) {
    message = absl::StrCat("no server answers at ", address, " (", message, ")");
  }
  if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED &&
      timeout != absl::InfiniteDuration()) {
    // A server that ended the call itself may tell more than gRPC's two words.
    const std::string more = message == "Deadline Exceeded" ? "" : absl::StrCat(": ", message);
    message = absl::StrCat("no complete answer within ", absl::FormatDuration(timeout), more);
  }
  if (status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED &&
      !details.retry_after.has_value() && absl::StrContains(message, kTooLarge)) {
    message = absl::StrCat(absl::StartsWith(message, "CLIENT:")
                               ? "the answer is larger than this client takes"
                               : "the request is larger than the server takes",
                           ", sending it again cannot help (", message, ")");
  }
  for (const FieldViolation& violation : details.field_violations) {
    if (absl::StrContains(message, violation.description) &&
        absl::StrContains(message, violation.field)) {
      continue;
    }
    absl::StrAppend(&message, message.empty() ? "" : "\n  ", violation.field, ": ",
                    violation.description);
  }
  if (details.retry_after.has_value()) {
    absl::StrAppend(&message, " (try again in ", absl::FormatDuration(*details.retry_after), ")");
  }
  return message;
}

}  // namespace

absl::Status ToStatus(const grpc::Status& status, const std::string& address,
                      absl::Duration timeout) {
  if (status.ok()) return absl::OkStatus();
  const ErrorDetails details = Parse(status.error_details());
  // gRPC and absl number their codes alike.
  absl::Status result(static_cast<absl::StatusCode>(status.error_code()),
                      MessageOf(status, details, address, timeout));
  if (!status.error_details().empty()) {
    result.SetPayload(kPayloadUrl, absl::Cord(status.error_details()));
  }
  return result;
}

ErrorDetails DetailsOf(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(kPayloadUrl);
  return payload.has_value() ? Parse(std::string(*payload)) : ErrorDetails();
}

bool IsTooLarge(const absl::Status& status) {
  return status.code() == absl::StatusCode::kResourceExhausted &&
         absl::StrContains(status.message(), kTooLarge) &&
         !DetailsOf(status).retry_after.has_value();
}

}  // namespace ela::client
