#include "server/metrics_endpoint.h"

#include <prometheus/collectable.h>
#include <prometheus/exposer.h>

#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace ela {
namespace {

// A connection that sends nothing holds a thread until the timeout: a few of them, as port scanners
// leave, must not keep Prometheus out. The library's own values are 2 threads and 30 s.
constexpr char kThreads[] = "16";
constexpr char kRequestTimeout[] = "1000";

}  // namespace

MetricsEndpoint::MetricsEndpoint(std::unique_ptr<prometheus::Exposer> exposer, std::string address)
    : exposer_(std::move(exposer)), address_(std::move(address)) {}

MetricsEndpoint::~MetricsEndpoint() = default;

absl::StatusOr<std::unique_ptr<MetricsEndpoint>> MetricsEndpoint::Start(
    const std::string& listen, const std::shared_ptr<prometheus::Collectable>& metrics) {
  try {
    auto exposer = std::make_unique<prometheus::Exposer>(std::vector<std::string>{
        "listening_ports", listen, "num_threads", kThreads, "request_timeout_ms", kRequestTimeout,
        "keep_alive_timeout_ms", kRequestTimeout});
    exposer->RegisterCollectable(metrics);
    const std::string host = listen.substr(0, listen.rfind(':') + 1);
    std::string address = absl::StrCat(host, exposer->GetListeningPorts().front());
    return std::unique_ptr<MetricsEndpoint>(
        new MetricsEndpoint(std::move(exposer), std::move(address)));
  } catch (const std::exception& error) {
    return absl::UnavailableError(absl::StrCat(
        "cannot serve metrics on ", listen,
        ": the port is in use, or the address is not one of this machine (", error.what(), ")"));
  }
}

}  // namespace ela
