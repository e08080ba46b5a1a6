#ifndef ELA_SERVER_REDIS_CLIENT_H_
#define ELA_SERVER_REDIS_CLIENT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "server/state_store_redis.h"

struct redisContext;

namespace ela {

struct RedisReply {
  enum Kind { kNil, kInteger, kText, kList };
  Kind kind = kNil;
  int64_t integer = 0;
  std::string text;
  std::vector<RedisReply> list;
};

// Words of a command; each any bytes. Borrowed for the call.
using RedisCommand = std::vector<absl::string_view>;

// Connections to one server, made when they are needed and kept when idle. Thread-safe.
class RedisClient {
 public:
  // Connects once. Errors: see OpenRedisStore.
  static absl::StatusOr<std::unique_ptr<RedisClient>> Create(const RedisOptions& options);
  ~RedisClient();

  // Sends one command and waits for its reply. Errors: kUnavailable (the connection broke, the
  // server loads or cannot write), kDeadlineExceeded (no reply in time: it may have run),
  // kResourceExhausted (its memory is full), kFailedPrecondition (credentials), kInternal (a
  // command that it does not take).
  absl::StatusOr<RedisReply> Run(const RedisCommand& command);

  // Sends all at once, then reads all replies: one round trip.
  std::vector<absl::StatusOr<RedisReply>> RunAll(absl::Span<const RedisCommand> commands);

  const std::string& address() const { return options_.address; }

 private:
  struct Close {
    void operator()(redisContext* context) const;
  };
  using Connection = std::unique_ptr<redisContext, Close>;

  explicit RedisClient(const RedisOptions& options) : options_(options) {}

  absl::StatusOr<Connection> Connect() const;
  absl::Status Authenticate(redisContext* context) const;
  Connection TakeIdle();
  void KeepIdle(Connection connection);
  absl::Status ErrorOf(const redisContext* context) const;
  absl::StatusOr<RedisReply> ReadReply(redisContext* context, bool* broken) const;

  const RedisOptions options_;
  std::string user_, password_;  // set by Create

  absl::Mutex mutex_;
  std::vector<Connection> idle_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace ela

#endif  // ELA_SERVER_REDIS_CLIENT_H_
