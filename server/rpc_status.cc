#include "server/rpc_status.h"

#include <optional>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "scheduler/request.h"

namespace ela {
namespace {

constexpr char kDomain[] = "ela.v1";

// The key of a payload is the type URL of the message that it holds.
template <typename Message>
std::string TypeUrl() {
  return absl::StrCat("type.googleapis.com/", Message::descriptor()->full_name());
}

template <typename Message>
std::optional<Message> FindPayload(const absl::Status& status) {
  const auto payload = status.GetPayload(TypeUrl<Message>());
  Message message;
  if (!payload || !message.ParseFromString(std::string(*payload))) return std::nullopt;
  return message;
}

absl::string_view DefaultReason(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kInvalidArgument:
      return "INVALID_REQUEST";
    case absl::StatusCode::kNotFound:
      return "NOT_FOUND";
    case absl::StatusCode::kResourceExhausted:
      return "QUEUE_FULL";
    case absl::StatusCode::kUnavailable:
      return "DRAINING";
    case absl::StatusCode::kDeadlineExceeded:
      return "DEADLINE_EXCEEDED";
    case absl::StatusCode::kCancelled:
      return "CANCELLED";
    case absl::StatusCode::kDataLoss:
      return "MODEL_OUTPUT_NOT_FINITE";
    default:
      return "INTERNAL";
  }
}

}  // namespace

void Violations::Add(absl::string_view field, absl::string_view sentence) {
  if (fields_.size() == kMaxShown) {
    ++not_shown_;
    return;
  }
  fields_.emplace_back(field);
  sentences_.emplace_back(sentence);
}

absl::Status Violations::ToStatus() const {
  if (empty()) return absl::OkStatus();
  google::rpc::BadRequest details;
  std::string message;
  for (size_t i = 0; i < fields_.size(); ++i) {
    absl::StrAppend(&message, i == 0 ? "" : "; ", fields_[i], " ", sentences_[i]);
    auto* violation = details.add_field_violations();
    violation->set_field(fields_[i]);
    violation->set_description(sentences_[i]);
  }
  if (not_shown_ > 0) absl::StrAppend(&message, "; and ", not_shown_, " more");
  absl::Status status = absl::InvalidArgumentError(message);
  status.SetPayload(TypeUrl<google::rpc::BadRequest>(), absl::Cord(details.SerializeAsString()));
  return status;
}

std::string Shortened(absl::string_view name) {
  constexpr size_t kMaxBytes = 64;
  if (name.size() <= kMaxBytes) return std::string(name);
  size_t end = kMaxBytes;
  while (end > 0 && (static_cast<unsigned char>(name[end]) & 0xC0) == 0x80) --end;  // whole UTF-8
  return absl::StrCat(name.substr(0, end), "... (", name.size(), " bytes)");
}

absl::Status WithReason(absl::Status status, absl::string_view reason) {
  google::rpc::ErrorInfo info;
  info.set_reason(std::string(reason));
  info.set_domain(kDomain);
  status.SetPayload(TypeUrl<google::rpc::ErrorInfo>(), absl::Cord(info.SerializeAsString()));
  return status;
}

std::string ReasonOf(const absl::Status& status) {
  if (auto info = FindPayload<google::rpc::ErrorInfo>(status)) return info->reason();
  return std::string(DefaultReason(status.code()));
}

grpc::Status ToGrpcStatus(const absl::Status& status, absl::string_view request_id) {
  if (status.ok()) return grpc::Status::OK;
  const std::string reason = ReasonOf(status);
  google::rpc::Status wire;
  wire.set_code(static_cast<int>(status.code()));  // the two enumerations share their numbers
  wire.set_message(std::string(status.message()));
  if (status.code() == absl::StatusCode::kInternal || status.code() == absl::StatusCode::kUnknown) {
    wire.set_code(static_cast<int>(absl::StatusCode::kInternal));
    wire.set_message(absl::StrCat("internal error; the server's log has it under request id ",
                                  request_id.empty() ? "(none)" : request_id));
  }
  google::rpc::ErrorInfo info;
  info.set_reason(reason);
  info.set_domain(kDomain);
  if (!request_id.empty()) (*info.mutable_metadata())["request_id"] = std::string(request_id);
  wire.add_details()->PackFrom(info);
  if (auto bad_request = FindPayload<google::rpc::BadRequest>(status)) {
    wire.add_details()->PackFrom(*bad_request);
  }
  if (const std::optional<absl::Duration> delay = RetryAfter(status)) {
    google::rpc::RetryInfo retry;
    const int64_t nanos = absl::ToInt64Nanoseconds(*delay);
    retry.mutable_retry_delay()->set_seconds(nanos / 1000000000);
    retry.mutable_retry_delay()->set_nanos(static_cast<int32_t>(nanos % 1000000000));
    wire.add_details()->PackFrom(retry);
  }
  return grpc::Status(static_cast<grpc::StatusCode>(wire.code()), wire.message(),
                      wire.SerializeAsString());
}

}  // namespace ela
