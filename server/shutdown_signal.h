#ifndef ELA_SERVER_SHUTDOWN_SIGNAL_H_
#define ELA_SERVER_SHUTDOWN_SIGNAL_H_

namespace ela {

// SIGTERM and SIGINT as something to wait for. Make it before any other thread starts: it blocks
// both signals for the whole process.
class ShutdownSignal {
 public:
  ShutdownSignal();

  // Blocks until the first signal; returns its name. From then on a second one ends the process at
  // once, with 128 plus the signal's number as a shell has it.
  const char* Wait();
};

}  // namespace ela

#endif  // ELA_SERVER_SHUTDOWN_SIGNAL_H_
