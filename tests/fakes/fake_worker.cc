#include "tests/fakes/fake_worker.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "model/status_macros.h"

namespace ela {
namespace {

constexpr int64_t kBlock = 16;  // tails merge at multiples of it (docs/model.md 1)
constexpr char kBlobName[] = "ela-fake-state-1";

// As BeginCopyOut lays a slot out.
struct Snapshot {
  const void* owner;
  int64_t position;
  TokenId last_sampled;
  int32_t lobe;  // number among all that there ever were; -1: the model's own
  int64_t num_hashes;
  uint64_t hashes[kBlock + 1];
};

// SplitMix64's finaliser over a running value.
uint64_t Mix(uint64_t hash, uint64_t value) {
  uint64_t z = hash * 0x9E3779B97F4A7C15u + value + 0x632BE59BD9B4E019u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

uint64_t HashOf(const std::string& text) {
  uint64_t hash = 1;
  for (const char c : text) hash = Mix(hash, static_cast<unsigned char>(c));
  return hash;
}

}  // namespace

FakeWorker::FakeWorker(const FakeWorkerOptions& options)
    : options_(options), slots_(options.num_slots) {
  info_.model_fingerprint = "fake";
  info_.numerics_id = "fake-1";
  info_.device = "cpu";
  info_.num_slots = options_.num_slots;
  info_.state_bytes = sizeof(Snapshot);
  info_.vocab_size = options_.vocab_size;
  info_.num_layers = options_.num_layers;
  info_.num_experts = options_.num_experts;
  info_.num_experts_per_token = options_.num_experts_per_token;
  info_.max_step_tokens = options_.max_step_tokens;
  info_.max_step_items = options_.max_step_items;
  info_.max_segment_tokens = options_.max_segment_tokens;
  info_.max_scratch_tokens = options_.max_scratch_tokens;
  info_.segment_passes = options_.segment_passes;
  info_.steps_in_flight = options_.steps_in_flight;
  for (Slot& slot : slots_) slot.since_merge.reserve(kBlock + 1);
  absl::MutexLock lock(&mutex_);
  for (const std::string& lobe : options_.lobes) lobes_.push_back({lobe, lobe, 0, 0});
}

FakeWorker::~FakeWorker() {
  for (const std::string& violation : violations_) {
    std::fprintf(stderr, "FakeWorker: %s\n", violation.c_str());
  }
  ELA_CHECK(violations_.empty(), "the engine broke the contract of model/worker.h, see above");
}

// --- Lobes ---

namespace {

struct FakeLobe final : public LoadedLobe {
  explicit FakeLobe(std::string name) : fingerprint(std::move(name)) {}
  const std::string fingerprint;
};

}  // namespace

absl::StatusOr<std::unique_ptr<LoadedLobe>> FakeWorker::LoadLobe(
    const std::string& directory) const {
  if (directory.empty()) return absl::NotFoundError("no directory");
  return std::unique_ptr<LoadedLobe>(new FakeLobe(directory));
}

absl::Status FakeWorker::AddLobe(const std::string& name, std::unique_ptr<LoadedLobe> lobe) {
  if (name.empty()) return absl::InvalidArgumentError("a lobe needs a name");
  if (FindLobe(name).ok()) return absl::AlreadyExistsError(absl::StrCat(name, " is there"));
  absl::MutexLock lock(&mutex_);
  lobes_.push_back({name, static_cast<const FakeLobe&>(*lobe).fingerprint, 0, 0});
  return absl::OkStatus();
}

absl::Status FakeWorker::RemoveLobe(const std::string& name) {
  absl::MutexLock lock(&mutex_);
  for (LobeInfo& lobe : lobes_) {
    if (name.empty() || lobe.name != name) continue;
    lobe.name.clear();
    return absl::OkStatus();
  }
  return absl::NotFoundError(absl::StrCat("no lobe is named \"", name, "\""));
}

void FakeWorker::SetLobes(std::vector<LobeInfo> lobes) {
  absl::MutexLock lock(&mutex_);
  lobes_ = std::move(lobes);
}

std::vector<LobeInfo> FakeWorker::KnownLobes() const {
  absl::MutexLock lock(&mutex_);
  return lobes_;
}

std::vector<LobeInfo> FakeWorker::Lobes() const {
  std::vector<LobeInfo> lobes;
  for (LobeInfo& lobe : KnownLobes()) {
    for (const Slot& slot : slots_) lobe.num_slots += slot.usable && slot.lobe == lobe.fingerprint;
    if (!lobe.name.empty() || lobe.num_slots > 0) lobes.push_back(lobe);
  }
  return lobes;
}

// The fingerprint of the lobe of that name.
absl::StatusOr<std::string> FakeWorker::FindLobe(const std::string& name) const {
  if (name.empty()) return name;
  for (const LobeInfo& lobe : KnownLobes()) {
    if (lobe.name == name) return lobe.fingerprint;
  }
  return absl::NotFoundError(absl::StrCat("no lobe is named \"", name, "\""));
}

// A state under it may move to another slot.
absl::Status FakeWorker::CheckLobe(const std::string& fingerprint) const {
  if (fingerprint.empty()) return absl::OkStatus();
  for (const LobeInfo& lobe : KnownLobes()) {
    if (!lobe.name.empty() && lobe.fingerprint == fingerprint) return absl::OkStatus();
  }
  return absl::FailedPreconditionError(absl::StrCat("lobe ", fingerprint, " is not loaded"));
}

// --- Slots ---

// Rules 2 and 10.
absl::Status FakeWorker::CheckIdle(int32_t slot, const char* call) {
  if (slot < 0 || slot >= options_.num_slots) {
    return Violation(2, absl::StrCat(call, " of slot ", slot, " of ", options_.num_slots));
  }
  if (slots_[slot].in_flight > 0) {
    return Violation(2, absl::StrCat(call, " of slot ", slot, " in a step"));
  }
  if (slots_[slot].transfer) {
    return Violation(10, absl::StrCat(call, " of slot ", slot, " during a transfer"));
  }
  return absl::OkStatus();
}

// The slot holds a state, and all of it.
absl::Status FakeWorker::CheckWhole(int32_t slot, const char* call) {
  ELA_RETURN_IF_ERROR(CheckIdle(slot, call));
  if (!slots_[slot].usable) {
    return Violation(3, absl::StrCat(call, " of slot ", slot, " before a reset"));
  }
  if (slots_[slot].segment.length > 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        "slot ", slot, " is between the passes of a segment, whose scratch is no slot state"));
  }
  return absl::OkStatus();
}

