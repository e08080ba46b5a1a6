#include "scheduler/store_writer.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace ela {
namespace {

constexpr int64_t kItemBytes = 256;            // what an item costs beside its contents
constexpr size_t kMaxMergedTokens = 64 << 10;  // bounds what one failed write takes with it

int64_t SnapshotBytes(const SessionWrite& write) {
  int64_t bytes = 0;
  for (const Snapshot& snapshot : write.put_snapshots) {
    bytes += static_cast<int64_t>(snapshot.bytes->size());
  }
  return bytes;
}

int64_t WriteBytes(const SessionWrite& write) {
  int64_t bytes = kItemBytes + SnapshotBytes(write) +
                  static_cast<int64_t>(write.tokens.size() * sizeof(TokenId));
  if (write.meta.has_value()) bytes += static_cast<int64_t>(write.meta->details.size());
  return bytes;
}

// "tokens [128, 192), the snapshot at 192 and metadata of session 0123"
std::string Describe(const SessionWrite& write) {
  std::vector<std::string> parts;
  if (write.rewind) parts.push_back(absl::StrCat("the rewind to ", write.log_position));
  if (!write.tokens.empty()) {
    parts.push_back(absl::StrCat("tokens [", write.log_position, ", ",
                                 write.log_position + static_cast<int64_t>(write.tokens.size()),
                                 ")"));
  }
  for (const Snapshot& snapshot : write.put_snapshots) {
    parts.push_back(absl::StrCat("the snapshot at ", snapshot.position));
  }
  if (write.meta.has_value()) parts.push_back("metadata");
  if (parts.empty()) parts.push_back("a change");
  return absl::StrCat(absl::StrJoin(parts, ", "), " of session ", write.id.ToHex());
}

absl::Status NotKept(const SessionWrite& write, const absl::Status& why) {
  return absl::Status(why.code(), absl::StrCat("not kept: ", Describe(write), ": ", why.message()));
}

// Plain appends behind one another become one write, so that a store which has fallen behind gets
// few and large ones.
bool CanMerge(const SessionWrite& first, const SessionWrite& second) {
  const bool plain = !second.rewind && second.put_snapshots.empty() &&
                     second.delete_snapshots.empty() && !second.release && !first.release;
  const int64_t end = first.log_position + static_cast<int64_t>(first.tokens.size());
  return plain && first.generation == second.generation &&
         (second.tokens.empty() || second.log_position == end) &&
         first.tokens.size() + second.tokens.size() <= kMaxMergedTokens;
}

void Merge(SessionWrite& first, SessionWrite second) {
  first.tokens.insert(first.tokens.end(), second.tokens.begin(), second.tokens.end());
  if (second.meta.has_value()) first.meta = std::move(second.meta);
}

absl::Status Stopped() { return absl::UnavailableError("the server is shutting down"); }

}  // namespace

StoreWriter::StoreWriter(StateStore& store, const StoreWriterOptions& options, const Clock& clock,
                         StoreObserver* observer)
    : store_(store), options_(options), clock_(clock), observer_(observer) {
  for (int32_t i = 0; i < std::max(options.num_threads, 1); ++i) {
    const bool writes_first = i == 0 && options.num_threads > 1;
    threads_.emplace_back([this, writes_first] { Loop(writes_first); });
  }
}

StoreWriter::~StoreWriter() { Stop(absl::ZeroDuration()); }

// --- Any thread. ---

absl::Status StoreWriter::Write(SessionWrite write, Done done) {
  const int64_t num_bytes = WriteBytes(write);
  absl::Status admitted;
  {
    absl::MutexLock lock(&mutex_);
    admitted = Admit(num_bytes);
    if (admitted.ok()) {
      ++num_writes_;
      num_bytes_ += num_bytes;
      Session& session = sessions_[write.id];
      Item* last = session.items.empty() ? nullptr : &session.items.back();
      if (last != nullptr && last->task == nullptr && CanMerge(last->write, write)) {
        Merge(last->write, std::move(write));
        last->dones.push_back(std::move(done));
        last->num_bytes += num_bytes;
      } else {
        const SessionId id = write.id;
        Item item;
        item.write = std::move(write);
        item.dones.push_back(std::move(done));
        item.num_bytes = num_bytes;
        Add(id, std::move(item));
      }
    }
  }
  if (!admitted.ok()) {
    if (observer_ != nullptr) {
      observer_->OnNotKept(admitted, static_cast<int64_t>(write.tokens.size()),
                           SnapshotBytes(write));
    }
    return NotKept(write, admitted);
  }
  ReportLoad();
  return absl::OkStatus();
}

absl::Status StoreWriter::Run(const SessionId& id, const char* name, Task task) {
  {
    absl::MutexLock lock(&mutex_);
    if (absl::Status admitted = Admit(kItemBytes); !admitted.ok()) {
      return absl::Status(admitted.code(),
                          absl::StrCat(name, " of session ", id.ToHex(), ": ", admitted.message()));
    }
    ++num_tasks_;
    num_bytes_ += kItemBytes;
    Item item;
    item.task = std::move(task);
    item.name = name;
    item.num_bytes = kItemBytes;
    Add(id, std::move(item));
  }
  ReportLoad();
  return absl::OkStatus();
}

