// What the world may ask of sessions: messages to the engine, each with the callback that answers
// it. Status codes are those of proto/ela/v1/session.proto.
#ifndef ELA_SCHEDULER_SESSION_COMMAND_H_
#define ELA_SCHEDULER_SESSION_COMMAND_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/types.h"
#include "scheduler/request.h"
#include "scheduler/session_id.h"

namespace ela {

struct SessionCheckpoint {
  std::string name;
  int64_t position = 0;  // tokens before it
};

// How much of a session outlives the process; anything but kNone needs a store.
enum class Durability : uint8_t { kNone, kEndOfCall, kEveryMessage };

// The last call that a session saw, so that a client who lost the stream can have the rest: the
// text up to now is in the log from prompt_end on; a call that has no reason yet broke off, and
// goes on by a new one without a prompt, which yields the same tokens.
struct SessionCall {
  std::string record;                         // Request::record
  int64_t prompt_end = 0;                     // in the log
  FinishReason reason = FinishReason::kNone;  // none: it had not ended
};

enum class SessionPlace { kRunning, kParked, kStored };

struct SessionInfo {
  SessionId id;
  std::string lobe;
  std::string label;
  int64_t num_tokens = 0;                      // of the log
  std::vector<SessionCheckpoint> checkpoints;  // by position
  absl::Time created;
  absl::Time used;     // the end of the last call
  absl::Time expires;  // InfiniteFuture: never, or in use
  absl::Duration time_to_live;
  SessionPlace place = SessionPlace::kParked;
  bool busy = false;
  Durability durability = Durability::kNone;
  int64_t durable_tokens = 0;  // of the log, that the store has acknowledged
  SessionCall last_call;
  int64_t memory_bytes = 0;  // log and snapshots, those shared with others counted here too
  // When asked for: the log, and its cuts into prompt and generated segments.
  std::vector<TokenId> tokens;
  std::vector<Segment> segments;
};

// A session as it leaves a process. `state` is Worker::BeginSave of a slot that has absorbed the
// first state_position tokens; empty: none was kept, the log is absorbed again.
struct SessionImage {
  std::string lobe;
  std::vector<TokenId> tokens;
  std::vector<Segment> segments;
  int64_t state_position = 0;
  std::string state;
};

// Called exactly once, on the engine's thread (when the engine is draining: in the call that brings
// the command); appends or posts and returns, and does not call back into the engine.
template <typename T>
using SessionDone = std::function<void(absl::StatusOr<T>)>;

// What a durable session is told of is kept: the answers of all commands wait for the store, and so
// does the end of a call. A store that does not keep it: kUnavailable, or the store's own error;
// the session itself goes on in memory.
//
// Errors: kResourceExhausted (every snapshot that the budget allows is claimed by a session or a
// checkpoint; the text names the budget), kFailedPrecondition (this engine has no sessions, or
// no store for a durable one).
struct CreateSession {
  std::string tenant;
  std::string lobe;                                        // of Request
  absl::Duration time_to_live = absl::InfiniteDuration();  // after the last use
  Durability durability = Durability::kNone;
  std::string label;
  SessionDone<SessionInfo> done;
};

// Costs no copy of a state and a pointer per 512 tokens. Errors: as of CreateSession, kNotFound
// (session, checkpoint), kAborted (in use, and no checkpoint is named).
struct ForkSession {
  std::string tenant;
  SessionId id;
  std::optional<std::string> checkpoint;       // none: at the end
  std::optional<absl::Duration> time_to_live;  // none: the parent's
  std::optional<Durability> durability;        // none: the parent's
  std::string label;
  SessionDone<SessionInfo> done;
};

// Names the session's end; an existing name moves. Errors: kNotFound, kAborted (in use),
// kResourceExhausted (as of CreateSession).
struct CheckpointSession {
  std::string tenant;
  SessionId id;
  std::string name;
  SessionDone<SessionInfo> done;
};

// Errors: kNotFound (session, checkpoint), kAborted (in use).
struct DeleteCheckpoint {
  std::string tenant;
  SessionId id;
  std::string name;
  SessionDone<SessionInfo> done;
};

struct RewoundSession {
  SessionInfo info;
  int64_t replayed_tokens = 0;  // computed again
};

// Exactly one of checkpoint and position. Answers when the state is there: what has to be absorbed
// again runs in the steps of the others. What lay behind is gone, checkpoints included. Errors:
// kNotFound (session, checkpoint), kAborted (in use), kOutOfRange (behind the end),
// kFailedPrecondition (inside a prompt segment of a model with a prefix lobe), those of a request.
struct RewindSession {
  std::string tenant;
  SessionId id;
  std::optional<std::string> checkpoint;
  std::optional<int64_t> position;  // the log's length afterwards
  SessionDone<RewoundSession> done;
};

// Errors: kNotFound.
struct GetSession {
  std::string tenant;
  SessionId id;
  bool tokens = false;  // and segments
  SessionDone<SessionInfo> done;
};

struct SessionList {
  std::vector<SessionInfo> sessions;  // the tenant's, by id
  bool more = false;                  // behind the last
};

struct ListSessions {
  std::string tenant;
  std::optional<SessionId> after;  // none: from the first
  int32_t limit = 100;             // > 0
  SessionDone<SessionList> done;
};

// What is set changes. Errors: kNotFound.
struct UpdateSession {
  std::string tenant;
  SessionId id;
  std::optional<absl::Duration> time_to_live;
  std::optional<Durability> durability;
  std::optional<std::string> label;
  SessionDone<SessionInfo> done;
};

// Answers with what it was. Errors: kNotFound, kAborted (in use).
struct DeleteSession {
  std::string tenant;
  SessionId id;
  SessionDone<SessionInfo> done;
};

// Waits for a slot to seal the state in. Errors: kNotFound, kAborted (in use).
struct ExportSession {
  std::string tenant;
  SessionId id;
  SessionDone<SessionImage> done;
};

// Waits for a slot to load the state into. Errors: as of CreateSession, kInvalidArgument (tokens
// and segments that do not fit together), kFailedPrecondition and kDataLoss (as Worker::BeginLoad).
struct ImportSession {
  std::string tenant;
  absl::Duration time_to_live = absl::InfiniteDuration();
  Durability durability = Durability::kNone;
  std::string label;
  SessionImage image;
  SessionDone<SessionInfo> done;
};

using SessionCommand = std::variant<CreateSession, ForkSession, CheckpointSession, DeleteCheckpoint,
                                    RewindSession, GetSession, ListSessions, UpdateSession,
                                    DeleteSession, ExportSession, ImportSession>;

}  // namespace ela

#endif  // ELA_SCHEDULER_SESSION_COMMAND_H_
