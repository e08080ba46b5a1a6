// A StateStore in memory that keeps the contract, and breaks down when a test says so.
#ifndef ELA_TESTS_FAKES_FAKE_STATE_STORE_H_
#define ELA_TESTS_FAKES_FAKE_STATE_STORE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "scheduler/state_store.h"

namespace ela {

// Thread-safe.
class FakeStateStore final : public StateStore {
 public:
  // What a call meets. kLostReply: the change is made and the caller is told `status`, as when a
  // network fails behind the server's back.
  struct Fault {
    absl::Status status;
    bool lost_reply = false;
  };

  // Asked before every call, with its name ("Create", "Acquire", "Read", "ReadTokens",
  // "ReadSnapshot", "Write", "Delete", "List", "SweepExpired"), without the lock: it may block, to
  // play a store that stalls. Not OK: the call fails.
  void FailWhen(std::function<Fault(absl::string_view call)> fault);

  // The data are gone, as after a restart of a store that keeps nothing.
  void Forget();

  int64_t num_calls(const std::string& call) const;        // begun
  int64_t num_writes() const;                              // SessionWrites that were OK
  std::vector<TokenId> tokens(const SessionId& id) const;  // empty: no such session

  // --- StateStore ---
  std::string Describe() const override { return "memory"; }
  absl::Status Create(const StoredSession& session) override;
  absl::StatusOr<StoredSession> Acquire(const SessionId& id, int64_t expected_generation,
                                        const std::string& owner) override;
  absl::StatusOr<StoredSession> Read(const SessionId& id) override;
  absl::StatusOr<std::vector<TokenId>> ReadTokens(const SessionId& id, int64_t begin,
                                                  int64_t end) override;
  absl::StatusOr<std::string> ReadSnapshot(const SessionId& id, int64_t position) override;
  void Write(absl::Span<const SessionWrite> writes, absl::Span<absl::Status> results) override;
  absl::Status Delete(const SessionId& id, int64_t generation) override;
  absl::StatusOr<SessionPage> List(const std::string& tenant, const std::optional<SessionId>& after,
                                   int32_t limit) override;
  absl::StatusOr<std::vector<SessionId>> SweepExpired(absl::Time now, int32_t limit) override;

 private:
  struct Session {
    StoredSession record;
    std::vector<TokenId> tokens;
    std::map<int64_t, std::string> snapshots;
  };

  Fault Begin(const char* call);
  absl::Status WriteOne(const SessionWrite& write) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable absl::Mutex mutex_;
  std::map<SessionId, Session> sessions_ ABSL_GUARDED_BY(mutex_);
  std::function<Fault(absl::string_view)> fault_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, int64_t> num_calls_ ABSL_GUARDED_BY(mutex_);
  int64_t num_writes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace ela

#endif  // ELA_TESTS_FAKES_FAKE_STATE_STORE_H_
