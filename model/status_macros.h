#ifndef ELA_MODEL_STATUS_MACROS_H_
#define ELA_MODEL_STATUS_MACROS_H_

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Ends the process when an invariant of ours is broken; `sentence` says which. Never guards user
// input.
#define ELA_CHECK(condition, sentence)                                                    \
  do {                                                                                    \
    if (!(condition)) {                                                                   \
      std::fprintf(stderr, "%s:%d: %s [%s]\n", __FILE__, __LINE__, sentence, #condition); \
      std::abort();                                                                       \
    }                                                                                     \
  } while (false)

#define ELA_RETURN_IF_ERROR(expression)                                                \
  do {                                                                                 \
    if (::absl::Status ela_status = (expression); !ela_status.ok()) return ela_status; \
  } while (false)

#define ELA_MACRO_JOIN_INNER(a, b) a##b
#define ELA_MACRO_JOIN(a, b) ELA_MACRO_JOIN_INNER(a, b)

// ELA_ASSIGN_OR_RETURN(auto config, LoadConfig(path));
#define ELA_ASSIGN_OR_RETURN(declaration, expression) \
  ELA_ASSIGN_OR_RETURN_INNER(ELA_MACRO_JOIN(ela_statusor_, __LINE__), declaration, expression)
#define ELA_ASSIGN_OR_RETURN_INNER(holder, declaration, expression) \
  auto holder = (expression);                                       \
  if (!holder.ok()) return std::move(holder).status();              \
  declaration = *std::move(holder)

#endif  // ELA_MODEL_STATUS_MACROS_H_
