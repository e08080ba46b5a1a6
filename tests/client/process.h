#ifndef ELA_TESTS_CLIENT_PROCESS_H_
#define ELA_TESTS_CLIENT_PROCESS_H_

#include <sys/types.h>

#include <string>
#include <vector>

namespace ela {

// A child process with its three streams on pipes. One thread.
class Process {
 public:
  // Starts arguments[0] with what follows, and with `environment` ("KEY=value") on top of ours.
  explicit Process(const std::vector<std::string>& arguments,
                   const std::vector<std::string>& environment = {});
  ~Process();  // kills it if it still runs
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  void Write(const std::string& input);
  void CloseInput();

  // Blocks until stdout has `text` in it, or has ended; returns all of it so far.
  const std::string& ReadOutputUntil(const std::string& text);

  void Signal(int signal);

  // Closes the input, reads both outputs to their end and waits; the exit code, or 128 + signal.
  int Wait();
  const std::string& output() const { return output_; }
  const std::string& errors() const { return errors_; }

 private:
  bool ReadSome();  // false: both outputs have ended

  pid_t pid_ = -1;
  int input_ = -1, output_fd_ = -1, errors_fd_ = -1;
  std::string output_, errors_;
};

}  // namespace ela

#endif  // ELA_TESTS_CLIENT_PROCESS_H_
