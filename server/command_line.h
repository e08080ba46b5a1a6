// The flags of ela-server: the settings of config.h, and what concerns one start alone.
#ifndef ELA_SERVER_COMMAND_LINE_H_
#define ELA_SERVER_COMMAND_LINE_H_

#include <string>

#include "absl/status/statusor.h"
#include "server/config.h"

namespace ela {

struct CommandLine {
  ServerConfig config;  // defaults, then the config file, then the flags; complete
  bool check = false;   // --check: validate config and models, print the effective config, exit
  std::string answer;   // of --help or --version: print it and exit with 0
};

// Errors: kInvalidArgument, kNotFound (the config file): sentences for a terminal.
absl::StatusOr<CommandLine> ParseCommandLine(int argc, const char* const* argv);

}  // namespace ela

#endif  // ELA_SERVER_COMMAND_LINE_H_
