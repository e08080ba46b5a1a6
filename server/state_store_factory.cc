#include "server/state_store_factory.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "model/status_macros.h"
#include "server/state_store_redis.h"
#include "server/state_store_rocksdb.h"

namespace ela {

absl::Status CheckStateStoreName(absl::string_view name) {
  absl::string_view rest = name;
  const bool known = absl::ConsumePrefix(&rest, "rocksdb:") || absl::ConsumePrefix(&rest, "redis:");
  if (known && !rest.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "state store \"", name, "\" is none of rocksdb:DIRECTORY, redis:HOST:PORT, redis:unix:PATH"));
}

absl::StatusOr<std::unique_ptr<StateStore>> OpenStateStore(absl::string_view name,
                                                           const std::string& credentials_file) {
  ELA_RETURN_IF_ERROR(CheckStateStoreName(name));
  if (absl::ConsumePrefix(&name, "rocksdb:")) {
    RocksDbOptions options;
    options.directory = std::string(name);
    return OpenRocksDbStore(options);
  }
  absl::ConsumePrefix(&name, "redis:");
  RedisOptions options;
  options.address = std::string(name);
  options.credentials_file = credentials_file;
  return OpenRedisStore(options);
}

}  // namespace ela
