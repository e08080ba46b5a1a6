#include "client/command/interrupt.h"

#include <signal.h>
#include <unistd.h>

#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "client/command/exit_code.h"

namespace ela::client {
namespace {

struct Watch {
  absl::Mutex mutex;
  std::function<void()> handler ABSL_GUARDED_BY(mutex);
};

// Lives to the end of the process: the watching thread does too.
Watch& TheWatch() {
  static Watch* const watch = new Watch;
  return *watch;
}

void WaitForSignals(sigset_t signals) {
  while (true) {
    int signal = 0;
    if (sigwait(&signals, &signal) != 0) continue;
    absl::MutexLock lock(&TheWatch().mutex);
    // _exit: other threads are in the middle of something, and nothing of ours needs a destructor.
    if (TheWatch().handler == nullptr) _exit(kExitInterrupted);
    std::exchange(TheWatch().handler, nullptr)();
  }
}

}  // namespace

void WatchForInterrupt() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::thread(WaitForSignals, signals).detach();
}

OnInterrupt::OnInterrupt(std::function<void()> handler) {
  absl::MutexLock lock(&TheWatch().mutex);
  TheWatch().handler = std::move(handler);
}

OnInterrupt::~OnInterrupt() {
  absl::MutexLock lock(&TheWatch().mutex);
  TheWatch().handler = nullptr;
}

}  // namespace ela::client
