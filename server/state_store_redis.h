// Sessions in a Redis server that several machines share. Every change is one Lua script, which
// Redis runs alone and whole: that is the compare-and-set of the fencing, and why a half-sent write
// is no write. How much outlives Redis itself is Redis's configuration (appendonly, appendfsync),
// which Describe() names. One Redis with its replicas, not a cluster: the indexes by tenant and by
// expiry lie beside the sessions.
#ifndef ELA_SERVER_STATE_STORE_REDIS_H_
#define ELA_SERVER_STATE_STORE_REDIS_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "scheduler/state_store.h"

namespace ela {

struct RedisOptions {
  std::string address;  // host:port or unix:path. TLS: a local proxy (hiredis 0.14 has none)
  std::string credentials_file;  // "user:password" or "password" in its first line; empty: none
  std::string prefix = "ela";    // of every key
  absl::Duration connect_timeout = absl::Seconds(2);
  absl::Duration call_timeout = absl::Seconds(5);  // without a byte sent or received
  int32_t max_idle_connections = 8;
};

// Connects once. Errors: kUnavailable (refused, no such host), kDeadlineExceeded (no reply),
// kFailedPrecondition (the credentials are refused), kNotFound (credentials_file).
absl::StatusOr<std::unique_ptr<StateStore>> OpenRedisStore(const RedisOptions& options);

}  // namespace ela

#endif  // ELA_SERVER_STATE_STORE_REDIS_H_
