#include "tests/client/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <utility>

extern char** environ;

namespace ela {
namespace {

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& text : strings) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

void Close(int* fd) {
  if (*fd >= 0) close(std::exchange(*fd, -1));
}

}  // namespace

Process::Process(const std::vector<std::string>& arguments,
                 const std::vector<std::string>& environment) {
  int in[2], out[2], err[2];
  if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0) {
    std::perror("pipe2");
    std::abort();
  }
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in[0], 0);
  posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  posix_spawn_file_actions_adddup2(&actions, err[1], 2);
  std::vector<std::string> argument_strings = arguments;
  std::vector<std::string> environment_strings = environment;
  for (char** entry = environ; *entry != nullptr; ++entry) environment_strings.push_back(*entry);
  if (posix_spawn(&pid_, arguments[0].c_str(), &actions, nullptr, Pointers(argument_strings).data(),
                  Pointers(environment_strings).data()) != 0) {
    std::perror(arguments[0].c_str());
    std::abort();
  }
  posix_spawn_file_actions_destroy(&actions);
  close(in[0]);
  close(out[1]);
  close(err[1]);
  input_ = in[1];
  output_fd_ = out[0];
  errors_fd_ = err[0];
}

Process::~Process() {
  if (pid_ < 0) return;
  Signal(SIGKILL);
  Wait();
}

void Process::Write(const std::string& input) {
  if (write(input_, input.data(), input.size()) != static_cast<ssize_t>(input.size())) {
    std::perror("write to child");
  }
}

void Process::CloseInput() { Close(&input_); }

bool Process::ReadSome() {
  pollfd fds[2] = {{output_fd_, POLLIN, 0}, {errors_fd_, POLLIN, 0}};
  if (output_fd_ < 0 && errors_fd_ < 0) return false;
  poll(fds, 2, -1);
  const std::pair<int*, std::string*> streams[2] = {{&output_fd_, &output_},
                                                    {&errors_fd_, &errors_}};
  for (int i = 0; i < 2; ++i) {
    if (fds[i].revents == 0 || *streams[i].first < 0) continue;
    char buffer[4096];
    const ssize_t size = read(*streams[i].first, buffer, sizeof(buffer));
    if (size <= 0) {
      Close(streams[i].first);
    } else {
      streams[i].second->append(buffer, size);
    }
  }
  return true;
}

const std::string& Process::ReadOutputUntil(const std::string& text) {
  while (output_.find(text) == std::string::npos && output_fd_ >= 0 && ReadSome()) {
  }
  return output_;
}

void Process::Signal(int signal) { kill(pid_, signal); }

int Process::Wait() {
  CloseInput();
  while (ReadSome()) {
  }
  int status = 0;
  waitpid(std::exchange(pid_, -1), &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace ela
