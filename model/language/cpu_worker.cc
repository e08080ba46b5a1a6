#include "model/language/cpu_worker.h"

#include <sched.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "model/checkpoint/weights.h"
#include "model/kernels/flush_to_zero.h"
#include "model/status_macros.h"

namespace ela {
namespace {

constexpr int64_t kMaxSegmentTokens = int64_t{1} << 30;

int AvailableCores() {
  cpu_set_t cores;
  return sched_getaffinity(0, sizeof(cores), &cores) == 0 ? std::max(1, CPU_COUNT(&cores)) : 1;
}

absl::Status CheckOptions(const LanguageWorkerOptions& options) {
  if (options.num_slots < 1 || options.max_step_tokens < 1 || options.num_threads < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "num_slots is ", options.num_slots, ", max_step_tokens ", options.max_step_tokens,
        ", num_threads ", options.num_threads, ": the first two start at 1, the last at 0"));
  }
  if (options.max_segment_tokens < 1 || options.max_segment_tokens > kMaxSegmentTokens) {
    return absl::InvalidArgumentError(absl::StrCat("max_segment_tokens is ",
                                                   options.max_segment_tokens, ", must be in [1, ",
                                                   kMaxSegmentTokens, "]"));
  }
  if (options.max_scratch_tokens != 0 && options.max_scratch_tokens < options.max_segment_tokens) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_scratch_tokens is ", options.max_scratch_tokens,
                     ", must be 0 or at least max_segment_tokens, ", options.max_segment_tokens));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<CpuWorker>> CpuWorker::Create(const LanguageWorkerOptions& options) {
  const Kernels* kernels = FindKernels(options.kernels);
  if (kernels == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("kernels is \"", options.kernels,
                                                   "\", this machine has portable and reference"));
  }
  ELA_RETURN_IF_ERROR(CheckOptions(options));
  ELA_ASSIGN_OR_RETURN(const LanguageConfig config, LoadLanguageConfig(options.directory));
  ELA_ASSIGN_OR_RETURN(const Weights weights,
                       Weights::Load(options.directory, ExpectedTensors(config)));
  std::vector<LobeConfig> others;
  if (options.any_lobe) others = StateLayout::AnyLobe();
  bool passes = config.memory_lobe && config.memory_lobe->mode != LobeMode::kCausal;
  for (const LobeSource& source : options.lobes) {
    ELA_ASSIGN_OR_RETURN(const PluggableLobeConfig lobe,
                         LoadPluggableLobeConfig(source.directory, config));
    others.push_back(lobe.memory_lobe);
    passes = passes || lobe.memory_lobe.mode != LobeMode::kCausal;
  }
  const StateLayout layout(config, others);
  ELA_ASSIGN_OR_RETURN(std::unique_ptr<StatePool> pool,
                       StatePool::Create(layout, options.num_slots, HostAllocator()));
  LanguageWeights packed = LanguageWeights::Pack(config, weights);
  std::unique_ptr<Lobe> lobe;
  if (config.memory_lobe) lobe = std::make_unique<Lobe>(Lobe::Pack(config, weights, layout));

  WorkerInfo info;
  info.model_fingerprint = weights.Fingerprint(config);
  if (lobe != nullptr) info.lobe_fingerprint = lobe->fingerprint;
  info.numerics_id = kCpuNumericsId;
  info.device = "cpu";
  info.num_slots = options.num_slots;
  info.state_bytes = pool->snapshot_bytes();
  info.weight_bytes = packed.bytes + (lobe == nullptr ? 0 : lobe->bytes);
  info.vocab_size = config.vocab_size;
  info.num_layers = config.num_hidden_layers;
  info.num_experts = config.num_experts;
  info.num_experts_per_token = config.num_experts_per_tok;
  info.max_step_tokens = options.max_step_tokens;
  info.max_step_items = std::min(options.num_slots, options.max_step_tokens);
  if (passes) {
    info.segment_passes = config.num_hidden_layers + 1;
    info.max_segment_tokens = options.max_segment_tokens;
    info.max_scratch_tokens = options.max_scratch_tokens > 0
                                  ? options.max_scratch_tokens
                                  : options.max_segment_tokens * options.num_slots;
  }
  const int threads = options.num_threads > 0 ? options.num_threads : AvailableCores();
  auto worker =
      absl::WrapUnique(new CpuWorker(config, std::move(packed), std::move(lobe), std::move(info),
                                     *kernels, threads, std::move(pool)));
  for (const LobeSource& source : options.lobes) {
    ELA_ASSIGN_OR_RETURN(std::unique_ptr<LoadedLobe> loaded, worker->LoadLobe(source.directory));
    ELA_RETURN_IF_ERROR(worker->AddLobe(source.name, std::move(loaded)));
  }
  return worker;
}

