#include "model/train/lm_trainer.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <filesystem>
#include <fstream>
#include <future>
#include <limits>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/status_macros.h"
#include "model/train/checkpoint_directory.h"
#include "model/train/next_token_loss.h"
#include "model/train/parameters.h"
#include "model/train/progress_bar.h"
#include "model/train/train_state.h"

namespace ela::train {
namespace {

// Within its scope Torch computes on the calling thread alone.
class OneThread {
 public:
  OneThread() : before_(at::get_num_threads()) { at::set_num_threads(1); }
  ~OneThread() { at::set_num_threads(before_); }

 private:
  const int before_;
};

struct StepLoss {
  double loss = 0, balance = 0;
};

absl::Status CheckDocuments(const TrainSettings& settings, const std::vector<Document>& training,
                            const std::vector<Document>& held_out) {
  if (WindowOrder::num_windows(training, settings.context) == 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the training data is shorter than one context of ", settings.context, " tokens"));
  }
  for (const std::vector<Document>* documents : {&training, &held_out}) {
    for (const Document& document : *documents) {
      for (const TokenId token : document.tokens) {
        if (token >= 0 && token < settings.model.vocab_size) continue;
        return absl::InvalidArgumentError(
            absl::StrCat("document \"", document.id, "\" holds token ", token,
                         ", the model's vocabulary has ", settings.model.vocab_size));
      }
    }
  }
  return absl::OkStatus();
}

// One run: what it owns, in the order in which it is built.
class Run {
 public:
  Run(const TrainSettings& settings, const RunOptions& options,
      const std::vector<Document>& training, const std::vector<Document>& held_out)
      : settings_(settings),
        options_(options),
        held_out_(held_out),
        precision_(settings.bfloat16 ? reference::Precision::kBFloat16
                                     : reference::Precision::kFull),
        windows_(training, settings.context, settings.batch, settings.seed),
        parameters_(1, Parameters(settings.model, settings.seed)),
        optimizer_(settings.optimizer, parameters_[0]) {
    while (num_workers() < std::min<int64_t>(settings.num_threads, settings.batch)) {
      parameters_.push_back(parameters_[0].Replica());
    }
    position_.settings = ToJson(settings);
    position_.corpus_digest = absl::StrCat(windows_.num_tokens(), " tokens, ", windows_.Digest());
  }

  absl::Status Begin() {
    std::error_code error;
    std::filesystem::create_directories(options_.out, error);
    if (error) return absl::UnavailableError(absl::StrCat(options_.out, ": ", error.message()));
    const std::string state = TrainStatePath(options_.out);
    if (options_.resume) {
      ELA_RETURN_IF_ERROR(Resume());
    } else if (std::filesystem::exists(state, error)) {
      return absl::FailedPreconditionError(
          absl::StrCat(state, ": a run is there already; resume it or choose another directory"));
    }
    log_.open(options_.out + "/log.jsonl", std::ios::app);
    if (!log_)
      return absl::UnavailableError(absl::StrCat(options_.out, "/log.jsonl: cannot be written"));
    return absl::OkStatus();
  }

  absl::StatusOr<TrainResult> ToTheEnd() {
    TrainResult result;
    ProgressBar bar(position_.step, settings_.num_steps, settings_.batch * settings_.context,
                    "tokens", stderr);
    std::string note;
    while (position_.step < settings_.num_steps) {
      ELA_ASSIGN_OR_RETURN(const StepLoss loss, Step());
      ++position_.step;
      result.last_loss = loss.loss;
      if (options_.after_step) options_.after_step(position_.step);
      if (!options_.quiet) bar.Update(position_.step, loss.loss, note);
      Log({{"step", position_.step},
           {"loss", loss.loss},
           {"balance", loss.balance},
           {"gradient_norm", gradient_norm_},
           {"learning_rate", optimizer_.LearningRate(position_.step - 1, settings_.num_steps)},
           {"tokens_per_second", bar.units_per_second()}});
      const bool last = position_.step == settings_.num_steps;
      if (!last && position_.step % options_.evaluate_every == 0) {
        const double bits = HeldOut(precision_, options_.evaluate_tokens).value();
        note = absl::StrFormat("held out %.3f bits/byte", bits);
        Log({{"step", position_.step}, {"held_out_bits_per_byte", bits}});
      }
      if (last || position_.step % options_.checkpoint_every == 0) ELA_RETURN_IF_ERROR(Save());
    }
    if (!options_.quiet) bar.Finish();
    result.steps = position_.step;
    result.held_out = HeldOut(reference::Precision::kFull, std::numeric_limits<int64_t>::max());
    Log({{"step", position_.step},
         {"held_out_bits_per_byte", result.held_out.value()},
         {"held_out_tokens", result.held_out.tokens},
         {"held_out_bytes", result.held_out.bytes}});
    return result;
  }

