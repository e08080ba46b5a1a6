#include "scheduler/detect_batcher.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/status_macros.h"
#include "scheduler/request.h"

namespace ela {
namespace {

constexpr absl::Duration kDefaultRetry = absl::Seconds(1);
constexpr absl::Duration kShortestRetry = absl::Milliseconds(10);
constexpr absl::Duration kLongestRetry = absl::Minutes(1);

// How much of the measured time's memory each picture keeps: about the last twenty count.
constexpr double kTimeMemory = 0.95;

absl::Status CheckPositive(const char* option, int64_t value) {
  if (value > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(option, " is ", value, ", it must be at least 1"));
}

int64_t BytesOf(absl::Span<const std::unique_ptr<DetectTask>> tasks) {
  int64_t bytes = 0;
  for (const auto& task : tasks) bytes += task->Facts().bytes;
  return bytes;
}

absl::Status ShutDown() {
  return WithRetryAfter(absl::UnavailableError("the server has shut down"), kDefaultRetry);
}

}  // namespace

absl::StatusOr<std::unique_ptr<DetectBatcher>> DetectBatcher::Create(
    const DetectBatcherOptions& options, Detector& detector, DetectObserver& observer,
    const Clock& clock) {
  ELA_RETURN_IF_ERROR(CheckPositive("num_threads", options.num_threads));
  ELA_RETURN_IF_ERROR(CheckPositive("max_pictures", options.max_pictures));
  ELA_RETURN_IF_ERROR(CheckPositive("max_bytes", options.max_bytes));
  ELA_RETURN_IF_ERROR(CheckPositive("max_pixels", options.max_pixels));
  ELA_RETURN_IF_ERROR(CheckPositive("num_lanes of the detector", detector.Info().num_lanes));
  ELA_RETURN_IF_ERROR(CheckPositive("max_batch of the detector", detector.Info().max_batch));
  ELA_RETURN_IF_ERROR(
      CheckPositive("preferred_batch of the detector", detector.Info().preferred_batch));
  return std::unique_ptr<DetectBatcher>(new DetectBatcher(options, detector, observer, clock));
}

DetectBatcher::DetectBatcher(const DetectBatcherOptions& options, Detector& detector,
                             DetectObserver& observer, const Clock& clock)
    : options_(options),
      detector_(detector),
      info_(detector.Info()),
      observer_(observer),
      clock_(clock),
      batch_size_(std::min(info_.preferred_batch, info_.max_batch)),
      max_prepared_(2 * info_.num_lanes * batch_size_) {
  for (int32_t lane = info_.num_lanes - 1; lane >= 0; --lane) free_lanes_.push_back(lane);
}

DetectBatcher::~DetectBatcher() {
  absl::MutexLock lock(&mutex_);
  ELA_CHECK(num_pictures_ == 0, "a batcher was destroyed with pictures in it");
}

// --- Any thread. ---

absl::Status DetectBatcher::CheckRoom(int32_t num_pictures, int64_t num_bytes) const {
  if (draining_) {
    return WithRetryAfter(absl::UnavailableError("the server is shutting down"), kDefaultRetry);
  }
  std::string what;
  if (num_pictures > options_.max_pictures - num_pictures_) {
    what = absl::StrCat(num_pictures_, " pictures wait or are under way, with ", num_pictures,
                        " more there would be over ", options_.max_pictures);
  } else if (num_bytes > options_.max_bytes - num_bytes_) {
    what = absl::StrCat(num_bytes_, " bytes of pictures wait or are under way, with ", num_bytes,
                        " more there would be over ", options_.max_bytes);
  } else {
    return absl::OkStatus();
  }
  return WithRetryAfter(absl::ResourceExhaustedError(what), TimeToServe());
}

absl::Duration DetectBatcher::TimeToServe() const {
  const double seconds = seconds_per_picture_.load(std::memory_order_relaxed);
  if (seconds <= 0) return kDefaultRetry;
  return std::clamp(absl::Seconds(seconds * num_pictures_ / options_.num_threads), kShortestRetry,
                    kLongestRetry);
}

absl::Status DetectBatcher::Submit(uint64_t caller, absl::Span<std::unique_ptr<DetectTask>> tasks) {
  const int64_t num_bytes = BytesOf(tasks);
  absl::Status status;
  {
    absl::MutexLock lock(&mutex_);
    status = CheckRoom(static_cast<int32_t>(tasks.size()), num_bytes);
    if (status.ok()) {
      const absl::Time now = clock_.Now();
      for (std::unique_ptr<DetectTask>& task : tasks) {
        const DetectTaskFacts facts = task->Facts();
        ++num_pictures_;
        num_bytes_ += facts.bytes;
        queue_.Push(caller, {std::move(task), facts, now});
      }
      Changed();
    }
  }
  if (!status.ok()) observer_.OnRejected(status);
  return status;
}

absl::Status DetectBatcher::Replace(uint64_t caller, std::unique_ptr<DetectTask>& task,
                                    std::vector<std::unique_ptr<DetectTask>>* replaced) {
  const DetectTaskFacts facts = task->Facts();
  absl::Status status;
  {
    absl::MutexLock lock(&mutex_);
    const DetectQueue::Room freed = queue_.RoomOf(caller);
    status = CheckRoom(1 - freed.pictures, facts.bytes - freed.bytes);
    if (status.ok()) {
      ++num_pictures_;
      num_bytes_ += facts.bytes;
      for (DetectQueue::Waiting& waiting :
           queue_.Replace(caller, {std::move(task), facts, clock_.Now()})) {
        Leave(waiting.facts.bytes);
        replaced->push_back(std::move(waiting.task));
      }
      Changed();
    }
  }
  if (!status.ok()) observer_.OnRejected(status);
  return status;
}

bool DetectBatcher::HasWaiting(uint64_t caller) const {
  absl::MutexLock lock(&mutex_);
  return queue_.RoomOf(caller).pictures > 0;
}

std::vector<std::unique_ptr<DetectTask>> DetectBatcher::Withdraw(uint64_t caller) {
  std::vector<std::unique_ptr<DetectTask>> tasks;
  absl::MutexLock lock(&mutex_);
  for (DetectQueue::Waiting& waiting : queue_.Remove(caller)) {
    Leave(waiting.facts.bytes);
    tasks.push_back(std::move(waiting.task));
  }
  if (!tasks.empty()) Changed();
  return tasks;
}

void DetectBatcher::Drain(absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  draining_ = true;
  drain_deadline_ = std::min(drain_deadline_, deadline);
  changed_.SignalAll();
}

bool DetectBatcher::Drained() const {
  absl::MutexLock lock(&mutex_);
  return draining_ && num_pictures_ == 0;
}

// --- Worker threads. ---

bool DetectBatcher::RunOnce() {
  Batch batch;
  Pictures picture;
  std::vector<DetectQueue::Waiting> out_of_time;
  {
    absl::MutexLock lock(&mutex_);
    const absl::Time now = clock_.Now();
    if (draining_ && now >= drain_deadline_ && queue_.size() > 0) {
      out_of_time = queue_.RemoveAll();
    } else if (!TakeBatch(now, &batch)) {
      if (!CanPrepare()) return false;
      picture.emplace_back().waiting = queue_.Pop();
      ++load_.num_preparing;
      preparing_pixels_ += picture.front().waiting.facts.pixels;
    }
    Changed();
  }
  if (!out_of_time.empty()) {
    EndWaiting(std::move(out_of_time));
  } else if (!picture.empty()) {
    Prepare(std::move(picture));
  } else {
    Compute(std::move(batch));
  }
  return true;
}

void DetectBatcher::WaitForWork(absl::Duration limit) {
  absl::MutexLock lock(&mutex_);
  if (draining_ && num_pictures_ == 0) return;
  const absl::Duration wait = std::min(limit, NextWork() - clock_.Now());
  if (wait <= absl::ZeroDuration()) return;
  ++num_idle_;
  changed_.WaitWithTimeout(&mutex_, wait);
  --num_idle_;
}

void DetectBatcher::Changed() {
  load_.num_waiting = queue_.size();
  load_.num_ready = static_cast<int32_t>(ready_.size());
  observer_.OnLoad(load_);
  if (num_idle_ > 0 && NextWork() < absl::InfiniteFuture()) changed_.Signal();
}

absl::Time DetectBatcher::NextWork() const {
  if (CanPrepare()) return absl::InfinitePast();
  absl::Time next = queue_.size() > 0 ? drain_deadline_ : absl::InfiniteFuture();
  if (free_lanes_.empty()) return next;
  for (auto picture = ready_.begin(); picture != ready_.end(); ++picture) {
    next = std::min(next, BatchTime(picture));
  }
  return next;
}

bool DetectBatcher::CanPrepare() const {
  const DetectQueue::Waiting* front = queue_.Front();
  if (front == nullptr) return false;
  if (load_.num_preparing == 0 && ready_.empty()) return true;
  return load_.num_preparing + static_cast<int32_t>(ready_.size()) < max_prepared_ &&
         (load_.num_preparing == 0 ||
          preparing_pixels_ + front->facts.pixels <= options_.max_pixels);
}

absl::Time DetectBatcher::BatchTime(Pictures::const_iterator first) const {
  int32_t count = 0;
  for (auto picture = first; picture != ready_.end(); ++picture) {
    count += picture->prepared.width == first->prepared.width &&
             picture->prepared.height == first->prepared.height;
  }
  return count >= batch_size_ || draining_ ? absl::InfinitePast()
                                           : first->ready + options_.max_wait;
}

bool DetectBatcher::TakeBatch(absl::Time now, Batch* batch) {
  if (free_lanes_.empty()) return false;
  auto first = ready_.begin();
  while (first != ready_.end() && BatchTime(first) > now) ++first;
  if (first == ready_.end()) return false;
  const int32_t width = first->prepared.width;
  const int32_t height = first->prepared.height;
  for (auto picture = first; picture != ready_.end();) {
    const auto next = std::next(picture);
    if (picture->prepared.width == width && picture->prepared.height == height) {
      batch->pictures.splice(batch->pictures.end(), ready_, picture);
    }
    picture = next;
    if (static_cast<int32_t>(batch->pictures.size()) == batch_size_) break;
  }
  load_.num_computing += static_cast<int32_t>(batch->pictures.size());
  batch->lane = free_lanes_.back();
  free_lanes_.pop_back();
  if (free_scratch_.empty()) {
    batch->scratch = std::make_unique<Scratch>();
    batch->scratch->outputs.resize(batch_size_);
  } else {
    batch->scratch = std::move(free_scratch_.back());
    free_scratch_.pop_back();
  }
  return true;
}

void DetectBatcher::Prepare(Pictures picture) {
  Picture& its = picture.front();
  const absl::Time started = clock_.Now();
  its.times.queue = started - its.waiting.submitted;
  absl::Status status = Wanted(its);
  if (status.ok()) status = its.waiting.task->Prepare(&its.prepared);
  its.ready = clock_.Now();
  its.times.prepare = its.ready - started;
  Batch batch;
  {
    absl::MutexLock lock(&mutex_);
    --load_.num_preparing;
    preparing_pixels_ -= its.waiting.facts.pixels;
    if (status.ok()) ready_.splice(ready_.end(), picture);
    TakeBatch(clock_.Now(), &batch);
    Changed();
  }
  if (!picture.empty()) End(its, status, DetectOutput());
  if (!batch.pictures.empty()) Compute(std::move(batch));
}

void DetectBatcher::Compute(Batch batch) {
  const int32_t num_taken = static_cast<int32_t>(batch.pictures.size());
  EndUnwanted(&batch.pictures);
  const int32_t num_pictures = static_cast<int32_t>(batch.pictures.size());
  std::vector<DetectOutput>& outputs = batch.scratch->outputs;
  const absl::Time started = clock_.Now();
  DetectTimes times;
  if (num_pictures > 0) {
    std::vector<DetectItem>& items = batch.scratch->items;
    items.clear();
    for (const Picture& picture : batch.pictures) {
      items.push_back({picture.prepared.pixels, &picture.waiting.task->Options()});
    }
    const PreparedPicture& size = batch.pictures.front().prepared;
    times = detector_.Detect(batch.lane, size.width, size.height, items,
                             absl::MakeSpan(outputs).subspan(0, num_pictures));
    observer_.OnBatch(num_pictures, times);
  }
  {
    absl::MutexLock lock(&mutex_);
    load_.num_computing -= num_taken;
    free_lanes_.push_back(batch.lane);
    Changed();
  }
  const DetectOutput* output = outputs.data();
  for (Picture& picture : batch.pictures) {
    picture.times.queue += started - picture.ready;
    picture.times.network = times.network;
    picture.times.postprocess = times.postprocess;
    Measured(picture.times.prepare + (times.network + times.postprocess) / num_pictures);
    End(picture, output->status, *output);
    ++output;
  }
  absl::MutexLock lock(&mutex_);
  free_scratch_.push_back(std::move(batch.scratch));
}

absl::Status DetectBatcher::Wanted(const Picture& picture) const {
  if (picture.waiting.task->Abandoned()) return absl::CancelledError("the client ended the call");
  if (picture.waiting.facts.deadline > clock_.Now()) return absl::OkStatus();
  return absl::DeadlineExceededError("the deadline passed before the picture was computed");
}

void DetectBatcher::EndUnwanted(Pictures* pictures) {
  for (auto picture = pictures->begin(); picture != pictures->end();) {
    const absl::Status status = Wanted(*picture);
    if (!status.ok()) End(*picture, status, DetectOutput());
    picture = status.ok() ? std::next(picture) : pictures->erase(picture);
  }
}

void DetectBatcher::EndWaiting(std::vector<DetectQueue::Waiting> waiting) {
  for (DetectQueue::Waiting& one : waiting) {
    Picture picture;
    picture.times.queue = clock_.Now() - one.submitted;
    picture.waiting = std::move(one);
    End(picture, ShutDown(), DetectOutput());
  }
}

// Leaves first: a caller that has its answer finds the room that its picture took.
void DetectBatcher::End(Picture& picture, const absl::Status& status, const DetectOutput& output) {
  {
    absl::MutexLock lock(&mutex_);
    Leave(picture.waiting.facts.bytes);
  }
  observer_.OnPicture(status, output, picture.times);
  picture.waiting.task->OnDone(status, output, picture.times);
  picture.waiting.task.reset();
}

void DetectBatcher::Leave(int64_t bytes) {
  --num_pictures_;
  num_bytes_ -= bytes;
  if (draining_ && num_pictures_ == 0) changed_.SignalAll();
}

void DetectBatcher::Measured(absl::Duration of_a_picture) {
  const double before = seconds_per_picture_.load(std::memory_order_relaxed);
  const double now = absl::ToDoubleSeconds(of_a_picture);
  seconds_per_picture_.store(before > 0 ? kTimeMemory * before + (1 - kTimeMemory) * now : now,
                             std::memory_order_relaxed);
}

}  // namespace ela
