// Sessions, tokens and writes for tests of stores.
#ifndef ELA_TESTS_FAKES_SESSION_MAKERS_H_
#define ELA_TESTS_FAKES_SESSION_MAKERS_H_

#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "scheduler/state_store.h"

namespace ela {

inline SessionId TestId(uint32_t number) {
  SessionId id;
  for (int i = 0; i < 4; ++i) id.bytes[12 + i] = static_cast<uint8_t>(number >> (24 - 8 * i));
  return id;
}

inline StoredSession TestSession(uint32_t number, const std::string& tenant = "acme") {
  StoredSession session;
  session.id = TestId(number);
  session.tenant = tenant;
  session.owner = "server-a";
  session.created = absl::FromUnixMicros(1'700'000'000'000'001);
  session.meta.model = "ela-7m";
  session.meta.model_fingerprint = std::string(64, 'f');
  return session;
}

// first, first + 1, ...
inline std::vector<TokenId> Tokens(TokenId first, int64_t count) {
  std::vector<TokenId> tokens(count);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

inline SessionWrite AppendTo(const SessionId& id, int64_t generation, int64_t position,
                             std::vector<TokenId> tokens) {
  SessionWrite write;
  write.id = id;
  write.generation = generation;
  write.log_position = position;
  write.tokens = std::move(tokens);
  return write;
}

inline Snapshot SnapshotAt(int64_t position, std::string bytes) {
  return {position, std::make_shared<const std::string>(std::move(bytes))};
}

inline absl::Status WriteTo(StateStore& store, const SessionWrite& write) {
  absl::Status result = absl::UnknownError("no result");
  store.Write({&write, 1}, {&result, 1});
  return result;
}

}  // namespace ela

#endif  // ELA_TESTS_FAKES_SESSION_MAKERS_H_