absl::Status FakeWorker::ResetSlot(int32_t slot, const std::string& lobe) {
  ELA_RETURN_IF_ERROR(CheckIdle(slot, "ResetSlot"));
  Slot& s = slots_[slot];
  s.usable = false;
  ELA_ASSIGN_OR_RETURN(s.lobe, FindLobe(lobe));
  s.usable = true;
  s.position = 0;
  s.hash = HashOf(s.lobe);
  s.last_sampled = -1;
  s.since_merge.assign(1, s.hash);
  s.segment = Segment();
  return absl::OkStatus();
}

absl::Status FakeWorker::CopySlot(int32_t from, int32_t to) {
  ELA_RETURN_IF_ERROR(CheckIdle(to, "CopySlot"));
  ELA_RETURN_IF_ERROR(CheckWhole(from, "CopySlot"));
  ELA_RETURN_IF_ERROR(CheckLobe(slots_[from].lobe));
  if (from != to) slots_[to] = slots_[from];
  return absl::OkStatus();
}

absl::Status FakeWorker::RewindSlot(int32_t slot, int64_t position) {
  ELA_RETURN_IF_ERROR(CheckWhole(slot, "RewindSlot"));
  Slot& s = slots_[slot];
  const int64_t lowest = s.position - static_cast<int64_t>(s.since_merge.size()) + 1;
  if (position < lowest || position > s.position) {
    return absl::OutOfRangeError(absl::StrCat("position is ", position, ", slot ", slot,
                                              " can be taken back to ", lowest, " at most"));
  }
  s.since_merge.resize(position - lowest + 1);
  s.hash = s.since_merge.back();
  s.position = position;
  s.last_sampled = -1;
  return absl::OkStatus();
}

