#include "client/connection.h"

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "client/cancellation_impl.h"

namespace ela::client {
namespace {

// A scored chunk with raw logits is the largest message that a server sends.
constexpr int kMaxReceiveBytes = 256 << 20;

std::shared_ptr<grpc::Channel> MakeChannel(const ClientOptions& options) {
  grpc::ChannelArguments arguments;
  // With a target of several addresses calls take turns, and a retry goes to another replica.
  arguments.SetServiceConfigJSON(R"({"loadBalancingConfig": [{"round_robin": {}}]})");
  // gRPC's own retries know nothing of RetryInfo; RetryRule stands in for them.
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetMaxReceiveMessageSize(kMaxReceiveBytes);
  // After a lost connection try again within seconds, not minutes: servers restart quickly.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  // A server that vanished without a word is noticed within 40 s of a stream's silence.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10000);
  arguments.SetUserAgentPrefix("ela-client/" ELA_VERSION);
  return grpc::CreateCustomChannel(
      options.address,
      options.credentials ? options.credentials : grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace

Connection::Connection(ClientOptions options)
    : options_(std::move(options)),
      channel_(MakeChannel(options_)),
      generation_(ela::v1::Generation::NewStub(channel_)),
      detection_(ela::v1::Detection::NewStub(channel_)),
      models_(ela::v1::Models::NewStub(channel_)),
      health_(grpc::health::v1::Health::NewStub(channel_)) {}

const std::string& Connection::ModelOr(const std::string& model) const {
  return model.empty() ? options_.model : model;
}

absl::Time Connection::DeadlineOf(std::optional<absl::Duration> timeout) const {
  return absl::Now() + timeout.value_or(options_.timeout);
}

std::unique_ptr<grpc::ClientContext> Connection::NewContext(absl::Time deadline) const {
  auto context = std::make_unique<grpc::ClientContext>();
  if (deadline != absl::InfiniteFuture()) context->set_deadline(absl::ToChronoTime(deadline));
  if (!options_.tenant.empty()) context->AddMetadata("ela-tenant", options_.tenant);
  return context;
}

absl::Status Connection::Unary(const std::function<grpc::Status(grpc::ClientContext*)>& call,
                               std::optional<absl::Duration> timeout, Cancellation* cancellation) {
  const absl::Time deadline = DeadlineOf(timeout);
  RetryRule retry(options_, deadline);
  Cancellation never;
  Cancellation::Impl& until = *(cancellation != nullptr ? cancellation : &never)->impl_;
  while (true) {
    const std::unique_ptr<grpc::ClientContext> context = NewContext(deadline);
    until.Add(context.get());
    const absl::Status status =
        ToStatus(call(context.get()), options_.address, timeout.value_or(options_.timeout));
    until.Remove(context.get());
    if (status.ok()) return status;
    const std::optional<absl::Duration> pause = retry.PauseAfter(status, absl::Now());
    if (!pause.has_value()) return status;
    if (until.Wait(*pause)) {
      return absl::CancelledError("cancelled by the caller while waiting to try again");
    }
  }
}

RetryRule::RetryRule(const ClientOptions& options, absl::Time deadline)
    : deadline_(deadline),
      longest_pause_(options.longest_pause),
      attempts_left_(options.max_attempts - 1),
      next_pause_(options.first_pause) {}

std::optional<absl::Duration> RetryRule::PauseAfter(const absl::Status& status, absl::Time now) {
  if (status.code() != absl::StatusCode::kUnavailable || attempts_left_ <= 0) return std::nullopt;
  --attempts_left_;
  const absl::Duration doubling = std::min(next_pause_, longest_pause_);
  next_pause_ *= 2;
  const absl::Duration pause = DetailsOf(status).retry_after.value_or(doubling);
  if (pause > longest_pause_ || now + pause >= deadline_) return std::nullopt;
  return pause;
}

std::string InitialMetadata(const grpc::ClientContext& context, const std::string& key) {
  const auto& metadata = context.GetServerInitialMetadata();
  const auto found = metadata.find(key);
  return found == metadata.end() ? "" : std::string(found->second.data(), found->second.size());
}

}  // namespace ela::client
