#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "server/command_line.h"
#include "server/config.h"

namespace ela {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string ErrorOf(const std::string& json) {
  ServerConfig config;
  return std::string(ApplyConfigText(json, "test.json", &config).message());
}

absl::StatusOr<CommandLine> Parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "ela-server");
  return ParseCommandLine(static_cast<int>(arguments.size()), arguments.data());
}

std::string WriteFile(const std::string& name, const std::string& text) {
  const std::string path = testing::TempDir() + name;
  std::ofstream(path) << text;
  return path;
}

TEST(ServerConfigTest, ReadsEveryKindOfValue) {
  ServerConfig config;
  ASSERT_TRUE(ApplyConfigText(R"({"listen": "0.0.0.0:1", "slots": 7, "drain_seconds": 1.5,
                                  "models": [{"name": "a", "directory": "/m/a", "slots": 3}],
                                  "tenants": [{"name": "t", "weight": 2}]})",
                              "test.json", &config)
                  .ok());
  EXPECT_EQ(config.listen, "0.0.0.0:1");
  EXPECT_EQ(config.slots, 7);
  EXPECT_EQ(config.drain_seconds, 1.5);
  EXPECT_EQ(config.models.at(0).directory, "/m/a");
  EXPECT_EQ(config.models.at(0).slots, 3);
  EXPECT_EQ(config.tenants.at(0).weight, 2);
}

TEST(ServerConfigTest, AnUnknownKeyNamesTheNearestKnownOne) {
  EXPECT_THAT(
      ErrorOf(R"({"max_new_token": 5})"),
      AllOf(HasSubstr("max_new_token is not a known key"), HasSubstr("nearest is max_new_tokens")));
  EXPECT_THAT(
      ErrorOf(R"({"models": [{"directry": "x"}]})"),
      HasSubstr("models[0].directry is not a known key; the nearest is models[0].directory"));
}

TEST(ServerConfigTest, ReportsAllProblemsAtOnce) {
  EXPECT_THAT(
      ErrorOf(R"({"slots": 0, "threads": "many", "drain_seconds": -1, "max_queue": 1.5})"),
      AllOf(HasSubstr("slots is 0, allowed are 1 to 1048576"),
            HasSubstr("threads must be a number, not a string"), HasSubstr("drain_seconds is -1"),
            HasSubstr("max_queue is 1.5, it must be an integer")));
}

TEST(ServerConfigTest, RefusesWhatIsNoObject) {
  EXPECT_THAT(ErrorOf("[]"), HasSubstr("must be an object"));
  EXPECT_THAT(ErrorOf("{"), HasSubstr("test.json"));
  EXPECT_THAT(ErrorOf(R"({"models": {}})"), HasSubstr("models must be a list"));
  EXPECT_THAT(ErrorOf(R"({"tenants": [3]})"), HasSubstr("tenants[0] must be an object"));
}

TEST(ServerConfigTest, WhatItPrintsItReads) {
  ServerConfig config;
  config.slots = 9;
  config.drain_seconds = 2.25;
  config.models = {{"a", "/m/a", 4}};
  config.tenants = {{"t", 0.5}};
  ServerConfig read;
  ASSERT_TRUE(ApplyConfigText(ToJson(config), "printed", &read).ok());
  EXPECT_EQ(ToJson(read), ToJson(config));
  EXPECT_THAT(ToLogLine(config), HasSubstr("slots=9"));
}

TEST(ServerConfigTest, NamesModelsAfterTheirDirectories) {
  ServerConfig config;
  config.models = {{"", "deploy/models/ela-base/", 0}};
  ASSERT_TRUE(CompleteConfig(&config).ok());
  EXPECT_EQ(config.models[0].name, "ela-base");
  EXPECT_EQ(config.models[0].slots, config.slots);
}