// --- Transfers ---

// What a transfer does happens at its last poll, so that memory that did not live until then is
// seen by the address sanitizer, and a blob that was used too early is empty.
void FakeWorker::StartTransfer(int32_t slot, std::function<void()> last_poll) {
  if (options_.transfer_polls == 0) return last_poll();
  slots_[slot].transfer = std::move(last_poll);
  slots_[slot].polls_left = options_.transfer_polls;
}

absl::StatusOr<bool> FakeWorker::PollTransfer(int32_t slot) {
  if (slot < 0 || slot >= options_.num_slots) {
    return Violation(2, absl::StrCat("PollTransfer of slot ", slot, " of ", options_.num_slots));
  }
  Slot& s = slots_[slot];
  if (!s.transfer) return true;
  if (s.polls_left-- > 0) return false;
  const std::function<void()> last_poll = std::exchange(s.transfer, nullptr);
  last_poll();
  return true;
}

absl::Status FakeWorker::BeginSave(int32_t slot, std::string* blob) {
  ELA_RETURN_IF_ERROR(CheckWhole(slot, "BeginSave"));
  blob->clear();
  StartTransfer(slot, [this, slot, blob] {
    const Slot& s = slots_[slot];
    *blob = absl::StrCat(kBlobName, " ", s.lobe, " ", s.position, " ", s.last_sampled);
    for (const uint64_t hash : s.since_merge) absl::StrAppend(blob, " ", hash);
  });
  return absl::OkStatus();
}

absl::StatusOr<FakeWorker::Slot> FakeWorker::Parse(absl::Span<const char> blob) const {
  Slot s;
  const std::vector<std::string> words =
      absl::StrSplit(absl::string_view(blob.data(), blob.size()), ' ');
  if (words[0] != kBlobName) return absl::FailedPreconditionError("not a state of this model");
  if (words.size() < 5 || !absl::SimpleAtoi(words[2], &s.position) ||
      !absl::SimpleAtoi(words[3], &s.last_sampled)) {
    return absl::DataLossError("the state is damaged");
  }
  s.lobe = words[1];
  s.since_merge.reserve(kBlock + 1);
  for (size_t i = 4; i < words.size(); ++i) {
    uint64_t hash = 0;
    if (!absl::SimpleAtoi(words[i], &hash)) return absl::DataLossError("the state is damaged");
    s.since_merge.push_back(hash);
  }
  s.hash = s.since_merge.back();
  s.usable = true;
  return s;
}

absl::Status FakeWorker::BeginLoad(int32_t slot, absl::Span<const char> blob) {
  ELA_RETURN_IF_ERROR(CheckIdle(slot, "BeginLoad"));
  ELA_ASSIGN_OR_RETURN(const Slot parsed, Parse(blob));
  ELA_RETURN_IF_ERROR(CheckLobe(parsed.lobe));
  StartTransfer(slot, [this, slot, blob] { slots_[slot] = *Parse(blob); });
  return absl::OkStatus();
}

absl::Status FakeWorker::BeginCopyOut(int32_t slot, absl::Span<char> to) {
  ELA_RETURN_IF_ERROR(CheckWhole(slot, "BeginCopyOut"));
  if (to.size() != sizeof(Snapshot)) {
    return Violation(10, absl::StrCat("BeginCopyOut to ", to.size(), " bytes"));
  }
  StartTransfer(slot, [this, slot, to] {
    const Slot& s = slots_[slot];
    Snapshot snapshot{};
    snapshot.owner = this;
    snapshot.position = s.position;
    snapshot.last_sampled = s.last_sampled;
    const std::vector<LobeInfo> lobes = KnownLobes();
    snapshot.lobe = static_cast<int32_t>(lobes.size()) - 1;
    while (snapshot.lobe >= 0 && lobes[snapshot.lobe].fingerprint != s.lobe) --snapshot.lobe;
    snapshot.num_hashes = static_cast<int64_t>(s.since_merge.size());
    std::copy(s.since_merge.begin(), s.since_merge.end(), snapshot.hashes);
    std::memcpy(to.data(), &snapshot, sizeof(snapshot));
  });
  return absl::OkStatus();
}

