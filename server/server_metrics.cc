#include "server/server_metrics.h"

#include <unistd.h>

#include <fstream>

#include "server/metrics_page.h"
#include "server/version.h"

namespace ela {
namespace {

constexpr const char* kMethodNames[kNumMethods] = {
    "Generate", "Score",  "Tokenize",     "Detokenize",      "List",
    "Describe", "Detect", "DetectStream", "DescribeDetector"};
constexpr const char* kCodeNames[] = {
    "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
    "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED"};

const std::vector<double> kCallBounds = {.0005, .001, .0025, .005, .01, .025, .05, .1, .25,
                                         .5,    1,    2.5,   5,    10,  30,   60,  300};

// Of /proc/self; 0 where it cannot be read.
void ReportProcess(MetricsPage* page) {
  std::ifstream memory("/proc/self/statm");
  double pages = 0, resident = 0;
  memory >> pages >> resident;
  page->Gauge("process_resident_memory_bytes", "Resident memory size in bytes.", {},
              resident * static_cast<double>(sysconf(_SC_PAGESIZE)));

  std::ifstream stat("/proc/self/stat");
  std::string text((std::istreambuf_iterator<char>(stat)), {});
  // The second field is the program's name in parentheses, which may hold anything.
  const size_t name_end = text.rfind(')');
  double user = 0, system = 0;
  long threads = 0;
  if (name_end != std::string::npos) {
    std::sscanf(text.c_str() + name_end + 1,
                " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lf %lf %*d %*d %*d %*d %ld", &user,
                &system, &threads);
  }
  page->Counter("process_cpu_seconds_total", "User and system CPU time spent.", {},
                (user + system) / static_cast<double>(sysconf(_SC_CLK_TCK)));
  page->Gauge("process_threads", "Threads of the process.", {}, static_cast<double>(threads));
}

}  // namespace

const char* NameOf(Method method) { return kMethodNames[static_cast<size_t>(method)]; }

ServerMetrics::ServerMetrics() {
  for (int i = 0; i < kNumMethods; ++i) durations_.emplace_back(kCallBounds);
}

ModelMetrics& ServerMetrics::AddModel(const std::string& name, const WorkerInfo& info) {
  models_.push_back(std::make_unique<ModelMetrics>(name, info));
  return *models_.back();
}

DetectMetrics& ServerMetrics::AddDetector(const std::string& name, const DetectorInfo& info) {
  detectors_.push_back(std::make_unique<DetectMetrics>(name, info));
  return *detectors_.back();
}

void ServerMetrics::OnCall(Method method, grpc::StatusCode code, absl::Duration duration) {
  const size_t index = static_cast<size_t>(method);
  calls_[index][static_cast<size_t>(code)].Add(1);
  durations_[index].Observe(absl::ToDoubleSeconds(duration));
}

std::vector<prometheus::MetricFamily> ServerMetrics::Collect() const {
  MetricsPage page;
  page.Gauge("ela_build_info", "Constant 1; the labels say what runs.", {{"version", kVersion}}, 1);
  for (int method = 0; method < kNumMethods; ++method) {
    for (int code = 0; code < kNumCodes; ++code) {
      const uint64_t count = calls_[method][code].value();
      if (count == 0 && code != 0) continue;  // a method always shows its OK
      page.Counter("ela_rpc_calls_total", "Calls that ended, by method and status code.",
                   {{"method", kMethodNames[method]}, {"code", kCodeNames[code]}},
                   static_cast<double>(count));
    }
    page.Add("ela_rpc_seconds", "From a call's arrival to its end.",
             {{"method", kMethodNames[method]}}, durations_[method]);
  }
  for (const auto& model : models_) model->Report(&page);
  for (const auto& detector : detectors_) detector->Report(&page);
  ReportProcess(&page);
  return page.Take();
}

}  // namespace ela
