// Detection from end to end: JPEG files in, boxes out, over gRPC on loopback.
//   detect_service_bench [--model DIR] [--pictures DIR] [--seconds S] [--rounds N] [--threads N]
//                        [--clients N] [--load SHARE] [--images N]
// Without --model: random weights of the own variant at 320 pixels, three classes. One JSON object
// per figure:
//   pictures per second of unary calls and of one stream, always --clients pictures in flight;
//   latency at --load times the first figure, from the time at which a call was due (a late sender
//   counts as latency), with even arrivals (cameras) and with random ones (people);
//   with --images N: growth of resident memory over N pictures.
// The clients run in this process and their work counts against the server. The rates are medians
// over rounds.
#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/synchronization/blocking_counter.h"
#include "ela/v1/detection.grpc.pb.h"
#include "model/status_macros.h"
#include "model/vision/cpu_detector.h"
#include "server/server.h"
#include "tests/model/vision/random_detector.h"

namespace ela {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  std::string model;
  std::string pictures = ELA_SOURCE_DIR "/tests/golden/images/bccd/JPEGImages";
  double seconds = 3;
  int rounds = 5;
  int threads = 0;
  int clients = 8;
  double load = 0.7;
  int64_t images = 0;
};

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double Quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  const size_t rank = std::min(values.size() - 1, static_cast<size_t>(share * values.size()));
  std::nth_element(values.begin(), values.begin() + rank, values.end());
  return values[rank];
}

double ResidentBytes() {
  std::ifstream memory("/proc/self/statm");
  double pages = 0, resident = 0;
  memory >> pages >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
}

absl::StatusOr<std::vector<std::string>> ReadPictures(const std::string& directory) {
  std::vector<std::string> files;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    std::ifstream file(entry.path(), std::ios::binary);
    files.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  if (files.empty()) return absl::NotFoundError("no pictures in " + directory);
  return files;
}

// One unary call; deletes itself.
class Call {
 public:
  // `done` gets the call's status and number of boxes on a thread of gRPC's.
  static void Start(v1::Detection::Stub& stub, const v1::DetectRequest& request,
                    std::function<void(const grpc::Status&, const v1::DetectResponse&)> done) {
    auto* call = new Call(std::move(done));
    stub.async()->Detect(&call->context_, &request, &call->response_, [call](grpc::Status status) {
      call->done_(status, call->response_);
      delete call;
    });
  }

 private:
  explicit Call(std::function<void(const grpc::Status&, const v1::DetectResponse&)> done)
      : done_(std::move(done)) {}

  const std::function<void(const grpc::Status&, const v1::DetectResponse&)> done_;
  grpc::ClientContext context_;
  v1::DetectResponse response_;
};

class Bench {
 public:
  Bench(const Options& options, const std::vector<std::string>& files, const std::string& address)
      : options_(options),
        stub_(v1::Detection::NewStub(
            grpc::CreateChannel(address, grpc::InsecureChannelCredentials()))) {
    for (const std::string& file : files) {
      requests_.emplace_back().add_images()->set_encoded(file);
    }
  }

  // Pictures per second of `options.clients` callers, each of which asks again once it has its
  // answer; until the time or `max_images` is over.
  double Calls(double seconds, int64_t max_images) {
    const auto start = Clock::now();
    absl::BlockingCounter ended(options_.clients);
    std::atomic<int64_t> num_done{0}, next{0};
    std::function<void()> again = [&] {
      const int64_t number = next.fetch_add(1);
      if (SecondsSince(start) > seconds || number >= max_images) {
        ended.DecrementCount();
        return;
      }
      Call::Start(*stub_, requests_[number % requests_.size()],
                  [&](const grpc::Status& status, const v1::DetectResponse& response) {
                    Count(status, response);
                    num_done.fetch_add(1);
                    again();
                  });
    };
    for (int i = 0; i < options_.clients; ++i) again();
    ended.Wait();
    return static_cast<double>(num_done) / SecondsSince(start);
  }

