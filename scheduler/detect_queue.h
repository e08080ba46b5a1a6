// Pictures that wait, in turns: each caller that has some gives one, then the next caller, so that
// a call with a hundred pictures delays a call with one by one picture. The pictures of one caller
// keep their order.
#ifndef ELA_SCHEDULER_DETECT_QUEUE_H_
#define ELA_SCHEDULER_DETECT_QUEUE_H_

#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "absl/time/time.h"
#include "scheduler/detect_task.h"

namespace ela {

// Thread-compatible. Everything costs O(pictures moved).
class DetectQueue {
 public:
  struct Waiting {
    std::unique_ptr<DetectTask> task;
    DetectTaskFacts facts;
    absl::Time submitted;
  };

  void Push(uint64_t caller, Waiting picture);

  // The picture whose turn it is; null: none waits.
  const Waiting* Front() const;
  // REQUIRES: Front() is not null.
  Waiting Pop();

  // Puts `picture` in the place in line of all that wait of this caller, and returns those. So a
  // live picture that is renewed faster than its turn comes gets its turn all the same.
  std::vector<Waiting> Replace(uint64_t caller, Waiting picture);

  // What waits of one caller.
  struct Room {
    int32_t pictures = 0;
    int64_t bytes = 0;
  };
  Room RoomOf(uint64_t caller) const;

  // All of one caller, or of everyone.
  std::vector<Waiting> Remove(uint64_t caller);
  std::vector<Waiting> RemoveAll();

  int32_t size() const { return size_; }

 private:
  struct Turn {
    uint64_t caller;
    std::deque<Waiting> pictures;  // never empty
  };

  std::list<Turn> turns_;  // the first is next
  std::unordered_map<uint64_t, std::list<Turn>::iterator> by_caller_;
  int32_t size_ = 0;
};

}  // namespace ela

#endif  // ELA_SCHEDULER_DETECT_QUEUE_H_
