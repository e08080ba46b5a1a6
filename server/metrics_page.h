// What a scrape returns, put together family by family.
#ifndef ELA_SERVER_METRICS_PAGE_H_
#define ELA_SERVER_METRICS_PAGE_H_

#include <prometheus/metric_family.h>

#include <string>
#include <utility>
#include <vector>

#include "server/histogram.h"

namespace ela {

// Thread-compatible.
class MetricsPage {
 public:
  using Labels = std::vector<std::pair<std::string, std::string>>;

  // Samples of one name share a family; the first one's help holds.
  void Counter(const std::string& name, const std::string& help, const Labels& labels,
               double value) {
    Sample(name, help, prometheus::MetricType::Counter, labels).counter.value = value;
  }
  void Gauge(const std::string& name, const std::string& help, const Labels& labels, double value) {
    Sample(name, help, prometheus::MetricType::Gauge, labels).gauge.value = value;
  }
  void Add(const std::string& name, const std::string& help, const Labels& labels,
           const Histogram& histogram) {
    Sample(name, help, prometheus::MetricType::Histogram, labels).histogram = histogram.Read();
  }

  std::vector<prometheus::MetricFamily> Take() { return std::move(families_); }

 private:
  prometheus::ClientMetric& Sample(const std::string& name, const std::string& help,
                                   prometheus::MetricType type, const Labels& labels);

  std::vector<prometheus::MetricFamily> families_;
};

}  // namespace ela

#endif  // ELA_SERVER_METRICS_PAGE_H_
