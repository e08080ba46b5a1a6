#include "server/metrics_page.h"

#include <algorithm>

namespace ela {

prometheus::ClientMetric& MetricsPage::Sample(const std::string& name, const std::string& help,
                                              prometheus::MetricType type, const Labels& labels) {
  auto family = std::find_if(families_.begin(), families_.end(),
                             [&name](const auto& candidate) { return candidate.name == name; });
  if (family == families_.end()) {
    prometheus::MetricFamily fresh;
    fresh.name = name;
    fresh.help = help;
    fresh.type = type;
    family = families_.insert(families_.end(), std::move(fresh));
  }
  prometheus::ClientMetric& sample = family->metric.emplace_back();
  for (const auto& [label, value] : labels) sample.label.push_back({label, value});
  return sample;
}

}  // namespace ela