absl::StatusOr<FakeWorker::Slot> FakeWorker::FromSnapshot(absl::Span<const char> from) const {
  Snapshot snapshot{};
  if (from.size() == sizeof(snapshot)) std::memcpy(&snapshot, from.data(), sizeof(snapshot));
  if (snapshot.owner != this) {
    return absl::InternalError(absl::StrCat(from.size(), " bytes are no snapshot of this worker"));
  }
  Slot s;
  s.usable = true;
  if (snapshot.lobe >= 0) s.lobe = KnownLobes()[snapshot.lobe].fingerprint;
  s.position = snapshot.position;
  s.last_sampled = snapshot.last_sampled;
  s.since_merge.reserve(kBlock + 1);
  s.since_merge.assign(snapshot.hashes, snapshot.hashes + snapshot.num_hashes);
  s.hash = s.since_merge.back();
  return s;
}

absl::Status FakeWorker::BeginCopyIn(int32_t slot, absl::Span<const char> from) {
  ELA_RETURN_IF_ERROR(CheckIdle(slot, "BeginCopyIn"));
  const absl::StatusOr<Slot> parked = FromSnapshot(from);
  if (!parked.ok()) return Violation(10, std::string(parked.status().message()));
  ELA_RETURN_IF_ERROR(CheckLobe(parked->lobe));
  StartTransfer(slot, [this, slot, from] { slots_[slot] = *FromSnapshot(from); });
  return absl::OkStatus();
}

// --- Steps ---

void FakeWorker::Enqueue(absl::Span<const StepItem> items) {
  if (num_enqueued_ - num_steps_ >= options_.steps_in_flight) {
    Violation(8, absl::StrCat("Enqueue with ", options_.steps_in_flight, " steps pending"))
        .IgnoreError();
    Wait();
  }
  Step& step = steps_[num_enqueued_++ % steps_.size()];
  step.items.assign(items.begin(), items.end());
  for (const StepItem& item : items) {
    if (item.slot >= 0 && item.slot < options_.num_slots) ++slots_[item.slot].in_flight;
  }
}

// Everything is computed here and not in Enqueue, so that a view that did not live until Wait is
// seen by the address sanitizer.
StepResult& FakeWorker::Wait() {
  ELA_CHECK(num_steps_ < num_enqueued_, "Wait without a pending step");
  const absl::Span<const StepItem> items = steps_[num_steps_ % steps_.size()].items;
  StepResult& result = results_[num_steps_ % results_.size()];
  ++num_steps_;

  int64_t num_tokens = 0;
  for (const StepItem& item : items) num_tokens += std::max<int64_t>(1, item.tokens.size());
  absl::Status whole_step;
  if (static_cast<int64_t>(items.size()) > options_.max_step_items ||
      num_tokens > options_.max_step_tokens || items.empty()) {
    whole_step = Violation(
        2, absl::StrCat("a step of ", items.size(), " items and ", num_tokens, " tokens, limits ",
                        options_.max_step_items, " and ", options_.max_step_tokens));
  }

  if (result.items.size() < items.size()) result.items.resize(items.size());
  result.num_items = items.size();
  result.expert_tokens.assign(info_.num_layers * info_.num_experts, 0);
  for (size_t i = 0; i < items.size(); ++i) {
    StepOutput& output = result.items[i];
    output.Clear();
    output.status = whole_step.ok() ? Check(items[i], items.subspan(0, i)) : whole_step;
    if (!output.status.ok() && whole_step.ok()) {
      violations_.push_back(std::string(output.status.message()));
    }
    if (output.status.ok()) output.status = Scripted(items[i]);
    if (output.status.ok()) {
      Run(items[i], output, result.expert_tokens);
    } else if (items[i].slot >= 0 && items[i].slot < options_.num_slots) {
      slots_[items[i].slot].usable = false;
    }
  }
  for (const StepItem& item : items) {
    if (item.slot >= 0 && item.slot < options_.num_slots) --slots_[item.slot].in_flight;
  }
  if (options_.clock != nullptr) {
    options_.clock->Advance(options_.step_cost + num_tokens * options_.token_cost);
  }
  return result;
}