CpuWorker::CpuWorker(const LanguageConfig& config, LanguageWeights weights,
                     std::unique_ptr<Lobe> lobe, WorkerInfo info, const Kernels& kernels,
                     int num_threads, std::unique_ptr<StatePool> pool)
    : config_(config),
      weights_(std::move(weights)),
      info_(std::move(info)),
      threads_(num_threads),
      compute_{kernels, threads_},
      pool_(std::move(pool)),
      model_(config_, weights_, pool_->layout(), compute_, info_.max_step_tokens),
      passes_({info_.segment_passes, info_.max_segment_tokens, info_.max_scratch_tokens},
              model_.scratch_floats(), info_.num_slots),
      lobes_(std::move(lobe), info_.num_slots),
      logits_(LanguageModel::kLogitRows * model_.logits_ld()) {
  for (int i = 0; i < num_threads; ++i) samplers_.emplace_back(kernels, config.vocab_size);
  items_.reserve(info_.max_step_items);
  staged_.reserve(info_.max_step_items);
  tokens_.reserve(info_.max_step_tokens);
  sequences_.reserve(info_.max_step_items);
  slot_taken_.resize(info_.num_slots);
  output_rows_.reserve(info_.max_step_tokens);
  row_indices_.reserve(LanguageModel::kLogitRows);
  result_.items.resize(info_.max_step_items);
  result_.expert_tokens.resize(static_cast<size_t>(info_.num_layers) * info_.num_experts);
}

void CpuWorker::Enqueue(absl::Span<const StepItem> items) {
  ELA_CHECK(items_.empty(), "one step is in flight at most");
  ELA_CHECK(static_cast<int64_t>(items.size()) <= info_.max_step_items,
            "a step has at most max_step_items items");
  items_.assign(items.begin(), items.end());
}

absl::Status CpuWorker::CheckItem(const StepItem& item, int64_t rows_left) const {
  ELA_RETURN_IF_ERROR(CheckSlot(item.slot));
  const StatePool::Slot& slot = pool_->slot(item.slot);
  const auto bad = [&](auto... words) {
    return absl::InternalError(absl::StrCat("slot ", item.slot, ": ", words...));
  };
  if (slot_taken_[item.slot] != 0) return bad("is in this step twice");
  if (!slot.ready) return bad("was not reset before use or after an error");
  if (item.tokens.empty() && slot.last_sampled < 0) {
    return bad("has no tokens, and none was sampled in the slot");
  }
  if (static_cast<int64_t>(std::max<size_t>(1, item.tokens.size())) > rows_left) {
    return bad("its ", item.tokens.size(), " tokens pass the step's limit of ",
               info_.max_step_tokens);
  }
  for (TokenId token : item.tokens) {
    if (token < 0 || token >= info_.vocab_size) {
      return bad("token ", token, " is not in the vocabulary of ", info_.vocab_size);
    }
  }
  for (TokenId token : item.targets) {
    if (token >= info_.vocab_size) {
      return bad("target ", token, " is not in the vocabulary of ", info_.vocab_size);
    }
  }
  if (!item.targets.empty() && item.targets.size() != item.tokens.size()) {
    return bad(item.targets.size(), " targets stand beside ", item.tokens.size(), " tokens");
  }
  if (item.top_logprobs < 0 || item.top_logprobs > kMaxTopLogprobs) {
    return bad("top_logprobs is ", item.top_logprobs, ", the limit is ", kMaxTopLogprobs);
  }
  if (info_.segment_passes > 1) {
    return CheckPass(item, static_cast<int64_t>(std::max<size_t>(1, item.tokens.size())));
  }
  if (item.first_position != slot.position) {
    return bad("first_position is ", item.first_position, ", the slot stands at ", slot.position);
  }
  if (item.segment.pass != 0) return bad("pass is ", item.segment.pass, ", this model has one");
  return absl::OkStatus();
}

absl::Status CpuWorker::CheckPass(const StepItem& item, int64_t tokens) const {
  const bool prompt = item.segment.kind == SegmentKind::kPrompt;
  const Lobe* lobe = LobeOf(item.slot);
  const bool bidirectional = lobe != nullptr && lobe->config.mode == LobeMode::kBidirectional;
  if (bidirectional && (!prompt || item.segment.begin != 0)) {
    return absl::FailedPreconditionError(
        absl::StrCat(kBidirectionalLobe,
                     "it takes one prompt segment from position 0, and nothing after its end"));
  }
  ELA_RETURN_IF_ERROR(passes_.Check(item.slot, pool_->slot(item.slot).position, item.segment,
                                    item.first_position, tokens));
  if (!prompt) return absl::OkStatus();
  const auto bad = [&](auto... words) {
    return absl::InternalError(absl::StrCat("slot ", item.slot, ": ", words...));
  };
  if (item.tokens.empty()) return bad("a prompt segment has no tokens");
  if (item.segment.pass + 1 < info_.segment_passes &&
      (item.output != OutputMode::kNone || !item.targets.empty())) {
    return bad("an output from pass ", item.segment.pass, ", they come from pass ",
               info_.segment_passes - 1);
  }
  return absl::OkStatus();
}

