#ifndef ELA_SERVER_STATE_STORE_FACTORY_H_
#define ELA_SERVER_STATE_STORE_FACTORY_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "scheduler/state_store.h"

namespace ela {

// The store that an operator names in one word: rocksdb:DIRECTORY, redis:HOST:PORT or
// redis:unix:PATH. Errors: kInvalidArgument (none of these), and those of OpenRocksDbStore and
// OpenRedisStore. `credentials_file` is Redis's; empty: none.
absl::StatusOr<std::unique_ptr<StateStore>> OpenStateStore(absl::string_view name,
                                                           const std::string& credentials_file);

// The form alone, without opening anything. Errors: kInvalidArgument.
absl::Status CheckStateStoreName(absl::string_view name);

}  // namespace ela

#endif  // ELA_SERVER_STATE_STORE_FACTORY_H_
