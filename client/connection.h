// What all calls of a client share: the channel, the stubs, metadata and deadlines, and the rule by
// which a call is sent again. Not installed: the SDK's headers show no gRPC.
#ifndef ELA_CLIENT_CONNECTION_H_
#define ELA_CLIENT_CONNECTION_H_

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/cancellation.h"
#include "client/client.h"
#include "ela/v1/detection.grpc.pb.h"
#include "ela/v1/generation.grpc.pb.h"
#include "ela/v1/model.grpc.pb.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace ela::client {

// Thread-safe.
class Connection {
 public:
  explicit Connection(ClientOptions options);

  const ClientOptions& options() const { return options_; }
  grpc::Channel& channel() { return *channel_; }
  ela::v1::Generation::Stub& generation() { return *generation_; }
  ela::v1::Detection::Stub& detection() { return *detection_; }
  ela::v1::Models::Stub& models() { return *models_; }
  grpc::health::v1::Health::Stub& health() { return *health_; }

  // `model`, or the client's default where it is empty.
  const std::string& ModelOr(const std::string& model) const;

  // Now plus `timeout`, or plus the client's default.
  absl::Time DeadlineOf(std::optional<absl::Duration> timeout) const;

  // A context with deadline and metadata set.
  std::unique_ptr<grpc::ClientContext> NewContext(absl::Time deadline) const;

  // One unary call, sent again as ClientOptions says, ended by `cancellation` (may be null). The
  // timeout holds for all attempts together.
  absl::Status Unary(const std::function<grpc::Status(grpc::ClientContext*)>& call,
                     std::optional<absl::Duration> timeout = std::nullopt,
                     Cancellation* cancellation = nullptr);

 private:
  const ClientOptions options_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<ela::v1::Generation::Stub> generation_;
  const std::unique_ptr<ela::v1::Detection::Stub> detection_;
  const std::unique_ptr<ela::v1::Models::Stub> models_;
  const std::unique_ptr<grpc::health::v1::Health::Stub> health_;
};

// Decides whether a failed call, of which nothing was received, is worth another attempt.
class RetryRule {
 public:
  RetryRule(const ClientOptions& options, absl::Time deadline);

  // How long to pause before the next attempt; empty: give up, the status is the caller's.
  std::optional<absl::Duration> PauseAfter(const absl::Status& status, absl::Time now);

 private:
  const absl::Time deadline_;
  const absl::Duration longest_pause_;
  int attempts_left_;
  absl::Duration next_pause_;
};

// gRPC's status in this project's words: the message names violations, retry hint, address and the
// call's timeout, and a payload keeps the details for DetailsOf.
absl::Status ToStatus(const grpc::Status& status, const std::string& address,
                      absl::Duration timeout);

// First value of a key of a call's initial metadata, which has been received; empty: it is absent.
std::string InitialMetadata(const grpc::ClientContext& context, const std::string& key);

}  // namespace ela::client

#endif  // ELA_CLIENT_CONNECTION_H_