// The item is one pass of a prompt segment; else it goes through all layers at once.
bool CpuWorker::InPasses(const StepItem& item) const {
  return info_.segment_passes > 1 && item.segment.kind == SegmentKind::kPrompt;
}

StepResult& CpuWorker::Wait() {
  ScopedFlushToZero flush;
  tokens_.clear();
  sequences_.clear();
  output_rows_.clear();
  staged_.clear();
  int64_t rows_left = info_.max_step_tokens;
  for (size_t i = 0; i < items_.size(); ++i) Stage(i, &rows_left);
  OrderStaged();
  for (const size_t i : staged_) Place(i);
  if (!tokens_.empty()) model_.Run(sequences_, tokens_);
  ProduceOutputs();
  for (size_t i = 0; i < items_.size(); ++i) Finish(i);
  const absl::Span<const int64_t> counts = model_.expert_rows();
  result_.expert_tokens.assign(counts.begin(), counts.end());
  if (tokens_.empty()) std::fill(result_.expert_tokens.begin(), result_.expert_tokens.end(), 0);
  result_.num_items = items_.size();
  items_.clear();
  return result_;
}

// Checks item `index`; a bad one gets its Status and takes no part in the step.
void CpuWorker::Stage(size_t index, int64_t* rows_left) {
  const StepItem& item = items_[index];
  StepOutput& output = result_.items[index];
  output.Clear();
  output.status = CheckItem(item, *rows_left);
  if (output.status.ok() && InPasses(item) && !passes_.under_way(item.slot)) {
    output.status = passes_.Begin(item.slot, item.segment);
  }
  if (!output.status.ok()) {
    output.routing.clear();
    return;
  }
  *rows_left -= static_cast<int64_t>(std::max<size_t>(1, item.tokens.size()));
  slot_taken_[item.slot] = static_cast<int32_t>(index) + 1;
  staged_.push_back(index);
}

// Items of one pass become neighbours, and among them those of one lobe, so that a layer runs over
// whole stretches of rows.
void CpuWorker::OrderStaged() {
  const auto key = [this](size_t index) {
    const StepItem& item = items_[index];
    const int32_t pass = InPasses(item) ? item.segment.pass : kAllLayers;
    return std::make_tuple(pass, pool_->slot(item.slot).lobe, index);
  };
  std::sort(staged_.begin(), staged_.end(), [&](size_t a, size_t b) { return key(a) < key(b); });
}

// Gives a staged item its rows.
void CpuWorker::Place(size_t index) {
  const StepItem& item = items_[index];
  const int64_t first_row = static_cast<int64_t>(tokens_.size());
  if (item.tokens.empty()) {
    tokens_.push_back(pool_->slot(item.slot).last_sampled);
  } else {
    tokens_.insert(tokens_.end(), item.tokens.begin(), item.tokens.end());
  }
  SequenceRows rows;
  rows.state = pool_->memory(item.slot);
  rows.first_position = item.first_position;
  rows.first_row = first_row;
  rows.rows = static_cast<int64_t>(tokens_.size()) - first_row;
  rows.lobe = LobeOf(item.slot);
  if (InPasses(item)) {
    rows.pass = item.segment.pass;
    rows.segment_end = item.segment.begin + item.segment.length;
    rows.scratch = passes_.Row(item.slot, item.first_position);
  }
  sequences_.push_back(rows);
  PlanOutputs(index, first_row);
}

void CpuWorker::PlanOutputs(size_t index, int64_t first_row) {
  const StepItem& item = items_[index];
  StepOutput& output = result_.items[index];
  const int64_t rows = static_cast<int64_t>(tokens_.size()) - first_row;
  int64_t outputs = 0;
  for (int64_t i = 0; i < rows; ++i) {
    const bool last = i + 1 == rows;
    const bool wanted =
        item.output == OutputMode::kEvery || (item.output == OutputMode::kLast && last);
    const bool scored = !item.targets.empty() && item.targets[i] >= 0;
    if (!wanted && !scored) continue;
    output_rows_.push_back({index, first_row + i, i, wanted ? outputs++ : -1,
                            wanted && last && item.sampling != nullptr});
  }
  output.target_logprobs.assign(item.targets.size(), 0.0f);
  if (item.logits) output.logits.resize(outputs * info_.vocab_size);
  output.top.resize(outputs * item.top_logprobs);
  output.routing.resize(item.routing ? outputs : 0);  // rows keep what they have allocated
}

