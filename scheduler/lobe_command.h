// Pluggable lobes, as the world asks for them: messages to the engine, whose thread alone may
// change what the worker holds. Reading a lobe from its files (Worker::LoadLobe) is for any thread.
#ifndef ELA_SCHEDULER_LOBE_COMMAND_H_
#define ELA_SCHEDULER_LOBE_COMMAND_H_

#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/worker.h"

namespace ela {

// `done` is called as SessionDone is.

// Requests and sessions may name it from now on. Errors: as Worker::AddLobe.
struct AddLobe {
  std::string name;
  std::unique_ptr<LoadedLobe> lobe;
  std::function<void(absl::Status)> done;
};

// Nobody new may. What runs under it goes on to its end in its slot; a session of it, and what was
// swapped out, ends with kFailedPrecondition until an equal lobe is there again. Errors: as
// Worker::RemoveLobe.
struct RemoveLobe {
  std::string name;
  std::function<void(absl::Status)> done;
};

struct ListLobes {
  std::function<void(absl::StatusOr<std::vector<LobeInfo>>)> done;
};

using LobeCommand = std::variant<AddLobe, RemoveLobe, ListLobes>;

}  // namespace ela

#endif  // ELA_SCHEDULER_LOBE_COMMAND_H_