// An empty queue takes anything, so that nothing is too large for ever.
absl::Status StoreWriter::Admit(int64_t num_bytes) const {
  if (stopping_) return Stopped();
  if (num_bytes_ == 0 || num_bytes_ + num_bytes <= options_.max_queue_bytes) {
    return absl::OkStatus();
  }
  return absl::ResourceExhaustedError(absl::StrCat("the store is behind: ", num_bytes_,
                                                   " bytes wait to be written, ",
                                                   options_.max_queue_bytes, " may"));
}

void StoreWriter::Add(const SessionId& id, Item item) {
  item.queued = clock_.Now();
  Session& session = sessions_[id];
  session.items.push_back(std::move(item));
  if (session.items.size() == 1) MakeReady(id, session);
}

void StoreWriter::MakeReady(const SessionId& id, const Session& session) {
  if (session.busy || session.items.empty()) return;
  (session.items.front().task != nullptr ? ready_tasks_ : ready_writes_).push_back(id);
  work_.Signal();
}

StoreLoad StoreWriter::load() const {
  absl::MutexLock lock(&mutex_);
  return LoadLocked();
}

StoreLoad StoreWriter::LoadLocked() const {
  StoreLoad load;
  load.num_writes = num_writes_;
  load.num_tasks = num_tasks_;
  load.num_bytes = num_bytes_;
  load.max_bytes = options_.max_queue_bytes;
  load.state = num_bytes_ >= options_.max_queue_bytes       ? StoreState::kFull
               : num_failing_ > 0                           ? StoreState::kFailing
               : num_bytes_ >= options_.max_queue_bytes / 2 ? StoreState::kBehind
                                                            : StoreState::kKeepingUp;
  return load;
}

void StoreWriter::ReportLoad() {
  if (observer_ != nullptr) observer_->OnLoad(load());
}

bool StoreWriter::Flush(absl::Duration limit) {
  const absl::Time deadline = absl::Now() + limit;
  absl::MutexLock lock(&mutex_);
  while (!Idle()) {
    if (ended_.WaitWithDeadline(&mutex_, deadline)) return Idle();
  }
  return true;
}

void StoreWriter::Stop(absl::Duration limit) {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    work_.SignalAll();
  }
  Flush(limit);
  {
    absl::MutexLock lock(&mutex_);
    abandoned_ = true;
    work_.SignalAll();
  }
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
  Sessions left;
  {
    absl::MutexLock lock(&mutex_);
    left.swap(sessions_);
    for (const auto& [id, session] : left) {
      for (const Item& item : session.items) Uncount(item);
    }
  }
  for (auto& [id, session] : left) {
    for (const Item& item : session.items) {
      if (item.task != nullptr) {
        const absl::Status dropped = item.task(nullptr);
        if (observer_ != nullptr) observer_->OnTask(item.name, dropped, absl::ZeroDuration());
      } else {
        Report(item, NotKept(item.write, Stopped()));
      }
    }
  }
}

// --- The writer's threads. ---

void StoreWriter::Loop(bool writes_first) {
  for (Group group = NextWork(writes_first); !group.empty(); group = NextWork(writes_first)) {
    if (group.front().second.task != nullptr) {
      RunTask(group.front());
    } else {
      WriteGroup(group);
    }
    ReportLoad();
  }
}

StoreWriter::Group StoreWriter::NextWork(bool writes_first) {
  absl::MutexLock lock(&mutex_);
  while (!abandoned_) {
    WakeRetries();
    Group group = writes_first ? TakeWrites() : TakeTask();
    if (group.empty()) group = writes_first ? TakeTask() : TakeWrites();
    if (!group.empty()) return group;
    if (stopping_ && Idle()) break;
    if (retries_.empty()) {
      work_.Wait(&mutex_);
    } else {
      const absl::Duration wait = retries_.begin()->first - clock_.Now();
      work_.WaitWithTimeout(&mutex_, std::max(wait, absl::Milliseconds(1)));
    }
  }
  work_.SignalAll();  // the other threads end too
  return {};
}

void StoreWriter::WakeRetries() {
  if (retries_.empty()) return;
  const absl::Time now = clock_.Now();
  while (!retries_.empty() && retries_.begin()->first <= now) {
    const SessionId id = retries_.begin()->second;
    retries_.erase(retries_.begin());
    Session& session = sessions_[id];
    session.busy = false;
    MakeReady(id, session);
  }
}

StoreWriter::Item StoreWriter::TakeItem(const SessionId& id) {
  Session& session = sessions_[id];
  session.busy = true;
  Item item = std::move(session.items.front());
  session.items.pop_front();
  return item;
}

StoreWriter::Group StoreWriter::TakeWrites() {
  Group group;
  int64_t num_bytes = 0;
  while (!ready_writes_.empty() &&
         group.size() < static_cast<size_t>(std::max(options_.max_group_writes, 1))) {
    const SessionId id = ready_writes_.front();
    num_bytes += sessions_[id].items.front().num_bytes;
    if (!group.empty() && num_bytes > options_.max_group_bytes) break;
    ready_writes_.pop_front();
    group.emplace_back(id, TakeItem(id));
  }
  return group;
}