absl::Status FakeWorker::Check(const StepItem& item, absl::Span<const StepItem> before) const {
  const auto breach = [&item](int rule, auto... words) {
    return absl::InternalError(absl::StrCat("rule ", rule, ": slot ", item.slot, ": ", words...));
  };
  if (item.slot < 0 || item.slot >= options_.num_slots) return breach(2, "no such slot");
  for (const StepItem& other : before) {
    if (other.slot == item.slot) return breach(2, "twice in a step");
  }
  const Slot& slot = slots_[item.slot];
  if (slot.transfer) return breach(10, "in a step during a transfer");
  if (!slot.usable) return breach(3, "not reset before its first use, or after an error");
  if (item.tokens.empty() && slot.last_sampled < 0) {
    return breach(8, "no tokens, and none was sampled before");
  }
  for (const TokenId token : item.tokens) {
    if (token < 0 || token >= options_.vocab_size) return breach(6, "token ", token);
  }
  if (absl::Status status = CheckSegment(slot, item); !status.ok()) return status;
  if (!item.targets.empty() &&
      (item.output != OutputMode::kEvery || item.targets.size() != item.tokens.size())) {
    return breach(6, item.targets.size(), " targets for ", item.tokens.size(), " tokens");
  }
  for (const TokenId target : item.targets) {
    if (target >= options_.vocab_size) return breach(6, "target ", target);
  }
  if (item.sampling != nullptr && item.output == OutputMode::kNone) {
    return breach(6, "sampling without an output");
  }
  if (item.sampling != nullptr && !item.sampling->needs_recent_tokens() &&
      !item.recent_tokens.empty()) {
    return breach(6, "recent tokens although penalties are off");
  }
  if (item.top_logprobs < 0 || item.top_logprobs > kMaxTopLogprobs) {
    return breach(6, "top_logprobs ", item.top_logprobs);
  }
  return absl::OkStatus();
}

