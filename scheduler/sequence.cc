#include "scheduler/sequence.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "model/status_macros.h"
#include "scheduler/session.h"
#include "scheduler/session_errand.h"

namespace ela {
namespace {

constexpr int32_t kMaxPenaltyWindow = 1 << 16;

template <typename T>
absl::Status CheckRange(const char* field, T value, T low, T high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, " is ", value, ", must be in [", low, ", ", high, "]"));
}

// What the engine itself relies on. Sampling parameters are the server's and the sampler's affair.
absl::Status Check(const Request& request, const WorkerInfo& worker) {
  if (request.tokens.empty() && !request.session.has_value()) {
    return absl::InvalidArgumentError("tokens is empty, needs one");
  }
  for (size_t i = 0; i < request.tokens.size(); ++i) {
    if (request.tokens[i] >= 0 && request.tokens[i] < worker.vocab_size) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "tokens[", i, "] is ", request.tokens[i], ", must be in [0, ", worker.vocab_size - 1, "]"));
  }
  ELA_RETURN_IF_ERROR(CheckRange("priority", request.priority, -kMaxPriority, kMaxPriority));
  ELA_RETURN_IF_ERROR(CheckRange("top_logprobs", request.top_logprobs, 0, kMaxTopLogprobs));
  ELA_RETURN_IF_ERROR(CheckRange("penalty_window", request.penalty_window, 0, kMaxPenaltyWindow));
  ELA_RETURN_IF_ERROR(
      CheckRange<int64_t>("max_new_tokens", request.max_new_tokens, 0, int64_t{1} << 40));
  ELA_RETURN_IF_ERROR(CheckRange("num_choices", request.num_choices, 1,
                                 request.session.has_value() ? 1 : kMaxChoices));
  return absl::OkStatus();
}

absl::Status CheckKeepAt(const Request& request, const PromptCursor& prompt, int32_t passes) {
  const std::vector<int64_t>& places = request.prefix.keep_at;
  if (places.size() > kMaxKeepAt) {
    return absl::InvalidArgumentError(
        absl::StrCat("keep_at has ", places.size(), " entries, at most ", kMaxKeepAt));
  }
  for (size_t i = 0; i < places.size(); ++i) {
    ELA_RETURN_IF_ERROR(CheckRange<int64_t>(absl::StrCat("keep_at[", i, "]").c_str(), places[i],
                                            i == 0 ? 1 : places[i - 1] + 1,
                                            static_cast<int64_t>(request.tokens.size())));
    if (passes == 1 || prompt.CanStandAt(places[i])) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        "keep_at[", i, "] is ", places[i],
        ", inside a prompt segment: with a prefix lobe, checkpoints, prefix hits and rewinds are "
        "possible at segment ends and in generated text only"));
  }
  return absl::OkStatus();
}

