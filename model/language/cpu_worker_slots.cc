// What happens to slots between steps: resetting, copying, transfers, and the lobes they hold.
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/checkpoint/weights.h"
#include "model/kernels/flush_to_zero.h"
#include "model/language/cpu_worker.h"
#include "model/language/state_blob.h"
#include "model/status_macros.h"

namespace ela {
namespace {

// Of a saved state: no sequence gets there, and none that starts there overflows.
constexpr int64_t kMaxPosition = int64_t{1} << 48;

// On its way from LoadLobe to AddLobe.
struct PackedLobe final : public LoadedLobe {
  explicit PackedLobe(Lobe packed) : lobe(std::make_unique<const Lobe>(std::move(packed))) {}
  std::unique_ptr<const Lobe> lobe;
};

}  // namespace

absl::Status CpuWorker::CheckSlot(int32_t slot) const {
  if (slot >= 0 && slot < info_.num_slots) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("slot is ", slot, ", this worker has 0 to ", info_.num_slots - 1));
}

// The slot holds a state, and all of it.
absl::Status CpuWorker::CheckWhole(int32_t slot, const char* purpose) const {
  ELA_RETURN_IF_ERROR(CheckSlot(slot));
  if (!pool_->slot(slot).ready) {
    return absl::InternalError(absl::StrCat("slot ", slot, " holds no state to ", purpose));
  }
  if (passes_.under_way(slot)) {
    return absl::FailedPreconditionError(
        absl::StrCat("slot ", slot, " is between the passes of a prompt segment, before whose end ",
                     "there is no state to ", purpose));
  }
  return absl::OkStatus();
}

// What the slot holds means something to a later token.
absl::Status CpuWorker::CheckLasting(int32_t slot) const {
  const Lobe* lobe = LobeOf(slot);
  if (lobe == nullptr || lobe->config.mode != LobeMode::kBidirectional) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(kBidirectionalLobe, "there is no state to save or rewind"));
}

// `slot` takes another state, under lobe number `lobe`.
template <class Change>
void CpuWorker::ChangeState(int32_t slot, int32_t lobe, Change change) {
  passes_.Drop(slot);
  const int32_t before = pool_->slot(slot).lobe;
  lobes_.Hold(lobe);
  change();
  pool_->slot(slot).lobe = lobe;
  lobes_.Release(before);
}

absl::Status CpuWorker::ResetSlot(int32_t slot, const std::string& lobe) {
  ELA_RETURN_IF_ERROR(CheckSlot(slot));
  ELA_ASSIGN_OR_RETURN(const int32_t number, lobes_.Find(lobe));
  ChangeState(slot, number, [&] { pool_->Reset(slot); });
  return absl::OkStatus();
}

absl::Status CpuWorker::CopySlot(int32_t from, int32_t to) {
  ELA_RETURN_IF_ERROR(CheckSlot(to));
  ELA_RETURN_IF_ERROR(CheckWhole(from, "copy"));
  ELA_ASSIGN_OR_RETURN(const int32_t number, lobes_.Successor(pool_->slot(from).lobe));
  if (from != to) ChangeState(to, number, [&] { pool_->Copy(from, to); });
  return absl::OkStatus();
}

absl::Status CpuWorker::RewindSlot(int32_t slot, int64_t position) {
  ELA_RETURN_IF_ERROR(CheckWhole(slot, "rewind"));
  ELA_RETURN_IF_ERROR(CheckLasting(slot));
  return pool_->Rewind(slot, position);
}

StateShape CpuWorker::ShapeOf(const Lobe* lobe) const {
  static constexpr StateLayout::Head kNone;
  return {pool_->layout(), lobe == nullptr ? kNone : lobe->head};
}

absl::Status CpuWorker::BeginSave(int32_t slot, std::string* blob) {
  ELA_RETURN_IF_ERROR(CheckWhole(slot, "save"));
  ELA_RETURN_IF_ERROR(CheckLasting(slot));
  const StatePool::Slot& state = pool_->slot(slot);
  StateHeader header;
  header.model_fingerprint = info_.model_fingerprint;
  header.lobe_fingerprint = lobes_.fingerprint(state.lobe);
  header.numerics_id = info_.numerics_id;
  header.position = state.position;
  header.last_sampled = state.last_sampled;
  header.sealed_tail = static_cast<int32_t>(state.lowest() - state.merged());
  SaveState(ShapeOf(LobeOf(slot)), header, pool_->memory(slot), blob);
  return absl::OkStatus();
}

