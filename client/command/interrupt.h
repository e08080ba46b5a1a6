// Ctrl-C as an event: the first one cancels what runs, so that the server frees the slot at once
// and the command can still say how far it came; the second ends the process.
#ifndef ELA_CLIENT_COMMAND_INTERRUPT_H_
#define ELA_CLIENT_COMMAND_INTERRUPT_H_

#include <functional>

namespace ela::client {

// Takes over SIGINT and SIGTERM for this thread and all threads that it starts later, so it is
// called once, at the start of main. While no handler is set, a signal ends the process with 130.
void WatchForInterrupt();

// While it lives, the first signal calls `handler` (on a thread of ours, under a lock that the
// destructor takes too: afterwards the handler is not called any more). One at a time.
class OnInterrupt {
 public:
  explicit OnInterrupt(std::function<void()> handler);
  ~OnInterrupt();
  OnInterrupt(const OnInterrupt&) = delete;
  OnInterrupt& operator=(const OnInterrupt&) = delete;
};

}  // namespace ela::client

#endif  // ELA_CLIENT_COMMAND_INTERRUPT_H_