absl::Status FakeWorker::CheckSegment(const Slot& slot, const StepItem& item) const {
  const auto breach = [&item](auto... words) {
    return absl::InternalError(absl::StrCat("rule 7: slot ", item.slot, ": ", words...));
  };
  const Segment& segment = item.segment;
  const int64_t num_tokens = std::max<int64_t>(1, item.tokens.size());
  const bool under_way = slot.segment.length > 0;
  const int64_t expected = under_way ? slot.pass_position : slot.position;
  if (item.first_position != expected) {
    return breach("first_position ", item.first_position, ", expected ", expected);
  }
  if (segment.kind == SegmentKind::kGenerated) {
    if (under_way) return breach("a prompt segment was left at ", slot.pass_position);
    if (segment.pass != 0 || segment.length != 0 || segment.begin > item.first_position) {
      return breach("a generated segment with pass ", segment.pass, ", length ", segment.length,
                    ", begin ", segment.begin);
    }
    return absl::OkStatus();
  }
  if (item.first_position + num_tokens > segment.begin + segment.length) {
    return breach("a chunk ends at ", item.first_position + num_tokens, ", its segment at ",
                  segment.begin + segment.length);
  }
  if (options_.segment_passes == 1) {  // cuts mean nothing, a hit or a rewind may lie anywhere
    if (segment.begin > item.first_position || segment.pass != 0) {
      return breach("a segment with pass ", segment.pass, ", begin ", segment.begin);
    }
  } else if (under_way) {
    if (segment.begin != slot.segment.begin || segment.length != slot.segment.length ||
        segment.pass != slot.segment.pass) {
      return breach("segment ", segment.begin, "+", segment.length, " pass ", segment.pass,
                    " inside segment ", slot.segment.begin, "+", slot.segment.length, " pass ",
                    slot.segment.pass);
    }
  } else if (options_.segment_passes == 1) {
    // Cuts do not matter: a sequence that was away may begin its segment anew where it stands.
    if (segment.begin > slot.position || segment.pass != 0) {
      return breach("segment ", segment.begin, " pass ", segment.pass, ", the slot's position is ",
                    slot.position);
    }
  } else if (segment.begin != slot.position || segment.pass != 0) {
    return breach("a segment begins with pass ", segment.pass, " at ", segment.begin,
                  ", the slot's position is ", slot.position);
  }
  if (options_.max_segment_tokens > 0 && segment.length > options_.max_segment_tokens) {
    return breach("a segment of ", segment.length, " tokens, limit ", options_.max_segment_tokens);
  }
  if (options_.max_scratch_tokens > 0 && options_.segment_passes > 1 && !under_way) {
    int64_t scratch = segment.length;
    for (const Slot& other : slots_) scratch += other.segment.length;
    if (scratch > options_.max_scratch_tokens) {
      return breach("segments under way hold ", scratch, " tokens, limit ",
                    options_.max_scratch_tokens);
    }
  }
  if (segment.pass + 1 < options_.segment_passes && item.output != OutputMode::kNone) {
    return breach("an output from pass ", segment.pass, " of ", options_.segment_passes);
  }
  return absl::OkStatus();
}

absl::Status FakeWorker::Scripted(const StepItem& item) {
  if (num_items_++ == failing_item_) return failing_status_;
  return fault_ ? fault_(item) : absl::OkStatus();
}

void FakeWorker::Run(const StepItem& item, StepOutput& output,
                     std::vector<int64_t>& expert_tokens) {
  Slot& slot = slots_[item.slot];
  const absl::Span<const TokenId> tokens =
      item.tokens.empty() ? absl::Span<const TokenId>(&slot.last_sampled, 1) : item.tokens;
  const size_t num_rows = item.output == OutputMode::kEvery  ? tokens.size()
                          : item.output == OutputMode::kLast ? 1
                                                             : 0;
  if (item.routing) output.routing.resize(num_rows);

  uint64_t hash = 0;
  for (size_t i = 0; i < tokens.size(); ++i) {
    Absorb(slot, item.segment, tokens[i]);
    ++num_tokens_;
    hash = OutputHash(slot);
    for (int32_t layer = 0; layer < info_.num_layers; ++layer) {
      for (int32_t k = 0; k < info_.num_experts_per_token; ++k) {
        ++expert_tokens[layer * info_.num_experts + (tokens[i] + layer + k) % info_.num_experts];
      }
    }
    if (i + num_rows >= tokens.size()) {
      Report(item, hash, i + num_rows - tokens.size(), tokens[i], output);
    }
    if (!item.targets.empty()) {
      output.target_logprobs.push_back(item.targets[i] < 0 ? 0 : Logprob(hash, item.targets[i]));
    }
  }
  std::vector<TokenId> unseen;  // recent tokens that the caller did not know
  if (item.tokens.empty()) unseen.push_back(slot.last_sampled);
  slot.last_sampled = -1;
  if (item.sampling == nullptr) return;

  output.sampled = Sample(item, unseen, hash, slot.position);
  for (const TokenId draft : item.drafts) {
    if (draft != output.sampled) break;
    Absorb(slot, item.segment, draft);
    output.accepted_drafts.push_back(draft);
    unseen.push_back(draft);
    hash = slot.hash;
    output.sampled = Sample(item, unseen, hash, slot.position);
  }
  output.sampled_logprob = Logprob(hash, output.sampled);
  slot.last_sampled = output.sampled;
}

