// Tells the thread sanitizer what absl's locks and reference counts order. Debian's libabsl is not
// instrumented, so the sanitizer cannot see them and would report every guarded member as a race. A
// suppression would have to name our own code; instead these definitions stand before the library's
// (an executable's symbols come first, for gRPC's calls too), pass each call on, and annotate it.
// Linked into every executable of the tsan preset, into nothing else.
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "absl/base/options.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"

extern "C" {
void __tsan_acquire(void* address);
void __tsan_release(void* address);
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
}

#define ELA_TEXT_INNER(x) #x
#define ELA_TEXT(x) ELA_TEXT_INNER(x)

namespace {

// The library's own definition. `rest`: the mangled name behind absl's inline namespace.
template <typename Function>
Function* Next(const char* prefix, const char* rest) {
  const std::string inline_namespace = ELA_TEXT(ABSL_OPTION_INLINE_NAMESPACE_NAME);
  const std::string name =
      prefix + std::to_string(inline_namespace.size()) + inline_namespace + rest;
  void* found = dlsym(RTLD_NEXT, name.c_str());
  if (found == nullptr) {
    std::fprintf(stderr, "tests/sanitizers: %s is in no shared library\n", name.c_str());
    std::abort();
  }
  return reinterpret_cast<Function*>(found);
}

// While the lock's holder is inside the library, it may evaluate the conditions of other waiters.
class IgnoreReads {
 public:
  IgnoreReads() { AnnotateIgnoreReadsBegin(__FILE__, __LINE__); }
  ~IgnoreReads() { AnnotateIgnoreReadsEnd(__FILE__, __LINE__); }
};

}  // namespace

#define ELA_NEXT(type, rest) static const auto next = Next<type>("_ZN4absl", rest)
#define ELA_NEXT_CONST(type, rest) static const auto next = Next<type>("_ZNK4absl", rest)

namespace absl {
ABSL_NAMESPACE_BEGIN

void Mutex::Lock() {
  ELA_NEXT(void(Mutex*), "5Mutex4LockEv");
  next(this);
  __tsan_acquire(this);
}

bool Mutex::TryLock() {
  ELA_NEXT(bool(Mutex*), "5Mutex7TryLockEv");
  const bool locked = next(this);
  if (locked) __tsan_acquire(this);
  return locked;
}

void Mutex::Unlock() {
  ELA_NEXT(void(Mutex*), "5Mutex6UnlockEv");
  __tsan_release(this);
  IgnoreReads ignore;
  next(this);
}

void Mutex::ReaderLock() {
  ELA_NEXT(void(Mutex*), "5Mutex10ReaderLockEv");
  next(this);
  __tsan_acquire(this);
}

void Mutex::ReaderUnlock() {
  ELA_NEXT(void(Mutex*), "5Mutex12ReaderUnlockEv");
  __tsan_release(this);
  IgnoreReads ignore;
  next(this);
}

void Mutex::Await(const Condition& condition) {
  ELA_NEXT(void(Mutex*, const Condition&), "5Mutex5AwaitERKNS0_9ConditionE");
  __tsan_release(this);
  {
    IgnoreReads ignore;
    next(this, condition);
  }
  __tsan_acquire(this);
}

bool Mutex::AwaitWithTimeout(const Condition& condition, Duration timeout) {
  ELA_NEXT(bool(Mutex*, const Condition&, Duration),
           "5Mutex16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE");
  __tsan_release(this);
  bool met = false;
  {
    IgnoreReads ignore;
    met = next(this, condition, timeout);
  }
  __tsan_acquire(this);
  return met;
}

bool Mutex::AwaitWithDeadline(const Condition& condition, Time deadline) {
  ELA_NEXT(bool(Mutex*, const Condition&, Time),
           "5Mutex17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE");
  __tsan_release(this);
  bool met = false;
  {
    IgnoreReads ignore;
    met = next(this, condition, deadline);
  }
  __tsan_acquire(this);
  return met;
}

void Mutex::LockWhen(const Condition& condition) {
  ELA_NEXT(void(Mutex*, const Condition&), "5Mutex8LockWhenERKNS0_9ConditionE");
  {
    IgnoreReads ignore;
    next(this, condition);
  }
  __tsan_acquire(this);
}

void CondVar::Wait(Mutex* mutex) {
  ELA_NEXT(void(CondVar*, Mutex*), "7CondVar4WaitEPNS0_5MutexE");
  __tsan_release(mutex);
  {
    IgnoreReads ignore;
    next(this, mutex);
  }
  __tsan_acquire(mutex);
}

bool CondVar::WaitWithTimeout(Mutex* mutex, Duration timeout) {
  ELA_NEXT(bool(CondVar*, Mutex*, Duration),
           "7CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE");
  __tsan_release(mutex);
  bool timed_out = false;
  {
    IgnoreReads ignore;
    timed_out = next(this, mutex, timeout);
  }
  __tsan_acquire(mutex);
  return timed_out;
}

bool CondVar::WaitWithDeadline(Mutex* mutex, Time deadline) {
  ELA_NEXT(bool(CondVar*, Mutex*, Time), "7CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE");
  __tsan_release(mutex);
  bool timed_out = false;
  {
    IgnoreReads ignore;
    timed_out = next(this, mutex, deadline);
  }
  __tsan_acquire(mutex);
  return timed_out;
}

void Notification::Notify() {
  ELA_NEXT(void(Notification*), "12Notification6NotifyEv");
  __tsan_release(this);
  next(this);
}

void Notification::WaitForNotification() const {
  ELA_NEXT_CONST(void(const Notification*), "12Notification19WaitForNotificationEv");
  next(this);
  __tsan_acquire(const_cast<Notification*>(this));
}

bool Notification::WaitForNotificationWithTimeout(Duration timeout) const {
  ELA_NEXT_CONST(bool(const Notification*, Duration),
                 "12Notification30WaitForNotificationWithTimeoutENS0_8DurationE");
  const bool notified = next(this, timeout);
  if (notified) __tsan_acquire(const_cast<Notification*>(this));
  return notified;
}

// The library's own lines, compiled with instrumentation: the count orders the last use of a shared
// message before its end.
void Status::UnrefNonInlined(uintptr_t rep) {
  status_internal::StatusRep* shared = RepToPointer(rep);
  if (shared->ref.fetch_sub(1, std::memory_order_acq_rel) == 1) delete shared;
}

ABSL_NAMESPACE_END
}  // namespace absl
