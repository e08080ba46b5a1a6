#include "client/client.h"

#include <grpcpp/grpcpp.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/connection.h"
#include "client/convert.h"
#include "client/detect_convert.h"
#include "client/detect_stream_impl.h"
#include "client/stream_impl.h"

namespace ela::client {
namespace {

absl::Status CheckOptions(const ClientOptions& options) {
  if (options.address.empty()) return absl::InvalidArgumentError("address is empty");
  if (options.max_attempts < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_attempts is ", options.max_attempts, ", the least is 1"));
  }
  if (options.timeout <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(
        absl::StrCat("timeout is ", absl::FormatDuration(options.timeout), ", it must be > 0"));
  }
  return absl::OkStatus();
}

}  // namespace

Client::Client(std::shared_ptr<Connection> connection) : connection_(std::move(connection)) {}
Client::~Client() = default;

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(ClientOptions options) {
  if (absl::Status status = CheckOptions(options); !status.ok()) return status;
  auto connection = std::make_shared<Connection>(std::move(options));
  const absl::Duration patience = connection->options().wait_for_server;
  if (patience > absl::ZeroDuration() &&
      !connection->channel().WaitForConnected(absl::ToChronoTime(absl::Now() + patience))) {
    return absl::UnavailableError(absl::StrCat("no server answers at ",
                                               connection->options().address, " within ",
                                               absl::FormatDuration(patience)));
  }
  return absl::WrapUnique(new Client(std::move(connection)));
}

GenerateStream Client::Generate(const GenerateParams& params) {
  absl::StatusOr<ela::v1::GenerateRequest> request =
      ToMessage(params, connection_->ModelOr(params.model));
  std::unique_ptr<GenerateStream::Impl::Call> call;
  if (request.ok()) {
    call = std::make_unique<GenerateStream::Impl::Call>(
        connection_, params.timeout,
        [request = *request](Connection& connection, grpc::ClientContext* context) {
          return connection.generation().Generate(context, request);
        });
  }
  return GenerateStream(std::make_unique<GenerateStream::Impl>(std::move(call), request.status()));
}

ScoreStream Client::Score(const ScoreParams& params) {
  absl::StatusOr<ela::v1::ScoreRequest> request =
      ToMessage(params, connection_->ModelOr(params.model));
  std::unique_ptr<ScoreStream::Impl::Call> call;
  if (request.ok()) {
    call = std::make_unique<ScoreStream::Impl::Call>(
        connection_, params.timeout,
        [request = *request](Connection& connection, grpc::ClientContext* context) {
          return connection.generation().Score(context, request);
        });
  }
  return ScoreStream(std::make_unique<ScoreStream::Impl>(std::move(call), request.status()));
}

absl::StatusOr<DetectResults> Client::Detect(DetectParams params, Cancellation* cancellation) {
  const std::string model = connection_->ModelOr(params.model);
  const std::optional<absl::Duration> timeout = params.timeout;
  const size_t num_images = params.images.size();
  absl::StatusOr<ela::v1::DetectRequest> request = ToMessage(std::move(params), model);
  if (!request.ok()) return request.status();
  ela::v1::DetectResponse response;
  const absl::Status status = connection_->Unary(
      [&](grpc::ClientContext* context) {
        return connection_->detection().Detect(context, *request, &response);
      },
      timeout, cancellation);
  if (!status.ok()) return status;
  DetectResults results = FromMessage(std::move(response));
  if (results.images.size() != num_images) {
    return absl::InternalError(
        absl::StrCat("the server answered ", results.images.size(), " pictures of ", num_images));
  }
  return results;
}

DetectStream Client::DetectFrames(const DetectStreamParams& params) {
  return DetectStream(std::make_unique<DetectStream::Impl>(connection_, params));
}

absl::StatusOr<Tokens> Client::Tokenize(const TokenizeParams& params) {
  ela::v1::TokenizeRequest request;
  request.set_model(connection_->ModelOr(params.model));
  request.set_text(params.text);
  request.set_plain(params.plain);
  ela::v1::TokenizeResponse response;
  const absl::Status status = connection_->Unary([&](grpc::ClientContext* context) {
    return connection_->generation().Tokenize(context, request, &response);
  });
  if (!status.ok()) return status;
  return Tokens{{response.ids().begin(), response.ids().end()},
                {response.pieces().begin(), response.pieces().end()}};
}

absl::StatusOr<std::string> Client::Detokenize(const DetokenizeParams& params) {
  ela::v1::DetokenizeRequest request;
  request.set_model(connection_->ModelOr(params.model));
  *request.mutable_ids() = {params.ids.begin(), params.ids.end()};
  request.set_keep_special(params.keep_special);
  ela::v1::DetokenizeResponse response;
  const absl::Status status = connection_->Unary([&](grpc::ClientContext* context) {
    return connection_->generation().Detokenize(context, request, &response);
  });
  if (!status.ok()) return status;
  return std::move(*response.mutable_text());
}

absl::StatusOr<std::vector<ModelSummary>> Client::ListModels() {
  ela::v1::ListModelsResponse response;
  const absl::Status status = connection_->Unary([&](grpc::ClientContext* context) {
    return connection_->models().List(context, {}, &response);
  });
  if (!status.ok()) return status;
  return FromMessage(response);
}

absl::StatusOr<ModelDescription> Client::DescribeModel(const std::string& model) {
  ela::v1::DescribeModelRequest request;
  request.set_model(connection_->ModelOr(model));
  ela::v1::DescribeModelResponse response;
  const absl::Status status = connection_->Unary([&](grpc::ClientContext* context) {
    return connection_->models().Describe(context, request, &response);
  });
  if (!status.ok()) return status;
  return FromMessage(std::move(response));
}

absl::StatusOr<DetectorDescription> Client::DescribeDetector(const std::string& model) {
  ela::v1::DescribeDetectorRequest request;
  request.set_model(connection_->ModelOr(model));
  ela::v1::DescribeDetectorResponse response;
  const absl::Status status = connection_->Unary([&](grpc::ClientContext* context) {
    return connection_->detection().DescribeDetector(context, request, &response);
  });
  if (!status.ok()) return status;
  return FromMessage(std::move(response));
}

absl::StatusOr<Health> Client::CheckHealth(const std::string& service) {
  grpc::health::v1::HealthCheckRequest request;
  request.set_service(service);
  grpc::health::v1::HealthCheckResponse response;
  const absl::Status status = connection_->Unary([&](grpc::ClientContext* context) {
    return connection_->health().Check(context, request, &response);
  });
  if (!status.ok()) return status;
  switch (response.status()) {
    case grpc::health::v1::HealthCheckResponse::SERVING:
      return Health::kServing;
    case grpc::health::v1::HealthCheckResponse::NOT_SERVING:
      return Health::kNotServing;
    default:
      return Health::kUnknown;
  }
}

const char* Name(Health health) {
  switch (health) {
    case Health::kServing:
      return "serving";
    case Health::kNotServing:
      return "not serving";
    case Health::kUnknown:
      break;
  }
  return "unknown";
}

const char* Name(ModelKind kind) {
  switch (kind) {
    case ModelKind::kLanguage:
      return "language";
    case ModelKind::kDetector:
      return "detector";
    case ModelKind::kUnknown:
      break;
  }
  return "unknown";
}

}  // namespace ela::client
