// The subcommands of `ela`. Each adds itself to the command line and leaves its exit code behind.
#ifndef ELA_CLIENT_COMMAND_COMMAND_H_
#define ELA_CLIENT_COMMAND_COMMAND_H_

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "client/client.h"
#include "client/command/exit_code.h"

namespace ela::client {

// What all subcommands share. Lives as long as the command line.
struct Command {
  std::string address = "127.0.0.1:50051";
  std::string model;
  std::string tenant;
  std::string ca_file;  // non-empty: TLS, with these root certificates
  bool tls = false;
  bool json = false;
  double timeout_seconds = 0;  // 0: none
  double wait_seconds = 0;
  ExitCode exit_code = kExitOk;

  absl::StatusOr<std::unique_ptr<Client>> Connect() const;
};

// `command` is borrowed and outlives `app`.
void AddGenerateCommand(CLI::App& app, Command& command);
void AddScoreCommand(CLI::App& app, Command& command);
void AddDetectCommand(CLI::App& app, Command& command);
void AddModelsCommand(CLI::App& app, Command& command);
void AddTokenCommands(CLI::App& app, Command& command);  // tokenize, detokenize
void AddHealthCommand(CLI::App& app, Command& command);

}  // namespace ela::client

#endif  // ELA_CLIENT_COMMAND_COMMAND_H_
