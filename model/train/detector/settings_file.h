#ifndef ELA_MODEL_TRAIN_DETECTOR_SETTINGS_FILE_H_
#define ELA_MODEL_TRAIN_DETECTOR_SETTINGS_FILE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace ela::train {

// The arguments of `detector` with those of its --config FILE put before them: {"epochs": 100,
// "flip_vertical": 0.5, "shape": {…}} becomes --epochs=100 --flip-vertical=0.5 --shape=…, true a
// flag, false nothing. Other commands' arguments are returned unchanged; `arguments` begins with
// the program's name. Errors: kNotFound, kInvalidArgument.
absl::StatusOr<std::vector<std::string>> WithSettingsFile(std::vector<std::string> arguments);

}  // namespace ela::train

#endif  // ELA_MODEL_TRAIN_DETECTOR_SETTINGS_FILE_H_
