// ela-server. The only file of this folder that names the concrete worker and detector.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "model/config.h"
#include "model/language/worker_factory.h"
#include "model/status_macros.h"
#include "model/tokenizer.h"
#include "model/vision/cpu_detector.h"
#include "model/vision/detector_config.h"
#include "server/command_line.h"
#include "server/metrics_endpoint.h"
#include "server/served_detector.h"
#include "server/served_model.h"
#include "server/server.h"
#include "server/shutdown_signal.h"
#include "server/stream_log.h"
#include "server/version.h"

namespace ela {
namespace {

constexpr int kCannotStart = 2;
constexpr char kDetectorType[] = "yolo_lat";

struct Loaded {
  std::vector<ModelParts> models;
  std::vector<DetectorParts> detectors;
};

absl::StatusOr<ModelParts> LoadModel(const ModelOptions& options, const ServerConfig& config) {
  ModelParts parts;
  parts.name = options.name;
  ELA_ASSIGN_OR_RETURN(parts.config, LoadLanguageConfig(options.directory));
  ELA_ASSIGN_OR_RETURN(parts.tokenizer, Tokenizer::Load(options.directory));
  ELA_RETURN_IF_ERROR(CheckTokenizer(parts));
  LanguageWorkerOptions worker;
  worker.directory = options.directory;
  worker.num_slots = static_cast<int32_t>(options.slots);
  worker.max_step_tokens = static_cast<int32_t>(config.step_tokens);
  worker.num_threads = static_cast<int32_t>(config.threads);
  ELA_ASSIGN_OR_RETURN(parts.worker, CreateLanguageWorker(worker));
  const WorkerInfo& info = parts.worker->Info();
  spdlog::info(
      "model={} directory={} weight_bytes={} state_bytes={} slots={} pool_bytes={} device={} "
      "numerics={} fingerprint={}",
      options.name, options.directory, info.weight_bytes, info.state_bytes, info.num_slots,
      info.state_bytes * info.num_slots, info.device, info.numerics_id, info.model_fingerprint);
  return parts;
}

// A lane for each thread: on a CPU a picture stays on one core, see scheduler/detect_batcher.h.
absl::StatusOr<DetectorParts> LoadDetector(const ModelOptions& options,
                                           const ServerConfig& config) {
  constexpr int64_t kMaxLanes = 64;
  const int64_t cores = std::max<int64_t>(1, std::thread::hardware_concurrency());
  CpuDetectorOptions detector;
  detector.num_lanes =
      static_cast<int32_t>(std::min(config.threads > 0 ? config.threads : cores, kMaxLanes));
  DetectorParts parts;
  parts.name = options.name;
  ELA_ASSIGN_OR_RETURN(parts.detector, CreateCpuDetector(options.directory, detector));
  const DetectorInfo& info = parts.detector->Info();
  spdlog::info(
      "detector={} directory={} variant={} classes={} input={}x{} weight_bytes={} lanes={} "
      "device={} numerics={} fingerprint={}",
      options.name, options.directory, info.variant, info.class_names.size(), info.input_width,
      info.input_height, info.weight_bytes, info.num_lanes, info.device, info.numerics_id,
      info.model_fingerprint);
  return parts;
}

// What kind a model is, its directory says.
absl::Status Load(const ModelOptions& options, const ServerConfig& config, Loaded* loaded) {
  ELA_ASSIGN_OR_RETURN(const std::string type, ReadModelType(options.directory));
  if (type == kDetectorType) {
    ELA_ASSIGN_OR_RETURN(DetectorParts parts, LoadDetector(options, config));
    loaded->detectors.push_back(std::move(parts));
  } else {
    ELA_ASSIGN_OR_RETURN(ModelParts parts, LoadModel(options, config));
    loaded->models.push_back(std::move(parts));
  }
  return absl::OkStatus();
}

absl::StatusOr<Loaded> LoadModels(const ServerConfig& config) {
  Loaded loaded;
  for (const ModelOptions& options : config.models) {
    const absl::Status status = Load(options, config, &loaded);
    if (!status.ok()) {
      return absl::Status(status.code(),
                          absl::StrCat("model ", options.name, ": ", status.message()));
    }
  }
  return loaded;
}

absl::Status Announce(const std::string& line, const std::string& ready_file) {
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
  if (ready_file.empty()) return absl::OkStatus();
  std::ofstream file(ready_file);
  file << line << "\n";
  file.close();
  return file ? absl::OkStatus()
              : absl::UnavailableError(absl::StrCat("cannot write ready_file ", ready_file));
}

// Serves until a signal, then drains.
absl::Status Serve(const ServerConfig& config, ShutdownSignal& signal) {
  ELA_ASSIGN_OR_RETURN(Loaded loaded, LoadModels(config));
  ELA_ASSIGN_OR_RETURN(const auto server, Server::Start(config, std::move(loaded.models),
                                                        std::move(loaded.detectors)));
  std::string ready = absl::StrCat("ready listen=", server->address());
  if (!config.metrics_listen.empty()) {
    auto endpoint = MetricsEndpoint::Start(config.metrics_listen, server->metrics());
    if (!endpoint.ok()) return endpoint.status();
    absl::StrAppend(&ready, " metrics=", (*endpoint)->address());
    endpoint->release();  // lives as long as the process: see ~MetricsEndpoint
  }
  ELA_RETURN_IF_ERROR(Announce(ready, config.ready_file));
  spdlog::info("{}", ready);
  spdlog::info("signal={} drain_seconds={}", signal.Wait(), config.drain_seconds);
  server->Drain(absl::Seconds(config.drain_seconds));
  spdlog::info("drained");
  return absl::OkStatus();
}

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "ela-server: %s\n", std::string(status.message()).c_str());
  std::fflush(stderr);
  return kCannotStart;
}

int Run(int argc, char** argv) {
  ShutdownSignal signal;
  const absl::StatusOr<CommandLine> line = ParseCommandLine(argc, argv);
  if (!line.ok()) return Fail(line.status());
  if (!line->answer.empty()) {
    std::printf("%s\n", line->answer.c_str());
    return 0;
  }
  StartLog(line->config.log_level);
  if (line->check) {
    const auto models = LoadModels(line->config);
    if (!models.ok()) return Fail(models.status());
    std::printf("%s\n", ToJson(line->config).c_str());
    return 0;
  }
  spdlog::info("ela-server {} {}", kVersion, ToLogLine(line->config));
  const absl::Status served = Serve(line->config, signal);
  return served.ok() ? 0 : Fail(served);
}

}  // namespace
}  // namespace ela

int main(int argc, char** argv) {
  const int code = ela::Run(argc, argv);
  std::fflush(stdout);
  std::quick_exit(code);  // no destructors: the metrics endpoint's threads still run
}
