#ifndef ELA_TESTS_SERVER_REDIS_PROCESS_H_
#define ELA_TESTS_SERVER_REDIS_PROCESS_H_

#include <signal.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/client/process.h"
#include "tests/model/temporary_directory.h"

namespace ela {

// A Redis server of the test's own on a unix socket, with its data in a temporary directory. One
// thread.
class RedisProcess {
 public:
  explicit RedisProcess(std::vector<std::string> arguments = {})
      : arguments_(std::move(arguments)) {
    // One binary, which goes by the name it is called by; see deploy/install_deps.sh.
    std::filesystem::create_symlink("/usr/bin/redis-check-rdb", directory_ / "redis-server");
    Start();
  }
  ~RedisProcess() {
    if (process_ != nullptr) Kill();
  }

  std::string address() const { return "unix:" + socket(); }
  const TemporaryDirectory& directory() const { return directory_; }

  void Start() {
    std::vector<std::string> command = {directory_ / "redis-server",
                                        "--port",
                                        "0",
                                        "--unixsocket",
                                        socket(),
                                        "--dir",
                                        directory_.path(),
                                        "--save",
                                        "",
                                        "--appendonly",
                                        "yes",
                                        "--appendfsync",
                                        "always"};
    command.insert(command.end(), arguments_.begin(), arguments_.end());
    process_ = std::make_unique<Process>(command);
    const std::string& output = process_->ReadOutputUntil("ready to accept connections");
    EXPECT_NE(output.find("ready to accept connections"), std::string::npos) << output;
  }
  void Kill() {
    process_->Signal(SIGKILL);
    process_->Wait();
    process_.reset();
  }
  void ForgetData() { std::filesystem::remove_all(directory_ / "appendonlydir"); }
  void Stall() { process_->Signal(SIGSTOP); }
  void GoOn() { process_->Signal(SIGCONT); }

 private:
  std::string socket() const { return directory_ / "redis.sock"; }

  TemporaryDirectory directory_;
  const std::vector<std::string> arguments_;
  std::unique_ptr<Process> process_;  // null: it does not run
};

}  // namespace ela

#endif  // ELA_TESTS_SERVER_REDIS_PROCESS_H_
