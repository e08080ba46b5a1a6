// `ela health`: is the server there, and does it take requests?
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "client/command/command.h"
#include "client/command/output.h"

namespace ela::client {
namespace {

ExitCode Run(const Command& command, const std::string& service) {
  absl::StatusOr<std::unique_ptr<Client>> client = command.Connect();
  if (!client.ok()) return Report(client.status());
  absl::StatusOr<Health> health = (*client)->CheckHealth(service);
  if (!health.ok()) return Report(health.status());
  const std::string name = Name(*health);
  Print((command.json ? nlohmann::json({{"status", name}}).dump() : name) + "\n");
  return *health == Health::kServing ? kExitOk : kExitServer;
}

}  // namespace

void AddHealthCommand(CLI::App& app, Command& command) {
  auto service = std::make_shared<std::string>();  // owned by the callback below
  CLI::App* const health =
      app.add_subcommand("health", "Ask whether the server is serving; exit code 0 if it is");
  health->footer(R"(
Examples:
  ela health --wait 30
  ela health ela.v1.Generation)");
  health->add_option("service", *service, "A service's name (default: the whole server)");
  health->callback([&command, service] { command.exit_code = Run(command, *service); });
}

}  // namespace ela::client