  // The same over one stream.
  double Stream(double seconds) {
    grpc::ClientContext context;
    const auto stream = stub_->DetectStream(&context);
    v1::DetectStreamRequest message;
    message.mutable_start()->set_max_frames_in_flight(options_.clients);
    const auto start = Clock::now();
    stream->Write(message);
    std::thread sender([&] {
      for (uint64_t i = 0; SecondsSince(start) < seconds; ++i) {
        message.mutable_frame()->set_frame_id(i);
        *message.mutable_frame()->mutable_image() = requests_[i % requests_.size()].images(0);
        if (!stream->Write(message)) break;
      }
      stream->WritesDone();
    });
    int64_t num_done = 0;
    v1::DetectStreamResponse response;
    while (stream->Read(&response)) ++num_done;
    const double rate = static_cast<double>(num_done) / SecondsSince(start);
    sender.join();
    if (!stream->Finish().ok()) num_failed_.fetch_add(1);
    return rate;
  }

  // Milliseconds of each call that was due at a rate, whatever the server's state.
  std::vector<double> Latencies(double rate, double seconds, bool even, uint32_t seed) {
    std::mt19937 bits(seed);
    std::exponential_distribution<double> gap(rate);
    std::mutex mutex;
    std::vector<double> milliseconds;
    const int64_t count = static_cast<int64_t>(rate * seconds);
    absl::BlockingCounter ended(static_cast<int>(count));
    const auto start = Clock::now();
    double due = 0;
    for (int64_t i = 0; i < count; ++i) {
      due += even ? 1 / rate : gap(bits);
      const auto time =
          start + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(due));
      std::this_thread::sleep_until(time);
      Call::Start(*stub_, requests_[i % requests_.size()],
                  [&, time](const grpc::Status& status, const v1::DetectResponse& response) {
                    Count(status, response);
                    {
                      std::lock_guard<std::mutex> lock(mutex);
                      milliseconds.push_back(1000 * SecondsSince(time));
                    }
                    ended.DecrementCount();
                  });
    }
    ended.Wait();
    return milliseconds;
  }

  int64_t num_failed() const { return num_failed_; }

 private:
  void Count(const grpc::Status& status, const v1::DetectResponse& response) {
    if (!status.ok() || response.results_size() != 1 || response.results(0).has_error()) {
      num_failed_.fetch_add(1);
    }
  }

  const Options& options_;
  const std::unique_ptr<v1::Detection::Stub> stub_;
  std::vector<v1::DetectRequest> requests_;
  std::atomic<int64_t> num_failed_{0};
};

void PrintRates(const char* how, const Options& options, int threads,
                const std::vector<double>& rates) {
  std::printf(
      "{\"figure\": \"detection over gRPC, %s\", \"threads\": %d, \"in_flight\": %d, \"rounds\": "
      "%d, "
      "\"images_per_second\": %.1f, \"slowest\": %.1f, \"fastest\": %.1f}\n",
      how, threads, options.clients, options.rounds, Quantile(rates, 0.5),
      *std::min_element(rates.begin(), rates.end()), *std::max_element(rates.begin(), rates.end()));
  std::fflush(stdout);
}

void PrintLatencies(const char* arrivals, double rate, const std::vector<double>& milliseconds) {
  std::printf(
      "{\"figure\": \"detection latency over gRPC, %s arrivals\", \"images_per_second\": %.1f, "
      "\"calls\": %zu, \"p50_ms\": %.2f, \"p90_ms\": %.2f, \"p99_ms\": %.2f, \"max_ms\": %.2f}\n",
      arrivals, rate, milliseconds.size(), Quantile(milliseconds, 0.5), Quantile(milliseconds, 0.9),
      Quantile(milliseconds, 0.99), Quantile(milliseconds, 1));
  std::fflush(stdout);
}