void CpuWorker::ProduceOutputs() {
  for (size_t first = 0; first < output_rows_.size(); first += LanguageModel::kLogitRows) {
    const size_t n = std::min<size_t>(LanguageModel::kLogitRows, output_rows_.size() - first);
    row_indices_.clear();
    for (size_t i = 0; i < n; ++i) row_indices_.push_back(output_rows_[first + i].row);
    model_.Logits(row_indices_, logits_.get());
    // A task takes whole rows; a row writes only its own place in its item's output.
    threads_.Run(static_cast<int64_t>(n), [&](int64_t task, int thread) {
      ProduceRow(output_rows_[first + task], logits_.get() + task * model_.logits_ld(),
                 &samplers_[thread]);
    });
    // Not in the tasks: rows of one item would write one Status.
    for (size_t i = 0; i < n; ++i) {
      const OutputRow& row = output_rows_[first + i];
      if (compute_.kernels.all_finite(info_.vocab_size, logits_.get() + i * model_.logits_ld())) {
        continue;
      }
      const StepItem& item = items_[row.item];
      result_.items[row.item].status = absl::DataLossError(
          absl::StrCat("slot ", item.slot, ": the logits after position ",
                       item.first_position + row.offset, " hold NaN or infinity"));
    }
  }
}

void CpuWorker::ProduceRow(const OutputRow& row, const float* logits, Sampler* sampler) {
  if (!compute_.kernels.all_finite(info_.vocab_size, logits)) return;
  const StepItem& item = items_[row.item];
  StepOutput& output = result_.items[row.item];
  const bool target = !item.targets.empty() && item.targets[row.offset] >= 0;
  LogSoftmax distribution;
  if (target || row.sample || item.top_logprobs > 0) distribution = sampler->Normalise(logits);
  if (target) {
    output.target_logprobs[row.offset] =
        distribution.LogProbability(logits[item.targets[row.offset]]);
  }
  if (row.output >= 0) {
    if (item.logits) {
      std::copy(logits, logits + info_.vocab_size,
                output.logits.begin() + row.output * info_.vocab_size);
    }
    if (item.top_logprobs > 0) {
      sampler->Top(
          logits, distribution,
          absl::MakeSpan(output.top).subspan(row.output * item.top_logprobs, item.top_logprobs));
    }
    if (item.routing) {
      Routing& routing = output.routing[row.output];
      routing.experts.clear();
      routing.weights.clear();
      for (int layer = 0; layer < info_.num_layers; ++layer) {
        const int32_t* chosen = model_.chosen(layer, row.row);
        const float* weights = model_.chosen_weights(layer, row.row);
        routing.experts.insert(routing.experts.end(), chosen, chosen + info_.num_experts_per_token);
        routing.weights.insert(routing.weights.end(), weights,
                               weights + info_.num_experts_per_token);
      }
    }
  }
  if (row.sample) {
    const TokenId absorbed = item.tokens.empty() ? pool_->slot(item.slot).last_sampled : -1;
    output.sampled =
        sampler->Draw(logits, {item.sampling, item.recent_tokens, item.allowed_tokens, item.choice,
                               item.first_position + row.offset + 1, absorbed});
    if (output.sampled >= 0) {
      output.sampled_logprob = distribution.LogProbability(logits[output.sampled]);
    }
  }
}

// Moves the slot on, or marks it as needing a reset.
void CpuWorker::Finish(size_t index) {
  const StepItem& item = items_[index];
  StepOutput& output = result_.items[index];
  const bool ran = item.slot >= 0 && item.slot < info_.num_slots &&
                   slot_taken_[item.slot] == static_cast<int32_t>(index) + 1;
  if (!ran) return;
  slot_taken_[item.slot] = 0;
  StatePool::Slot& slot = pool_->slot(item.slot);
  const int64_t tokens = static_cast<int64_t>(std::max<size_t>(1, item.tokens.size()));
  slot.last_sampled = output.sampled;
  if (!InPasses(item)) {
    slot.position += tokens;
  } else if (passes_.Advance(item.slot, tokens)) {
    slot.position = item.segment.begin + item.segment.length;
    const Lobe* lobe = LobeOf(item.slot);
    if (lobe != nullptr && lobe->sees_ahead()) slot.sealed = slot.position;
  }
  if (output.status.ok() && item.sampling != nullptr && item.output != OutputMode::kNone &&
      output.sampled < 0) {
    output.status =
        absl::InternalError(absl::StrCat("slot ", item.slot, ": allowed_tokens allows no token"));
  }
  if (!output.status.ok()) {
    output.sampled = -1;
    slot.ready = false;
    passes_.Drop(item.slot);
  }
}

}  // namespace ela
