#include "server/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>
#include <spdlog/spdlog.h>

#include <mutex>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "model/status_macros.h"
#include "server/unreadable_message.h"

namespace ela {
namespace {

constexpr char kGenerationName[] = "ela.v1.Generation";
constexpr char kDetectionName[] = "ela.v1.Detection";
constexpr char kModelsName[] = "ela.v1.Models";

// What finished streams get to reach their clients before the rest is cut off.
constexpr absl::Duration kFlushTime = absl::Seconds(5);

// A message costs some 20 µs of a core at both ends together: a fifth of a core at most for all.
constexpr absl::Duration kDeliveryPace = absl::Microseconds(100);

// gRPC's own buffers, all connections together.
constexpr size_t kTransportBytes = 256 << 20;

// host:port with the port that was taken.
std::string WithPort(const std::string& address, int port) {
  const size_t colon = address.rfind(':');
  if (absl::StartsWith(address, "unix:") || colon == std::string::npos) return address;
  return absl::StrCat(address.substr(0, colon + 1), port);
}

void UsePlugins() {
  static std::once_flag once;
  std::call_once(once, [] {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  });
}

void SetArguments(const ServerConfig& config, grpc::ServerBuilder* builder) {
  builder->SetMaxReceiveMessageSize(static_cast<int>(config.max_message_bytes));
  builder->SetMaxSendMessageSize(-1);
  builder->SetResourceQuota(grpc::ResourceQuota("ela-server").Resize(kTransportBytes));
  const std::pair<const char*, int> arguments[] = {
      // Without this two servers share one port, and each gets some of the calls.
      {GRPC_ARG_ALLOW_REUSEPORT, 0},
      {GRPC_ARG_MAX_CONCURRENT_STREAMS, static_cast<int>(config.max_streams)},
      {GRPC_ARG_KEEPALIVE_TIME_MS, 60000},
      {GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20000},
      {GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1},
      // Clients may ping every 10 s; the default of 5 minutes throws them out.
      {GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10000},
  };
  for (const auto& [name, value] : arguments) builder->AddChannelArgument(name, value);
  std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> interceptors;
  interceptors.push_back(std::make_unique<UnreadableMessageNamer>());
  builder->experimental().SetInterceptorCreators(std::move(interceptors));
}

}  // namespace

Server::Server(const ServerConfig& config)
    : config_(config),
      metrics_(std::make_shared<ServerMetrics>()),
      delivery_(kDeliveryPace),
      house_{models_,   *metrics_,   config_.tenants,
             delivery_, tokenizing_, static_cast<size_t>(config_.stream_buffer_tokens)},
      detect_house_{detectors_, *metrics_, config_.tenants, detect_streams_},
      generation_service_(house_),
      detection_service_(detect_house_),
      model_service_(models_, detectors_, *metrics_) {}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerConfig& config,
                                                      std::vector<ModelParts> models,
                                                      std::vector<DetectorParts> detectors) {
  UsePlugins();
  std::unique_ptr<Server> server(new Server(config));
  ELA_RETURN_IF_ERROR(server->AddModels(std::move(models)));
  ELA_RETURN_IF_ERROR(server->AddDetectors(std::move(detectors)));
  ELA_RETURN_IF_ERROR(server->Listen());
  server->SetServing(true);
  return server;
}

Server::~Server() { Drain(absl::ZeroDuration()); }

absl::Status Server::AddModels(std::vector<ModelParts> models) {
  for (ModelParts& parts : models) {
    ModelMetrics& metrics = metrics_->AddModel(parts.name, parts.worker->Info());
    ELA_ASSIGN_OR_RETURN(auto model,
                         ServedModel::Create(std::move(parts), config_, metrics, clock_));
    models_.Add(std::move(model));
  }
  return absl::OkStatus();
}

absl::Status Server::AddDetectors(std::vector<DetectorParts> detectors) {
  for (DetectorParts& parts : detectors) {
    DetectMetrics& metrics = metrics_->AddDetector(parts.name, parts.detector->Info());
    ELA_ASSIGN_OR_RETURN(auto detector,
                         ServedDetector::Create(std::move(parts), config_, metrics, clock_));
    detectors_.Add(std::move(detector));
  }
  return absl::OkStatus();
}

absl::Status Server::Listen() {
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(config_.listen, grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&generation_service_);
  builder.RegisterService(&detection_service_);
  builder.RegisterService(&model_service_);
  SetArguments(config_, &builder);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", config_.listen,
                     ": the port is in use or not this user's to take, or the address is not one "
                     "of this machine"));
  }
  address_ = WithPort(config_.listen, port);
  return absl::OkStatus();
}

void Server::SetServing(bool serving) {
  grpc::HealthCheckServiceInterface* health = server_->GetHealthCheckService();
  for (const char* name : {"", kGenerationName, kDetectionName, kModelsName}) {
    health->SetServingStatus(name, serving);
  }
}

std::shared_ptr<grpc::Channel> Server::InProcessChannel() {
  return server_->InProcessChannel(grpc::ChannelArguments());
}

void Server::Drain(absl::Duration grace) {
  if (server_ == nullptr) return;  // drained, or never started: the models drain themselves
  SetServing(false);
  const absl::Time deadline = absl::Now() + grace;
  detect_streams_.EndAll();
  for (const auto& model : models_.all()) model->BeginDrain(deadline);
  for (const auto& detector : detectors_.all()) detector->BeginDrain(deadline);
  for (const auto& model : models_.all()) model->JoinBy(deadline);
  for (const auto& detector : detectors_.all()) detector->JoinBy(deadline);
  server_->Shutdown(absl::ToChronoTime(absl::Now() + kFlushTime));
  server_->Wait();
  server_.reset();
}

}  // namespace ela
