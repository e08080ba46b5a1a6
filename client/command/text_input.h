// Where a command's text comes from: an argument, a file, or standard input.
#ifndef ELA_CLIENT_COMMAND_TEXT_INPUT_H_
#define ELA_CLIENT_COMMAND_TEXT_INPUT_H_

#include <CLI/CLI.hpp>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/command/exit_code.h"

namespace ela::client {

// "-" is standard input. Errors: kNotFound (also a folder, an unreadable file).
absl::StatusOr<std::string> ReadFile(const std::string& path);

// kInvalidArgument: the text is not UTF-8; names `what` and the first byte that breaks it.
absl::Status CheckUtf8(absl::string_view text, absl::string_view what);

// Reports an error of TextInput::Read; returns its exit code.
ExitCode ReportText(const absl::Status& status);

struct TextInput {
  std::string argument;
  std::string file;

  // Adds the argument and --file to a subcommand.
  void AddTo(CLI::App& command, const std::string& what);

  // The argument, else the file, else standard input; a newline at the end of file or standard
  // input stays. Errors: those of ReadFile; kInvalidArgument (not UTF-8); kFailedPrecondition
  // when nothing was given and a person sits at the terminal.
  absl::StatusOr<std::string> Read() const;

 private:
  const CLI::Option* argument_option_ = nullptr;
};

}  // namespace ela::client

#endif  // ELA_CLIENT_COMMAND_TEXT_INPUT_H_