 private:
  absl::Status Resume() {
    ELA_ASSIGN_OR_RETURN(const TrainPosition saved, LoadTrainPosition(options_.out));
    ELA_RETURN_IF_ERROR(CheckSameSettings(saved.settings, position_.settings));
    if (saved.corpus_digest != position_.corpus_digest) {
      return absl::FailedPreconditionError(
          absl::StrCat("cannot resume with other training data: it is ", position_.corpus_digest,
                       ", the run began with ", saved.corpus_digest));
    }
    position_.step = saved.step;
    return LoadTrainState(options_.out, parameters_[0], optimizer_);
  }

  absl::StatusOr<StepLoss> Step() {
    const at::Tensor ids = Batch();
    std::vector<std::future<StepLoss>> others;
    for (int64_t worker = 1; worker < num_workers(); ++worker) {
      others.push_back(
          std::async(std::launch::async, [this, &ids, worker] { return Part(ids, worker); }));
    }
    StepLoss loss = Part(ids, 0);
    for (size_t i = 0; i < others.size(); ++i) {  // in order: the sums are the same bits every time
      const StepLoss part = others[i].get();
      loss.loss += part.loss;
      loss.balance += part.balance;
      parameters_[0].gradients().add_(parameters_[i + 1].gradients());
      parameters_[i + 1].gradients().zero_();
    }
    gradient_norm_ = optimizer_.Step(position_.step, settings_.num_steps);
    if (std::isfinite(loss.loss) && std::isfinite(gradient_norm_)) return loss;
    return absl::OutOfRangeError(absl::StrCat(
        "step ", position_.step + 1, ": loss is ", loss.loss, ", gradient norm is ", gradient_norm_,
        "; the last saved state is intact, try a lower learning rate"));
  }

  at::Tensor Batch() {
    const int64_t length = settings_.context + 1;
    at::Tensor ids = at::empty({settings_.batch, length}, at::kLong);
    int64_t* out = ids.data_ptr<int64_t>();
    for (int64_t row = 0; row < settings_.batch; ++row) {
      const TokenId* window = windows_.Window(position_.step, row);
      out = std::copy(window, window + length, out);
    }
    return ids;
  }

  // Loss and gradients of the rows that belong to `worker`, in proportion to their share of the
  // batch. One thread each from end to end: a step has hundreds of short operations, and threads
  // that met after each of them would wait for one another all the time (four times slower when
  // another process takes a core).
  StepLoss Part(const at::Tensor& batch, int64_t worker) {
    const OneThread one_thread;
    const int64_t first = settings_.batch * worker / num_workers();
    const int64_t rows = settings_.batch * (worker + 1) / num_workers() - first;
    const at::Tensor ids = batch.narrow(0, first, rows);
    const at::Tensor targets = ids.narrow(1, 1, settings_.context).flatten();
    const reference::ComputeOptions compute{reference::AttentionForm::kChunked, precision_};
    const reference::LanguageModel model(settings_.model, parameters_[worker].named());
    const reference::HiddenOutput hidden =
        model.Hidden(ids.narrow(1, 0, settings_.context), {}, compute);
    const at::Tensor loss =
        NextTokenLoss(hidden.hidden.flatten(0, 1), model.embedding(), targets, precision_);
    const double share = static_cast<double>(rows) / settings_.batch;
    ((loss + settings_.balance_weight * hidden.balance_loss) * share).backward();
    return {loss.item<double>() * share, hidden.balance_loss.item<double>() * share};
  }

  BitsPerByte HeldOut(reference::Precision precision, int64_t max_tokens) const {
    const reference::LanguageModel model(settings_.model, parameters_[0].named());
    return Evaluate(model, held_out_, precision, max_tokens);
  }

  int64_t num_workers() const { return static_cast<int64_t>(parameters_.size()); }

  absl::Status Save() {
    ELA_RETURN_IF_ERROR(SaveTrainState(options_.out, position_, parameters_[0], optimizer_));
    return WriteCheckpointDirectory(options_.out, settings_.model, parameters_[0].named(),
                                    options_.export_type, options_.tokenizer);
  }

  void Log(const nlohmann::json& entry) { log_ << entry.dump() << std::endl; }

  const TrainSettings settings_;
  const RunOptions options_;
  const std::vector<Document>& held_out_;
  const reference::Precision precision_;

  WindowOrder windows_;
  std::deque<Parameters>
      parameters_;       // one per worker, all with the same values; it never moves its elements
  Optimizer optimizer_;  // of parameters_[0], where the gradients come together
  TrainPosition position_;
  double gradient_norm_ = 0;
  std::ofstream log_;
};

}  // namespace

absl::StatusOr<TrainResult> TrainLanguageModel(const TrainSettings& settings, const RunOptions& run,
                                               const std::vector<Document>& training,
                                               const std::vector<Document>& held_out) {
  ELA_RETURN_IF_ERROR(Check(settings));
  ELA_RETURN_IF_ERROR(CheckDocuments(settings, training, held_out));
  at::set_num_threads(settings.num_threads);
  try {
    Run one(settings, run, training, held_out);
    ELA_RETURN_IF_ERROR(one.Begin());
    return one.ToTheEnd();
  } catch (const std::exception& error) {  // Torch: out of memory, a device fault
    return absl::InternalError(absl::StrCat("LibTorch: ", error.what()));
  }
}

}  // namespace ela::train