// One token of one pass. With several passes a prompt segment's later passes depend on all of its
// earlier ones, as in a model whose lobe sees the whole segment.
void FakeWorker::Absorb(Slot& slot, const Segment& segment, TokenId token) {
  if (segment.kind == SegmentKind::kPrompt && options_.segment_passes > 1) {
    if (slot.segment.length == 0) {
      slot.segment = segment;
      slot.pass_position = segment.begin;
      slot.pass_hash = slot.hash;
    }
    if (slot.pass_position == segment.begin) {
      slot.pass_hash = Mix(slot.pass_hash, (uint64_t{1} << 32) + segment.pass);
    }
    slot.pass_hash = Mix(slot.pass_hash, token);
    if (++slot.pass_position < segment.begin + segment.length) return;
    slot.pass_position = segment.begin;
    if (++slot.segment.pass < options_.segment_passes) return;
    slot.segment = Segment();
    slot.position = segment.begin + segment.length;
    slot.hash = slot.pass_hash;
    slot.since_merge.assign(1, slot.hash);
    return;
  }
  slot.hash = Mix(slot.hash, token);
  ++slot.position;
  if (slot.position % kBlock == 0) slot.since_merge.clear();
  slot.since_merge.push_back(slot.hash);
}

uint64_t FakeWorker::OutputHash(const Slot& slot) const {
  return slot.segment.length > 0 ? slot.pass_hash : slot.hash;
}

void FakeWorker::Report(const StepItem& item, uint64_t hash, size_t row, TokenId token,
                        StepOutput& output) {
  if (item.logits) {
    for (int64_t v = 0; v < options_.vocab_size; ++v) output.logits.push_back(Logprob(hash, v));
  }
  for (int32_t r = 0; r < item.top_logprobs; ++r) {
    const TokenId top = static_cast<TokenId>(Mix(hash, r) % options_.vocab_size);
    output.top.push_back({top, -0.5f * static_cast<float>(r)});
  }
  if (item.routing) {
    Routing& routing = output.routing[row];
    routing.experts.clear();
    for (int32_t layer = 0; layer < info_.num_layers; ++layer) {
      for (int32_t k = 0; k < info_.num_experts_per_token; ++k) {
        routing.experts.push_back((token + layer + k) % info_.num_experts);
      }
    }
    routing.weights.assign(routing.experts.size(),
                           1.0f / static_cast<float>(info_.num_experts_per_token));
  }
}

// The token that follows `hash` at `position`; with a temperature also a function of (seed, choice,
// position), with penalties of the recent tokens.
TokenId FakeWorker::Sample(const StepItem& item, absl::Span<const TokenId> unseen, uint64_t hash,
                           int64_t position) const {
  uint64_t draw = Mix(hash, 0);
  if (item.sampling->needs_recent_tokens()) {
    for (const TokenId recent : item.recent_tokens) draw = Mix(draw, recent);
    for (const TokenId recent : unseen) draw = Mix(draw, recent);
  }
  if (item.sampling->temperature > 0) {
    draw = Mix(Mix(Mix(draw, item.sampling->seed), item.choice), position);
  }
  TokenId token = static_cast<TokenId>(draw % options_.vocab_size);
  if (item.allowed_tokens.empty()) return token;
  for (int64_t i = 0; i < options_.vocab_size; ++i) {
    const auto word = static_cast<size_t>(token / 32);
    if (word < item.allowed_tokens.size() && (item.allowed_tokens[word] >> (token % 32) & 1) != 0) {
      break;
    }
    token = static_cast<TokenId>((token + 1) % options_.vocab_size);
  }
  return token;
}

float FakeWorker::Logprob(uint64_t hash, TokenId token) const {
  return -static_cast<float>(Mix(hash, token) % 4096) / 256;
}

