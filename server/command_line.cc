#include "server/command_line.h"

#include <CLI/CLI.hpp>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "model/status_macros.h"
#include "server/version.h"

namespace ela {
namespace {

constexpr char kDescription[] =
    "Serves ELA language models and detectors over gRPC (ela.v1.Generation, ela.v1.Detection,\n"
    "ela.v1.Models, grpc.health.v1, reflection) and metrics for Prometheus.";

constexpr char kExamples[] = R"(
Examples:
  ela-server --model deploy/models/ela-7m
      serves one model on 127.0.0.1:50051, metrics on http://127.0.0.1:9464/metrics
  ela-server --model DIR --listen 0.0.0.0:50051 --slots 256 --max-new-tokens 4096
      reachable from other machines, 256 sequences at once
  ela-server --config deploy/ela-server.json --log-level debug
      settings from a file (docs/server.md); flags win over the file
  ela-server --model DIR --check
      checks config and checkpoint, prints the effective config, starts nothing
  ela-server --model DIR --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 --ready-file ready
      for scripts: takes free ports, prints "ready listen=... metrics=..." once it serves

SIGTERM or SIGINT drains: health turns NOT_SERVING, running streams get drain_seconds to finish.
A second signal ends the server at once. Exit codes: 0 drained, 2 could not start.)";

std::string FlagOf(const Setting& setting) {
  return absl::StrCat("--", absl::StrReplaceAll(setting.key, {{"_", "-"}}));
}

std::string DefaultOf(const Setting& setting) {
  const ServerConfig defaults;
  return std::visit([&](auto field) { return absl::StrCat(defaults.*field); }, setting.field);
}

absl::Status ApplyModelFlags(const std::vector<std::string>& directories,
                             const std::vector<std::string>& names, ServerConfig* config) {
  if (names.size() > directories.size()) {
    return absl::InvalidArgumentError("--model-name needs a --model of its own");
  }
  if (directories.empty()) return absl::OkStatus();
  config->models.clear();
  for (size_t i = 0; i < directories.size(); ++i) {
    ModelOptions model;
    model.directory = directories[i];
    if (i < names.size()) model.name = names[i];
    config->models.push_back(std::move(model));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<CommandLine> ParseCommandLine(int argc, const char* const* argv) {
  CommandLine result;
  CLI::App app(kDescription, "ela-server");
  app.footer(kExamples);
  app.set_version_flag("--version", absl::StrCat("ela-server ", kVersion));

  std::string config_file;
  std::vector<std::string> directories, names;
  app.add_option("--model", directories, "directory of a checkpoint; may be given several times")
      ->type_name("DIR")
      ->allow_extra_args(false);
  app.add_option("--model-name", names,
                 "name of the model in requests, in the order of --model; default: the directory's "
                 "last component")
      ->type_name("NAME")
      ->allow_extra_args(false);
  app.add_option("--config", config_file, "JSON file with settings (docs/server.md)")
      ->type_name("FILE");
  app.add_flag("--check", result.check,
               "check config and checkpoints, print the effective config, exit");
  std::map<const Setting*, std::string> values;
  std::map<const Setting*, CLI::Option*> options;
  for (const Setting& setting : Settings()) {
    const std::string standard = DefaultOf(setting);
    options[&setting] =
        app.add_option(FlagOf(setting), values[&setting], std::string(setting.help))
            ->type_name(std::holds_alternative<std::string ServerConfig::*>(setting.field) ? "TEXT"
                                                                                           : "N")
            ->default_str(standard);
  }

  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    result.answer = app.help();
    return result;
  } catch (const CLI::CallForVersion&) {
    result.answer = app.version();
    return result;
  } catch (const CLI::Error& error) {
    return absl::InvalidArgumentError(absl::StrCat(error.what(), " (see ela-server --help)"));
  }

  if (!config_file.empty()) ELA_RETURN_IF_ERROR(ApplyConfigFile(config_file, &result.config));
  for (const Setting& setting : Settings()) {
    if (options[&setting]->count() == 0) continue;
    ELA_RETURN_IF_ERROR(SetFromText(setting, values[&setting], &result.config));
  }
  ELA_RETURN_IF_ERROR(ApplyModelFlags(directories, names, &result.config));
  ELA_RETURN_IF_ERROR(CompleteConfig(&result.config));
  return result;
}

}  // namespace ela