absl::Status CpuWorker::BeginLoad(int32_t slot, absl::Span<const char> blob) {
  ELA_RETURN_IF_ERROR(CheckSlot(slot));
  ELA_ASSIGN_OR_RETURN(const StateHeader header, ReadStateHeader(blob));
  if (header.model_fingerprint != info_.model_fingerprint) {
    return absl::FailedPreconditionError(
        absl::StrCat("the saved state belongs to model ", header.model_fingerprint.substr(0, 12),
                     ", this worker serves ", info_.model_fingerprint.substr(0, 12)));
  }
  ELA_ASSIGN_OR_RETURN(const int32_t number, lobes_.FindFingerprint(header.lobe_fingerprint));
  const Lobe* lobe = lobes_.lobe(number);
  ELA_RETURN_IF_ERROR(CheckState(ShapeOf(lobe), blob, pool_->memory(slot)));
  // A checksum is no proof of origin: what indexes memory later is checked here.
  if (header.last_sampled < -1 || header.last_sampled >= info_.vocab_size ||
      header.position > kMaxPosition || header.sealed_tail < 0 ||
      header.sealed_tail > header.position % kBlock) {
    return absl::DataLossError(absl::StrCat(
        "the saved state says position ", header.position, ", last token ", header.last_sampled,
        " and sealed tail ", header.sealed_tail, "; this model has ", info_.vocab_size,
        " tokens, and a tail is at most its position mod ", kBlock));
  }
  ScopedFlushToZero flush;
  ChangeState(slot, number, [&] {
    pool_->Reset(slot);
    LoadState(ShapeOf(lobe), blob, pool_->memory(slot));
  });
  StatePool::Slot& state = pool_->slot(slot);
  state.position = header.position;
  state.last_sampled = header.last_sampled;
  state.sealed = state.merged() + header.sealed_tail;
  model_.Derive(pool_->memory(slot), lobe, header.position);
  return absl::OkStatus();
}

absl::Status CpuWorker::BeginCopyOut(int32_t slot, absl::Span<char> to) {
  ELA_RETURN_IF_ERROR(CheckWhole(slot, "copy out"));
  return pool_->CopyOut(slot, to);
}

absl::Status CpuWorker::BeginCopyIn(int32_t slot, absl::Span<const char> from) {
  ELA_RETURN_IF_ERROR(CheckSlot(slot));
  ELA_ASSIGN_OR_RETURN(const StatePool::Slot snapshot, pool_->SlotOf(from));
  ELA_ASSIGN_OR_RETURN(const int32_t number, lobes_.Successor(snapshot.lobe));
  ChangeState(slot, number,
              [&] { pool_->CopyIn(slot, from).IgnoreError(); });  // SlotOf has checked
  return absl::OkStatus();
}

absl::StatusOr<bool> CpuWorker::PollTransfer(int32_t slot) {
  ELA_RETURN_IF_ERROR(CheckSlot(slot));
  return true;
}

absl::StatusOr<std::unique_ptr<LoadedLobe>> CpuWorker::LoadLobe(
    const std::string& directory) const {
  ELA_ASSIGN_OR_RETURN(const PluggableLobeConfig pluggable,
                       LoadPluggableLobeConfig(directory, config_));
  const auto refuse = [&](auto... words) {
    return absl::FailedPreconditionError(absl::StrCat(directory, ": ", words...));
  };
  if (pluggable.base_fingerprint != info_.model_fingerprint) {
    return refuse("the lobe is one for model ", pluggable.base_fingerprint.substr(0, 12),
                  ", this worker serves ", info_.model_fingerprint.substr(0, 12));
  }
  LanguageConfig config = config_;
  config.memory_lobe = pluggable.memory_lobe;
  if (config.memory_lobe->mode != LobeMode::kCausal && info_.segment_passes == 1) {
    return refuse(
        "the lobe's mode is ", Name(config.memory_lobe->mode),
        ", which needs prompts in passes; this worker was started with causal lobes alone");
  }
  const StateLayout& layout = pool_->layout();
  const StateLayout::Head head = layout.PlaceLobe(*config.memory_lobe);
  if (head.count * head.bytes > layout.lobe_bytes()) {
    return refuse("the lobe's state takes ", head.count * head.bytes,
                  " bytes per layer, slots have room for ", layout.lobe_bytes());
  }
  ELA_ASSIGN_OR_RETURN(const Weights weights, Weights::Load(directory, LobeTensors(config)));
  return std::unique_ptr<LoadedLobe>(new PackedLobe(Lobe::Pack(config, weights, layout)));
}

absl::Status CpuWorker::AddLobe(const std::string& name, std::unique_ptr<LoadedLobe> lobe) {
  auto* packed = dynamic_cast<PackedLobe*>(lobe.get());
  ELA_CHECK(packed != nullptr && packed->lobe != nullptr, "a lobe comes from LoadLobe, once");
  return lobes_.Add(name, std::move(packed->lobe));
}

absl::Status CpuWorker::RemoveLobe(const std::string& name) { return lobes_.Remove(name); }

}  // namespace ela