absl::Status Run(const Options& options) {
  ELA_ASSIGN_OR_RETURN(const std::vector<std::string> files, ReadPictures(options.pictures));
  ServerConfig config;
  config.listen = "127.0.0.1:0";
  config.threads = options.threads > 0 ? options.threads
                                       : static_cast<int64_t>(std::thread::hardware_concurrency());
  CpuDetectorOptions lanes;
  lanes.num_lanes = static_cast<int32_t>(config.threads);
  std::vector<DetectorParts> detectors(1);
  detectors[0].name = "bench";
  ELA_ASSIGN_OR_RETURN(detectors[0].detector, CreateCpuDetector(options.model, lanes));
  ELA_ASSIGN_OR_RETURN(auto server, Server::Start(config, {}, std::move(detectors)));
  Bench bench(options, files, server->address());

  bench.Calls(0.5, 1 << 30);  // warms up
  std::vector<double> calls, streams;
  for (int round = 0; round < options.rounds; ++round) {
    calls.push_back(bench.Calls(options.seconds, 1 << 30));
    streams.push_back(bench.Stream(options.seconds));
  }
  PrintRates("unary calls", options, lanes.num_lanes, calls);
  PrintRates("one stream", options, lanes.num_lanes, streams);
  const double rate = options.load * Quantile(calls, 0.5);
  std::vector<double> even, random;
  for (int round = 0; round < options.rounds; ++round) {
    for (const double ms : bench.Latencies(rate, options.seconds, true, 0)) even.push_back(ms);
    for (const double ms : bench.Latencies(rate, options.seconds, false, round + 1)) {
      random.push_back(ms);
    }
  }
  PrintLatencies("even", rate, even);
  PrintLatencies("random", rate, random);
  if (options.images > 0) {
    bench.Calls(1e9, std::max<int64_t>(options.images / 10, 1));  // memory that is kept is there
    const double before = ResidentBytes();
    bench.Calls(1e9, options.images);
    std::printf(
        "{\"figure\": \"growth of memory\", \"images\": %lld, \"resident_bytes\": %.0f, "
        "\"growth_bytes\": %.0f}\n",
        static_cast<long long>(options.images), before, ResidentBytes() - before);
  }
  server->Drain(absl::ZeroDuration());
  if (bench.num_failed() == 0) return absl::OkStatus();
  return absl::InternalError(std::to_string(bench.num_failed()) + " calls failed");
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app("Detection over gRPC from end to end.", "detect_service_bench");
  app.add_option("--model", options.model, "Checkpoint (default: random weights, own variant)");
  app.add_option("--pictures", options.pictures, "Folder of JPEG or PNG files");
  app.add_option("--seconds", options.seconds, "Of each round")->check(CLI::PositiveNumber);
  app.add_option("--rounds", options.rounds, "Rounds of each kind")->check(CLI::PositiveNumber);
  app.add_option("--threads", options.threads, "Worker threads and lanes; 0: one per core");
  app.add_option("--clients", options.clients, "Pictures in flight")->check(CLI::Range(1, 64));
  app.add_option("--load", options.load, "Share of the full rate for the latencies");
  app.add_option("--images", options.images, "Pictures over which memory must not grow");
  CLI11_PARSE(app, argc, argv);
  std::string temporary;
  if (options.model.empty()) {
    temporary = std::filesystem::temp_directory_path() /
                ("ela_detect_service_bench_" + std::to_string(getpid()));
    std::filesystem::create_directory(temporary);
    WriteRandomDetector(MakeDetectorConfig(DetectorVariant::kLatMs, 3), 1, temporary);
    options.model = temporary;
  }
  const absl::Status status = Run(options);
  if (!temporary.empty()) std::filesystem::remove_all(temporary);
  if (status.ok()) return 0;
  std::fprintf(stderr, "detect_service_bench: %s\n", status.ToString().c_str());
  return 1;
}

}  // namespace
}  // namespace ela

int main(int argc, char** argv) { return ela::Main(argc, argv); }
