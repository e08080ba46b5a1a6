// How the command ends, and what it says when that is not well.
#ifndef ELA_CLIENT_COMMAND_EXIT_CODE_H_
#define ELA_CLIENT_COMMAND_EXIT_CODE_H_

#include <string>

#include "absl/status/status.h"

namespace ela::client {

// Documented in `ela --help` and README.md; scripts rely on them.
enum ExitCode : int {
  kExitOk = 0,
  kExitServer = 1,      // the server failed, cannot be reached, or the output cannot be written
  kExitUsage = 2,       // wrong command line
  kExitRefused = 3,     // the input was refused: by the server, or a broken line of a file
  kExitOverloaded = 4,  // the server has no room now: try again later
  kExitInterrupted = 130,
};

ExitCode ExitCodeOf(const absl::Status& status);

// Prints "ela: <message>" to stderr. Any thread.
void PrintError(const std::string& message);

// Prints the status' message unless it is OK; returns its exit code.
ExitCode Report(const absl::Status& status);

}  // namespace ela::client

#endif  // ELA_CLIENT_COMMAND_EXIT_CODE_H_
