// Pluggable lobes change on the engine's thread, between steps. What was kept of a lobe's states
// does not outlive its name: another lobe may get it.
#include <utility>

#include "absl/strings/str_cat.h"
#include "scheduler/engine.h"
#include "scheduler/session.h"

namespace ela {

void Engine::Execute(AddLobe& command) {
  command.done(worker_.AddLobe(command.name, std::move(command.lobe)));
}

void Engine::Execute(RemoveLobe& command) {
  absl::Status removed = worker_.RemoveLobe(command.name);
  if (removed.ok()) {
    prefixes_.DropLobe(command.name);
    for (Sequence* sequence : active_) {
      if (sequence->request.lobe == command.name) sequence->stays = true;
    }
  }
  command.done(std::move(removed));
}

void Engine::Execute(ListLobes& command) { command.done(worker_.Lobes()); }

// A session goes on under the lobe that it began with, or not at all.
absl::Status Engine::CheckLobe(Session& session) const {
  if (session.lobe.empty()) return absl::OkStatus();
  for (const LobeInfo& lobe : worker_.Lobes()) {
    if (lobe.name != session.lobe) continue;
    if (session.lobe_fingerprint.empty()) session.lobe_fingerprint = lobe.fingerprint;
    if (session.lobe_fingerprint == lobe.fingerprint) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrCat("session ", session.id.ToHex(), " began with another lobe of the name \"",
                     session.lobe, "\" than the one that is loaded now"));
  }
  return absl::OkStatus();  // the worker says that there is none of this name
}

}  // namespace ela
