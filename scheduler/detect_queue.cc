#include "scheduler/detect_queue.h"

#include <iterator>
#include <utility>

#include "model/status_macros.h"

namespace ela {

void DetectQueue::Push(uint64_t caller, Waiting picture) {
  auto found = by_caller_.find(caller);
  if (found == by_caller_.end()) {
    turns_.push_back({caller, {}});
    found = by_caller_.emplace(caller, std::prev(turns_.end())).first;
  }
  found->second->pictures.push_back(std::move(picture));
  ++size_;
}

const DetectQueue::Waiting* DetectQueue::Front() const {
  return turns_.empty() ? nullptr : &turns_.front().pictures.front();
}

DetectQueue::Waiting DetectQueue::Pop() {
  ELA_CHECK(!turns_.empty(), "a picture was taken from an empty queue");
  Turn& turn = turns_.front();
  Waiting picture = std::move(turn.pictures.front());
  turn.pictures.pop_front();
  --size_;
  if (turn.pictures.empty()) {
    by_caller_.erase(turn.caller);
    turns_.pop_front();
  } else {
    turns_.splice(turns_.end(), turns_, turns_.begin());  // iterators stay valid
  }
  return picture;
}

DetectQueue::Room DetectQueue::RoomOf(uint64_t caller) const {
  Room room;
  const auto found = by_caller_.find(caller);
  if (found == by_caller_.end()) return room;
  for (const Waiting& waiting : found->second->pictures) {
    ++room.pictures;
    room.bytes += waiting.facts.bytes;
  }
  return room;
}

std::vector<DetectQueue::Waiting> DetectQueue::Replace(uint64_t caller, Waiting picture) {
  const auto found = by_caller_.find(caller);
  std::deque<Waiting> replaced;
  if (found != by_caller_.end()) replaced.swap(found->second->pictures);
  size_ -= static_cast<int32_t>(replaced.size());
  Push(caller, std::move(picture));
  return {std::make_move_iterator(replaced.begin()), std::make_move_iterator(replaced.end())};
}

std::vector<DetectQueue::Waiting> DetectQueue::Remove(uint64_t caller) {
  std::vector<Waiting> removed;
  const auto found = by_caller_.find(caller);
  if (found == by_caller_.end()) return removed;
  std::deque<Waiting>& pictures = found->second->pictures;
  removed.assign(std::make_move_iterator(pictures.begin()),
                 std::make_move_iterator(pictures.end()));
  size_ -= static_cast<int32_t>(removed.size());
  turns_.erase(found->second);
  by_caller_.erase(found);
  return removed;
}

std::vector<DetectQueue::Waiting> DetectQueue::RemoveAll() {
  std::vector<Waiting> removed;
  removed.reserve(size_);
  while (!turns_.empty()) removed.push_back(Pop());
  return removed;
}

}  // namespace ela
