// `ela`: the command-line client.
#include <grpcpp/security/credentials.h>

#include <utility>

#include "client/command/command.h"
#include "client/command/command_line.h"
#include "client/command/interrupt.h"
#include "client/command/output.h"
#include "client/command/text_input.h"

namespace ela::client {
namespace {

constexpr char kFooter[] = R"(
Examples:
  ela health --wait 10                           wait until a server answers
  ela generate "Once upon a time"                stream a continuation
  ela generate --file story.txt -n 400 -t 0.8 --stats
  cat story.txt | ela generate --json | jq -j '.text // empty'
  ela score --file documents.jsonl               bits per byte over many documents
  ela detect photo.jpg --draw out.png            objects in pictures
  ela models                                     what the server serves
  ela tokenize "How many tokens is this?"

Exit codes: 0 well, 1 the server failed or cannot be reached, or the output cannot be written,
2 wrong command line, 3 the input was refused, 4 the server is overloaded (try again later),
130 interrupted.
`ela COMMAND --help` says more.)";

absl::StatusOr<std::unique_ptr<Client>> ConnectWith(const Command& command) {
  ClientOptions options;
  options.address = command.address;
  options.model = command.model;
  options.tenant = command.tenant;
  options.wait_for_server = absl::Seconds(command.wait_seconds);
  if (command.timeout_seconds > 0) options.timeout = absl::Seconds(command.timeout_seconds);
  if (command.tls || !command.ca_file.empty()) {
    grpc::SslCredentialsOptions tls;
    if (!command.ca_file.empty()) {
      absl::StatusOr<std::string> certificates = ReadFile(command.ca_file);
      if (!certificates.ok()) return certificates.status();
      tls.pem_root_certs = *std::move(certificates);
    }
    options.credentials = grpc::SslCredentials(tls);
  }
  return Client::Connect(std::move(options));
}

int Main(int argc, char** argv) {
  WatchForInterrupt();
  Command command;
  CLI::App app("Command-line client of an ELA server.", "ela");
  app.footer(kFooter);
  app.set_version_flag("--version", ELA_VERSION);
  app.require_subcommand(1);
  app.fallthrough();  // global options may stand behind the subcommand
  app.get_formatter()->column_width(34);
  app.add_option("-s,--server", command.address, "Address of the server")
      ->envname("ELA_SERVER")
      ->capture_default_str();
  app.add_option("-m,--model", command.model, "Model to use (default: the server's first)");
  app.add_option("--tenant", command.tenant, "Name under which the server accounts for the calls");
  app.add_option("--timeout", command.timeout_seconds, "Deadline of each call in seconds")
      ->check(CLI::PositiveNumber);
  app.add_option("--wait", command.wait_seconds, "Wait up to so many seconds for the server")
      ->check(CLI::NonNegativeNumber);
  app.add_flag("--tls", command.tls, "Encrypt, trusting the system's certificates");
  app.add_option("--tls-ca", command.ca_file, "Encrypt, trusting the certificates of this file");
  app.add_flag("--json", command.json, "Print JSON instead of text");
  AddGenerateCommand(app, command);
  AddScoreCommand(app, command);
  AddDetectCommand(app, command);
  AddModelsCommand(app, command);
  AddTokenCommands(app, command);
  AddHealthCommand(app, command);
  app.parse_complete_callback([&command] {
    const std::string fault = AddressFault(command.address);
    if (!fault.empty()) throw CLI::ValidationError("--server", fault);
  });
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) {
      PrintError(UsageMessage(app, error));
      return kExitUsage;
    }
    app.exit(error);  // --help, --version
  }
  const absl::Status output = OutputStatus();
  return output.ok() ? command.exit_code : Report(output);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Client>> Command::Connect() const { return ConnectWith(*this); }

}  // namespace ela::client

int main(int argc, char** argv) { return ela::client::Main(argc, argv); }
