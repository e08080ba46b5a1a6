#ifndef ELA_SCHEDULER_SESSION_ERRAND_H_
#define ELA_SCHEDULER_SESSION_ERRAND_H_

#include "scheduler/session_command.h"

namespace ela {

// A command that needs a slot: it waits for one and is served like a request. Exactly one of the
// three is set.
struct SessionErrand {
  SessionDone<RewoundSession> rewound;
  SessionDone<SessionImage> exported;
  SessionDone<SessionInfo> imported;
  SessionImage image;  // what is sealed, or loaded; borrowed by the worker meanwhile
};

}  // namespace ela

#endif  // ELA_SCHEDULER_SESSION_ERRAND_H_
