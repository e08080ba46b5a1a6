#include "scheduler/inbox.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace ela {

void Inbox::Messages::clear() {
  calls.clear();
  commands.clear();
  lobe_commands.clear();
  submitted.clear();
  cancelled.clear();
  resumed.clear();
}

Inbox::Inbox(int32_t max_requests, int64_t max_tokens)
    : max_requests_(max_requests), max_tokens_(max_tokens) {}

absl::Status Inbox::Submit(std::unique_ptr<Sequence> sequence) {
  absl::MutexLock lock(&mutex_);
  if (draining_) return absl::UnavailableError("the server is shutting down");
  if (queue_.num_requests >= max_requests_) {
    return absl::ResourceExhaustedError(absl::StrCat("the queue is full: ", queue_.num_requests,
                                                     " requests wait, this server allows ",
                                                     max_requests_));
  }
  if (queue_.prompt_tokens + sequence->prompt_tokens() > max_tokens_) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the queue is full: ", queue_.prompt_tokens, " prompt tokens wait and this request has ",
        sequence->prompt_tokens(), ", this server allows ", max_tokens_));
  }
  ++queue_.num_requests;
  queue_.prompt_tokens += sequence->prompt_tokens();
  queue_.work_tokens += sequence->work_tokens();
  messages_.submitted.push_back(std::move(sequence));
  return absl::OkStatus();
}

bool Inbox::Post(SessionCommand& command) {
  absl::MutexLock lock(&mutex_);
  if (draining_) return false;
  messages_.commands.push_back(std::move(command));
  return true;
}

bool Inbox::Post(LobeCommand& command) {
  absl::MutexLock lock(&mutex_);
  if (draining_) return false;
  messages_.lobe_commands.push_back(std::move(command));
  return true;
}

void Inbox::PostCall(std::function<void()> call) {
  absl::MutexLock lock(&mutex_);
  messages_.calls.push_back(std::move(call));
}

void Inbox::Cancel(Ticket ticket, absl::Status why) {
  absl::MutexLock lock(&mutex_);
  messages_.cancelled.emplace_back(ticket, std::move(why));
}

void Inbox::Resume(Ticket ticket) {
  absl::MutexLock lock(&mutex_);
  messages_.resumed.push_back(ticket);
}

void Inbox::Drain(absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  draining_ = true;
  drain_news_ = true;
  drain_deadline_ = std::min(drain_deadline_, deadline);
}

Inbox::Queue Inbox::queue() const {
  absl::MutexLock lock(&mutex_);
  return queue_;
}

bool Inbox::draining() const {
  absl::MutexLock lock(&mutex_);
  return draining_;
}

bool Inbox::empty() const {
  absl::MutexLock lock(&mutex_);
  return messages_.empty() && queue_.num_requests == 0;
}

void Inbox::Take(Messages& messages) {
  absl::MutexLock lock(&mutex_);
  std::swap(messages, messages_);
  messages.drain_deadline = drain_deadline_;
}

void Inbox::LeftQueue(const Sequence& sequence) {
  absl::MutexLock lock(&mutex_);
  --queue_.num_requests;
  queue_.prompt_tokens -= sequence.prompt_tokens();
  queue_.work_tokens -= sequence.work_tokens();
}

void Inbox::Wait(absl::Duration limit) {
  absl::MutexLock lock(&mutex_);
  mutex_.AwaitWithTimeout(absl::Condition(this, &Inbox::HasNews), limit);
  drain_news_ = false;
}

}  // namespace ela
