// What a process that is killed had been writing, as a function of its seed: so that another can
// tell what must be there.
#ifndef ELA_TESTS_SERVER_STORE_SCRIPT_H_
#define ELA_TESTS_SERVER_STORE_SCRIPT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "tests/fakes/session_makers.h"

namespace ela {

inline constexpr uint32_t kScriptSessions = 12;

inline TokenId ScriptToken(uint32_t session, int64_t position) {
  return static_cast<TokenId>((session * 2654435761u + static_cast<uint32_t>(position)) * 40503u);
}

inline std::vector<TokenId> ScriptTokens(uint32_t session, int64_t begin, int64_t end) {
  std::vector<TokenId> tokens;
  for (int64_t i = begin; i < end; ++i) tokens.push_back(ScriptToken(session, i));
  return tokens;
}

inline std::string ScriptSnapshot(uint32_t session, int64_t position) {
  return std::string(1000 + (session * 7919 + position * 104729) % 60000,
                     static_cast<char>(ScriptToken(session, position)));
}

}  // namespace ela

#endif  // ELA_TESTS_SERVER_STORE_SCRIPT_H_