absl::Status FakeWorker::Violation(int rule, const std::string& what) {
  violations_.push_back(absl::StrCat("rule ", rule, ": ", what));
  return absl::InternalError(violations_.back());
}

// --- Expectations and scripts ---

// A worker of the same kind, with one slot that nobody else uses.
FakeWorkerOptions FakeWorker::TwinOptions() const {
  FakeWorkerOptions options = options_;
  options.num_slots = 1;
  options.clock = nullptr;
  return options;
}

// Absorbs the prompt into slot 0 as a whole; `each` gets a position and the hash behind its output.
bool FakeWorker::Read(const Request& request, const std::function<void(int64_t, uint64_t)>& each) {
  if (!ResetSlot(0, request.lobe).ok()) return false;
  std::vector<int64_t> lengths = request.segment_lengths;
  std::vector<SegmentKind> kinds = request.segment_kinds;
  if (lengths.empty()) {
    lengths.push_back(static_cast<int64_t>(request.tokens.size()));
    kinds.push_back(SegmentKind::kPrompt);
  }
  int64_t begin = 0;
  for (size_t i = 0; i < lengths.size(); begin += lengths[i], ++i) {
    const bool prompt = kinds[i] == SegmentKind::kPrompt;
    const int32_t passes = prompt ? options_.segment_passes : 1;
    for (int32_t pass = 0; pass < passes; ++pass) {
      const Segment segment{kinds[i], begin, prompt ? lengths[i] : 0, pass};
      for (int64_t p = begin; p < begin + lengths[i]; ++p) {
        Absorb(slots_[0], segment, request.tokens[p]);
        if (pass + 1 == passes) each(p, OutputHash(slots_[0]));
      }
    }
  }
  return true;
}

FakeText FakeWorker::Expected(const Request& request, absl::Span<const TokenId> end_of_text) const {
  FakeText text;
  FakeWorker twin(TwinOptions());
  twin.SetLobes(KnownLobes());
  if (!twin.Read(request, [](int64_t, uint64_t) {})) return text;
  Slot& slot = twin.slots_[0];

  std::vector<TokenId> log = request.tokens;
  const Segment generated{SegmentKind::kGenerated, slot.position, 0, 0};
  StepItem item;
  item.sampling = &request.sampling;
  item.choice = request.choice;
  const auto is_in = [](absl::Span<const TokenId> set, TokenId token) {
    return std::find(set.begin(), set.end(), token) != set.end();
  };
  while (static_cast<int64_t>(text.tokens.size()) < request.max_new_tokens) {
    if (request.sampling.needs_recent_tokens()) {
      const size_t window = std::min<size_t>(log.size(), request.penalty_window);
      item.recent_tokens = absl::MakeConstSpan(log).last(window);
    }
    const TokenId token = twin.Sample(item, {}, slot.hash, slot.position);
    text.tokens.push_back(token);
    log.push_back(token);
    if (!request.ignore_eos && is_in(end_of_text, token)) text.reason = FinishReason::kEndOfText;
    if (text.reason == FinishReason::kLength && is_in(request.stop_tokens, token)) {
      text.reason = FinishReason::kStopToken;
    }
    if (text.reason != FinishReason::kLength) break;
    twin.Absorb(slot, generated, token);
  }
  return text;
}

std::vector<float> FakeWorker::ExpectedScores(const Request& request) const {
  std::vector<float> scores;
  FakeWorker twin(TwinOptions());
  twin.SetLobes(KnownLobes());
  twin.Read(request, [&](int64_t position, uint64_t hash) {
    if (position + 1 == static_cast<int64_t>(request.tokens.size())) return;
    scores.push_back(Logprob(hash, request.tokens[position + 1]));
  });
  return scores;
}

void FakeWorker::FailItem(int64_t n, absl::Status status) {
  failing_item_ = num_items_ + n;
  failing_status_ = std::move(status);
}

std::vector<std::string> FakeWorker::TakeViolations() { return std::exchange(violations_, {}); }

}  // namespace ela
