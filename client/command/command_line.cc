#include "client/command/command_line.h"

#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"

namespace ela::client {
namespace {

std::string CommandNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(command->get_name());
  }
  return absl::StrJoin(names, ", ");
}

// Of arguments that nothing takes, in the order in which they were given.
std::string ExtrasMessage(const std::vector<std::string>& extras) {
  if (absl::StartsWith(extras[0], "-")) return absl::StrCat("there is no option ", extras[0]);
  return absl::StrCat(extras.size() == 1 ? "unexpected argument: " : "unexpected arguments: ",
                      absl::StrJoin(extras, " "), " (a text of several words needs quotes)");
}

}  // namespace

std::string UsageMessage(const CLI::App& app, const CLI::ParseError& error) {
  const std::vector<CLI::App*> commands = app.get_subcommands();
  const std::vector<std::string> extras = app.remaining(/*recurse=*/true);
  if (!commands.empty()) {
    const bool is_extras = dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr;
    return absl::StrCat(is_extras && !extras.empty() ? ExtrasMessage(extras) : error.what(),
                        "\n`ela ", commands[0]->get_name(), " --help` says more");
  }
  std::string message = error.what();
  if (!extras.empty()) {
    message = absl::StartsWith(extras[0], "-")
                  ? ExtrasMessage(extras)
                  : absl::StrCat("there is no command \"", extras[0], "\"");
  } else if (dynamic_cast<const CLI::RequiredError*>(&error) != nullptr) {
    message = "no command is given";
  }
  return absl::StrCat(message, "; the commands are ", CommandNames(app),
                      "\n`ela --help` and `ela COMMAND --help` say more");
}

std::string AddressFault(const std::string& address) {
  const bool is_url = absl::StartsWith(address, "http://") || absl::StartsWith(address, "https://");
  if (!is_url && absl::StrContains(address, ":")) return "";
  return absl::StrCat("the server's address is \"", address, "\", it must be host:port, ",
                      is_url ? "without http:// (--tls encrypts)" : "such as 127.0.0.1:50051");
}

}  // namespace ela::client