TEST(ServerConfigTest, RefusesContradictions) {
  ServerConfig config;
  config.models = {{"a", "x", 0}, {"a", "y", 0}};
  config.tenants = {{"t", 1}, {"t", 2}};
  config.prefill_chunk = 512;
  config.max_images = 300;
  config.log_level = "loud";
  EXPECT_THAT(std::string(CompleteConfig(&config).message()),
              AllOf(HasSubstr("two models are named \"a\""), HasSubstr("two tenants"),
                    HasSubstr("prefill_chunk is 512"),
                    HasSubstr("max_images is 300, all must find room at once: max_queued_images "
                              "is 256"),
                    HasSubstr("log_level is \"loud\"")));
  ServerConfig empty;
  EXPECT_THAT(std::string(CompleteConfig(&empty).message()), HasSubstr("no model is named"));
}

TEST(ServerConfigTest, AnAddressEndsInAPort) {
  const auto complete = [](const std::string& listen) {
    ServerConfig config;
    config.models = {{"a", "x", 0}};
    config.listen = listen;
    return CompleteConfig(&config);
  };
  for (const char* good : {"127.0.0.1:0", "[::1]:65535", "localhost:50051", "unix:/tmp/ela"}) {
    EXPECT_TRUE(complete(good).ok()) << good;
  }
  for (const char* bad : {"127.0.0.1", "127.0.0.1:", "127.0.0.1:99999", "127.0.0.1:-1", "a:b",
                          "127.0.0.1:99999999999999999999", "unix:"}) {
    EXPECT_THAT(std::string(complete(bad).message()), HasSubstr(bad)) << bad;
  }
}

TEST(CommandLineTest, FlagsWinOverTheFile) {
  const std::string path =
      WriteFile("flags_win.json", R"({"slots": 3, "threads": 2, "models": [{"directory": "x"}]})");
  const auto line = Parse({"--config", path.c_str(), "--slots", "5", "--model", "y/z"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(line->config.slots, 5);
  EXPECT_EQ(line->config.threads, 2);
  ASSERT_EQ(line->config.models.size(), 1u);
  EXPECT_EQ(line->config.models[0].name, "z");
}

TEST(CommandLineTest, NamesSeveralModels) {
  const auto line = Parse({"--model", "a", "--model-name", "first", "--model", "b", "--model-name",
                           "second", "--check"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(line->config.models.at(0).name, "first");
  EXPECT_EQ(line->config.models.at(1).name, "second");
  EXPECT_TRUE(line->check);
}

TEST(CommandLineTest, HelpTeachesByExample) {
  const auto line = Parse({"--help"});
  ASSERT_TRUE(line.ok());
  EXPECT_THAT(line->answer, AllOf(HasSubstr("Examples:"), HasSubstr("--drain-seconds"),
                                  HasSubstr("--model DIR")));
}

TEST(CommandLineTest, RefusesWhatItDoesNotKnow) {
  EXPECT_THAT(std::string(Parse({"--modle", "x"}).status().message()), HasSubstr("--modle"));
  EXPECT_THAT(std::string(Parse({"--model", "x", "--slots", "many"}).status().message()),
              HasSubstr("slots must be a number, not \"many\""));
  EXPECT_THAT(std::string(Parse({"--model", "x", "--slots", "0"}).status().message()),
              HasSubstr("slots is 0, allowed are 1 to"));
  EXPECT_THAT(std::string(Parse({"--config", "/no/such.json"}).status().message()),
              HasSubstr("/no/such.json"));
  EXPECT_THAT(std::string(Parse({}).status().message()), HasSubstr("no model is named"));
}

// docs/server.md and the example config are kept true.
TEST(ServerConfigTest, TheDocsNameEverySetting) {
  std::ifstream file(std::string(ELA_SOURCE_DIR) + "/docs/server.md");
  const std::string docs((std::istreambuf_iterator<char>(file)), {});
  for (const Setting& setting : Settings()) {
    EXPECT_THAT(docs, HasSubstr("`" + std::string(setting.key) + "`"));
  }
}

TEST(ServerConfigTest, TheExampleIsValid) {
  ServerConfig config;
  const absl::Status status =
      ApplyConfigFile(std::string(ELA_SOURCE_DIR) + "/deploy/ela-server.json", &config);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_TRUE(CompleteConfig(&config).ok());
}

}  // namespace
}  // namespace ela
