#include "server/shutdown_signal.h"

#include <csignal>
#include <cstdlib>
#include <thread>

namespace ela {
namespace {

sigset_t ShutdownSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

int WaitForOne() {
  const sigset_t signals = ShutdownSignals();
  int signal = 0;
  while (sigwait(&signals, &signal) != 0) {
  }
  return signal;
}

}  // namespace

ShutdownSignal::ShutdownSignal() {
  const sigset_t signals = ShutdownSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

const char* ShutdownSignal::Wait() {
  const int first = WaitForOne();
  std::thread([] { std::_Exit(128 + WaitForOne()); }).detach();
  return first == SIGTERM ? "SIGTERM" : "SIGINT";
}

}  // namespace ela
