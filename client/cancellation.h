#ifndef ELA_CLIENT_CANCELLATION_H_
#define ELA_CLIENT_CANCELLATION_H_

#include <memory>

namespace ela::client {

class Connection;

// A switch that ends calls: those that were given it and run, and those that are given it later,
// end with kCancelled. It cannot be switched back. Thread-safe; outlives the calls that were given
// it.
class Cancellation {
 public:
  Cancellation();
  ~Cancellation();
  Cancellation(const Cancellation&) = delete;
  Cancellation& operator=(const Cancellation&) = delete;

  void Cancel();
  bool cancelled() const;

 private:
  friend class Connection;
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace ela::client

#endif  // ELA_CLIENT_CANCELLATION_H_