bool Contains(absl::Span<const TokenId> set, TokenId token) {
  return std::find(set.begin(), set.end(), token) != set.end();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Sequence>> Sequence::Create(Ticket ticket, Request request,
                                                           std::shared_ptr<TokenSink> sink,
                                                           absl::Time submitted,
                                                           const WorkerInfo& worker) {
  ELA_CHECK(sink != nullptr, "a request needs a sink");
  ELA_RETURN_IF_ERROR(Check(request, worker));
  ELA_ASSIGN_OR_RETURN(PromptCursor prompt,
                       PromptCursor::Create(static_cast<int64_t>(request.tokens.size()),
                                            request.segment_lengths, request.segment_kinds,
                                            worker.segment_passes, worker.max_segment_tokens));
  ELA_RETURN_IF_ERROR(CheckKeepAt(request, prompt, worker.segment_passes));
  std::unique_ptr<Sequence> sequence(
      new Sequence(ticket, std::move(request), std::move(sink), submitted, std::move(prompt)));
  const Request& r = sequence->request;
  if (!(r.prefix.no_reading && r.prefix.no_keeping) && !r.tokens.empty()) {
    sequence->prefix_key_ = std::make_unique<PrefixKey>(r.tenant, r.lobe, r.tokens);
  }
  return sequence;
}

Sequence::~Sequence() = default;

Sequence::Sequence(Ticket t, Request r, std::shared_ptr<TokenSink> s, absl::Time at,
                   PromptCursor prompt)
    : ticket(t),
      request(std::move(r)),
      sink(std::move(s)),
      submitted(at),
      samples_(request.max_new_tokens > 0),
      prompt_tokens_(static_cast<int64_t>(request.tokens.size())),
      prompt_end_(prompt_tokens_),
      prompt_(std::move(prompt)) {
  MakeTargets();
  MakeRecent(request.tokens);
}

// What follows each token that is absorbed, as far as it belongs to the prompt.
void Sequence::MakeTargets() {
  if (!request.score_prompt || request.tokens.empty()) return;
  targets_.assign(request.tokens.begin() + 1, request.tokens.end());
  targets_.push_back(-1);
  const int64_t past = static_cast<int64_t>(request.tokens.size()) - prompt_tokens_;
  if (past > 1) std::fill(targets_.begin(), targets_.begin() + past - 1, -1);
  // A segment that sees its own future has nothing honest to say about it.
  for (PromptCursor cursor = prompt_; !cursor.done(); cursor.Advance(cursor.left_in_pass())) {
    if (!cursor.sees_own_future()) continue;
    std::fill(targets_.begin() + (cursor.position() - tokens_begin_),
              targets_.begin() + (cursor.end() - 1 - tokens_begin_), -1);
  }
}

// `tokens` end where the prompt ends, and reach back at least the window if there are so many.
void Sequence::MakeRecent(absl::Span<const TokenId> tokens) {
  if (!samples_ || !request.sampling.needs_recent_tokens() || request.penalty_window == 0) return;
  const size_t window = request.penalty_window;
  recent_.reserve(2 * window);
  recent_.assign(tokens.end() - std::min(window, tokens.size()), tokens.end());
}

// --- Its beginning ---

void Sequence::SetLobe(const std::string& lobe) {
  if (lobe == request.lobe) return;
  request.lobe = lobe;
  if (prefix_key_ == nullptr) return;
  prefix_key_ = std::make_unique<PrefixKey>(request.tenant, request.lobe, request.tokens);
}

void Sequence::BeginAt(int64_t position) {
  prompt_.StartAt(position);
  cached_tokens_ = position;
}

void Sequence::BeginBehind(const Session& past, int64_t start, bool leave_last) {
  session_tokens_ = past.num_tokens();
  computed_tokens_ = std::min(past.num_computed(), session_tokens_);
  tokens_begin_ = start;
  prompt_end_ = session_tokens_ + prompt_tokens_;
  if (samples_ && request.sampling.needs_recent_tokens()) {
    std::vector<TokenId> recent;
    past.log().CopyTo(std::max<int64_t>(0, session_tokens_ - request.penalty_window),
                      session_tokens_, recent);
    recent.insert(recent.end(), request.tokens.begin(), request.tokens.end());
    MakeRecent(recent);
  }
  std::vector<TokenId> tokens;
  past.log().CopyTo(start, session_tokens_, tokens);
  tokens.insert(tokens.end(), request.tokens.begin(), request.tokens.end());
  request.tokens = std::move(tokens);
  prompt_.Behind(past.segments(), start, leave_last);
  MakeTargets();
}

void Sequence::SetPlaces(std::vector<SnapshotPlace> places) {
  places_ = std::move(places);
  next_place_ = 0;
  while (next_place_ < places_.size() && places_[next_place_].position <= prompt_.position()) {
    ++next_place_;
  }
}

std::unique_ptr<Sequence> Sequence::MakeChoice(Ticket t, uint32_t index, int64_t start) {
  Request r;
  r.id = request.id;
  r.tenant = request.tenant;
  r.priority = request.priority;
  r.deadline = request.deadline;
  r.prefix = request.prefix;
  r.tokens.assign(request.tokens.begin() + start, request.tokens.end());
  r.lobe = request.lobe;
  r.max_new_tokens = request.max_new_tokens;
  r.sampling = request.sampling;
  r.penalty_window = request.penalty_window;
  r.choice = request.choice + index;
  r.num_choices = request.num_choices;
  r.stop_tokens = request.stop_tokens;
  r.ignore_eos = request.ignore_eos;
  if (index - 1 < request.more_stop_conditions.size()) {
    r.stop_condition = std::move(request.more_stop_conditions[index - 1]);
  }
  r.top_logprobs = request.top_logprobs;
  r.routing = request.routing;
  std::unique_ptr<Sequence> choice(
      new Sequence(t, std::move(r), sink, submitted, prompt_.Again(start)));
  choice->choice_index_ = index;
  choice->prompt_tokens_ = prompt_tokens_;
  choice->prompt_end_ = prompt_end_;
  choice->tokens_begin_ = start;
  choice->begun = start > 0;
  if (start == 0 && prefix_key_ != nullptr) {
    choice->prefix_key_ = std::make_unique<PrefixKey>(*prefix_key_);
  }
  choice->MakeRecent(request.tokens);
  choice->tenant = tenant;
  choice->counted = false;
  choice->group = group;
  return choice;
}

int64_t Sequence::left_in_step() const {
  const int64_t left = prompt_.left_in_pass();
  if (next_place_ == places_.size()) return left;
  const int64_t to_place = places_[next_place_].position - prompt_.position();
  return to_place > 0 ? std::min(left, to_place) : left;
}

const SnapshotPlace* Sequence::TakeReachedPlace() {
  if (next_place_ == places_.size() || !whole() || position() < places_[next_place_].position) {
    return nullptr;
  }
  return &places_[next_place_++];
}

// --- Steps ---

int64_t Sequence::work_tokens() const { return prompt_tokens() + request.max_new_tokens; }

StepItem Sequence::NextItem(int32_t num_tokens) const {
  StepItem item;
  item.slot = slot;
  bool samples = samples_;
  if (decoding()) {
    item.tokens = absl::MakeConstSpan(&last_token_, 1);
    item.first_position = prompt_end_ + num_generated_ - 1;
    item.segment = {SegmentKind::kGenerated, prompt_end_, 0, 0};
  } else {
    const int64_t at = prompt_.position() - tokens_begin_;
    item.tokens = absl::MakeConstSpan(request.tokens).subspan(at, num_tokens);
    item.first_position = prompt_.position();
    item.segment = prompt_.segment();
    samples = samples_ && prompt_.EndsPromptAfter(num_tokens);
    const bool scores = prompt_.position() + num_tokens >= session_tokens_;
    if (request.score_prompt && scores && prompt_.in_output_pass()) {
      item.output = OutputMode::kEvery;
      item.targets = absl::MakeConstSpan(targets_).subspan(at, num_tokens);
      item.logits = request.logits;
    }
  }
  if (samples) {
    if (item.output == OutputMode::kNone) item.output = OutputMode::kLast;
    item.sampling = &request.sampling;
    item.choice = request.choice;
    item.recent_tokens =
        absl::MakeConstSpan(recent_).last(std::min<size_t>(recent_.size(), request.penalty_window));
  }
  if (item.output != OutputMode::kNone) {
    item.top_logprobs = request.top_logprobs;
    item.routing = request.routing;
  }
  return item;
}

void Sequence::Started(absl::Time now) {
  if (started_ == absl::InfiniteFuture()) started_ = now;
}

// One event per run of positions that are scored; usually one per chunk.
SinkState Sequence::DeliverScores(const StepItem& item, const StepOutput& output) {
  SinkState state = SinkState::kReady;
  const size_t vocab = output.logits.size() / std::max<size_t>(1, item.targets.size());
  const size_t num_top = item.top_logprobs;
  size_t begin = 0;
  while (begin < item.targets.size()) {
    if (item.targets[begin] < 0) {
      ++begin;
      continue;
    }
    size_t end = begin + 1;
    while (end < item.targets.size() && item.targets[end] >= 0) ++end;
    const size_t n = end - begin;
    ScoreEvent event;
    event.first_position = item.first_position + static_cast<int64_t>(begin) + 1;
    event.logprobs = absl::MakeConstSpan(output.target_logprobs).subspan(begin, n);
    event.top = absl::MakeConstSpan(output.top).subspan(begin * num_top, n * num_top);
    event.logits = absl::MakeConstSpan(output.logits).subspan(begin * vocab, n * vocab);
    if (item.routing) event.routing = absl::MakeConstSpan(output.routing).subspan(begin, n);
    if (sink->OnScores(event) == SinkState::kFull) state = SinkState::kFull;
    begin = end;
  }
  return state;
}

void Sequence::Absorbed(int32_t num_tokens, absl::Time now) {
  if (decoding()) return;
  prompt_.Advance(num_tokens);
  if (prompt_.done()) prefilled_ = now;
}

SinkState Sequence::DeliverToken(const StepOutput& output, absl::Span<const TokenId> end_of_text,
                                 absl::Time now, FinishReason& why) {
  last_interval_ = now - (num_generated_ == 0 ? submitted : last_token_time_);
  last_token_time_ = now;
  last_token_ = output.sampled;

  TokenEvent event;
  event.token = last_token_;
  event.position = prompt_end_ + num_generated_;
  event.choice = choice_index_;
  event.logprob = output.sampled_logprob;
  event.top = absl::MakeConstSpan(output.top)
                  .last(std::min<size_t>(output.top.size(), request.top_logprobs));
  if (request.routing && !output.routing.empty()) event.routing = &output.routing.back();

  ++num_generated_;
  Remember(last_token_);
  why = ReasonToEnd(last_token_, end_of_text);
  return sink->OnToken(event);
}

FinishReason Sequence::ReasonToEnd(TokenId token, absl::Span<const TokenId> end_of_text) {
  const bool stops = request.stop_condition != nullptr && request.stop_condition->StopsAfter(token);
  if (!request.ignore_eos && Contains(end_of_text, token)) return FinishReason::kEndOfText;
  if (Contains(request.stop_tokens, token)) return FinishReason::kStopToken;
  if (stops) return FinishReason::kStopString;
  return num_generated_ < request.max_new_tokens ? FinishReason::kNone : FinishReason::kLength;
}

void Sequence::Remember(TokenId token) {
  if (recent_.capacity() == 0) return;
  const size_t window = request.penalty_window;
  if (recent_.size() == 2 * window) {
    std::copy(recent_.end() - window, recent_.end(), recent_.begin());
    recent_.resize(window);
  }
  recent_.push_back(token);
}

Usage Sequence::usage(absl::Time now) const {
  Usage usage;
  usage.prompt_tokens = prompt_tokens();
  usage.cached_tokens = cached_tokens_;
  usage.session_tokens = session_tokens_;
  usage.replayed_tokens =
      std::max<int64_t>(0, std::min(position(), computed_tokens_) - tokens_begin_);
  usage.durable_tokens = durable_tokens;
  usage.generated_tokens = num_generated_;
  usage.queue_time = std::min(started_, now) - submitted;
  if (started_ == absl::InfiniteFuture()) return usage;
  usage.prefill_time = std::min(prefilled_, now) - started_;
  if (num_generated_ > 0) usage.decode_time = last_token_time_ - prefilled_;
  return usage;
}

}  // namespace ela
