// Counters that the engine's thread may touch between two tokens: relaxed atomics, no lock. A
// scrape reads them one by one and may see a step half counted.
#ifndef ELA_SERVER_HISTOGRAM_H_
#define ELA_SERVER_HISTOGRAM_H_

#include <prometheus/client_metric.h>

#include <atomic>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

namespace ela {

// Thread-safe.
class Tally {
 public:
  void Add(uint64_t amount) { value_.fetch_add(amount, std::memory_order_relaxed); }
  uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

// Thread-safe. Observe costs a search over at most 30 bounds and two atomic additions.
class Histogram {
 public:
  // `bounds` ascend; a value counts in the first bucket whose bound is not below it.
  explicit Histogram(std::vector<double> bounds)
      : bounds_(std::move(bounds)), counts_(bounds_.size() + 1) {}

  void Observe(double value) {
    size_t bucket = 0;
    while (bucket < bounds_.size() && bounds_[bucket] < value) ++bucket;
    counts_[bucket].Add(1);
    double sum = sum_.load(std::memory_order_relaxed);
    while (!sum_.compare_exchange_weak(sum, sum + value, std::memory_order_relaxed)) {
    }
  }

  // Cumulative, as Prometheus has it.
  prometheus::ClientMetric::Histogram Read() const {
    prometheus::ClientMetric::Histogram result;
    for (size_t i = 0; i < counts_.size(); ++i) {
      result.sample_count += counts_[i].value();
      result.bucket.push_back({result.sample_count, i < bounds_.size()
                                                        ? bounds_[i]
                                                        : std::numeric_limits<double>::infinity()});
    }
    result.sample_sum = sum_.load(std::memory_order_relaxed);
    return result;
  }

 private:
  const std::vector<double> bounds_;
  std::vector<Tally> counts_;  // [bounds + 1]; the last: above all bounds
  std::atomic<double> sum_{0};
};

}  // namespace ela

#endif  // ELA_SERVER_HISTOGRAM_H_
