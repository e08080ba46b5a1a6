#ifndef ELA_SCHEDULER_CHOICE_GROUP_H_
#define ELA_SCHEDULER_CHOICE_GROUP_H_

#include <cstdint>

#include "absl/status/status.h"
#include "scheduler/request.h"

namespace ela {

// What the choices of one request have in common. The first one absorbs the prompt; the others are
// made from its state, with the tickets that follow its own. Engine thread only.
struct ChoiceGroup {
  uint64_t first_ticket = 0;
  int32_t num_choices = 0;
  int32_t num_left = 0;    // that have not ended
  bool split = false;      // all of them are there
  bool has_claim = false;  // of the pool, for the state that they begin from
  bool told = false;
  absl::Status status;  // the first that is not OK
  FinishReason reason = FinishReason::kNone;
  Usage usage;
};

}  // namespace ela

#endif  // ELA_SCHEDULER_CHOICE_GROUP_H_
