#ifndef ELA_SERVER_METRICS_ENDPOINT_H_
#define ELA_SERVER_METRICS_ENDPOINT_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace prometheus {
class Collectable;
class Exposer;
}  // namespace prometheus

namespace ela {

// http://ADDRESS/metrics, on threads of its own. Thread-compatible.
class MetricsEndpoint {
 public:
  // Errors: kUnavailable (the address cannot be bound).
  static absl::StatusOr<std::unique_ptr<MetricsEndpoint>> Start(
      const std::string& listen, const std::shared_ptr<prometheus::Collectable>& metrics);
  // Takes two seconds (civetweb's threads wake that often): a process that ends skips it.
  ~MetricsEndpoint();

  const std::string& address() const { return address_; }

 private:
  MetricsEndpoint(std::unique_ptr<prometheus::Exposer> exposer, std::string address);

  std::unique_ptr<prometheus::Exposer> exposer_;
  const std::string address_;
};

}  // namespace ela

#endif  // ELA_SERVER_METRICS_ENDPOINT_H_