StoreWriter::Group StoreWriter::TakeTask() {
  Group group;
  if (!ready_tasks_.empty()) {
    const SessionId id = ready_tasks_.front();
    ready_tasks_.pop_front();
    group.emplace_back(id, TakeItem(id));
  }
  return group;
}

void StoreWriter::RunTask(std::pair<SessionId, Item>& task) {
  const absl::Time begin = clock_.Now();
  const absl::Status status = task.second.task(&store_);
  if (observer_ != nullptr) observer_->OnTask(task.second.name, status, clock_.Now() - begin);
  absl::MutexLock lock(&mutex_);
  Uncount(task.second);
  Leave(task.first);
}

void StoreWriter::WriteGroup(Group& group) {
  std::vector<SessionWrite> writes;
  writes.reserve(group.size());
  for (auto& [id, item] : group) writes.push_back(std::move(item.write));
  std::vector<absl::Status> results(group.size());
  const absl::Time begin = clock_.Now();
  store_.Write(writes, absl::MakeSpan(results));

  StoreGroup facts;
  facts.duration = clock_.Now() - begin;
  for (size_t i = 0; i < group.size(); ++i) {
    Item& item = group[i].second;
    item.write = std::move(writes[i]);
    facts.longest_wait = std::max(facts.longest_wait, begin - item.queued);
    if (!results[i].ok()) continue;
    facts.num_writes += static_cast<int64_t>(item.dones.size());
    facts.num_tokens += static_cast<int64_t>(item.write.tokens.size());
    facts.snapshot_bytes += SnapshotBytes(item.write);
  }
  if (observer_ != nullptr) observer_->OnGroup(facts);
  Settle(group, results);
}

// Three strokes: decide under the lock, call back without it, let the sessions go under it. A
// session stays busy until its callbacks have returned, which keeps them in order.
void StoreWriter::Settle(Group& group, const std::vector<absl::Status>& results) {
  const absl::Time now = clock_.Now();
  std::vector<std::pair<Item, absl::Status>> ended;
  std::vector<absl::Status> repeated;
  std::vector<std::pair<SessionId, absl::Time>> let_go;  // and when
  {
    absl::MutexLock lock(&mutex_);
    for (size_t i = 0; i < group.size(); ++i) {
      auto& [id, item] = group[i];
      Session& session = sessions_[id];
      item.failing_since = std::min(item.failing_since, now);
      const bool repeat =
          IsTransient(results[i]) && !abandoned_ && now - item.failing_since < options_.keep_trying;
      if (session.failing != repeat) num_failing_ += repeat ? 1 : -1;
      if (repeat) {
        repeated.push_back(results[i]);
        session.backoff = session.failing ? std::min(2 * session.backoff, options_.retry_longest)
                                          : options_.retry_first;
        session.items.push_front(std::move(item));
        let_go.emplace_back(id, now + session.backoff);
      } else {
        absl::Status status = results[i];
        if (!status.ok()) status = NotKept(item.write, status);
        ended.emplace_back(std::move(item), status);
        while (!status.ok() && !session.items.empty() && session.items.front().task == nullptr) {
          const absl::Status earlier(status.code(),
                                     absl::StrCat("an earlier one was ", status.message()));
          absl::Status after = NotKept(session.items.front().write, earlier);
          ended.emplace_back(std::move(session.items.front()), std::move(after));
          session.items.pop_front();
        }
        let_go.emplace_back(id, absl::InfinitePast());
      }
      session.failing = repeat;
    }
  }
  for (const absl::Status& status : repeated) {
    if (observer_ != nullptr) observer_->OnRetry(status);
  }
  for (const auto& [item, status] : ended) Report(item, status);
  absl::MutexLock lock(&mutex_);
  for (const auto& [item, status] : ended) Uncount(item);
  for (const auto& [id, when] : let_go) {
    if (when == absl::InfinitePast()) {
      Leave(id);
    } else {
      retries_.emplace(when, id);
      work_.Signal();
    }
  }
}

void StoreWriter::Report(const Item& item, const absl::Status& status) {
  if (!status.ok() && observer_ != nullptr) {
    observer_->OnNotKept(status, static_cast<int64_t>(item.write.tokens.size()),
                         SnapshotBytes(item.write));
  }
  for (const Done& done : item.dones) {
    if (done != nullptr) done(status);
  }
}

void StoreWriter::Uncount(const Item& item) {
  num_bytes_ -= item.num_bytes;
  if (item.task != nullptr) {
    --num_tasks_;
  } else {
    num_writes_ -= static_cast<int64_t>(item.dones.size());
  }
  if (Idle()) work_.SignalAll();  // threads of a writer that stops
  ended_.SignalAll();
}

void StoreWriter::Leave(const SessionId& id) {
  Session& session = sessions_[id];
  session.busy = false;
  MakeReady(id, session);
  if (session.items.empty()) sessions_.erase(id);
}

}  // namespace ela
