#ifndef ELA_MODEL_TRAIN_DETECTOR_DETECTOR_COMMANDS_H_
#define ELA_MODEL_TRAIN_DETECTOR_DETECTOR_COMMANDS_H_

#include <functional>

#include "absl/status/status.h"

namespace CLI {
class App;
}

namespace ela::train {

// Adds `detector` (train) and `eval-detector` (measure) to the command line. When one of them was
// given, `*command` is set to what runs it; it lives as long as `app`.
void AddDetectorCommands(CLI::App* app, std::function<absl::Status()>* command);

}  // namespace ela::train

#endif  // ELA_MODEL_TRAIN_DETECTOR_DETECTOR_COMMANDS_H_
