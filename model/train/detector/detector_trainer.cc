#include "model/train/detector/detector_trainer.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "model/checkpoint/atomic_file.h"
#include "model/status_macros.h"
#include "model/train/detector/batch_loader.h"
#include "model/train/detector/detector_report.h"
#include "model/train/detector/detector_weights.h"
#include "model/train/detector/torch_detector.h"
#include "model/train/progress_bar.h"
#include "model/train/train_settings.h"
#include "model/train/train_state.h"

namespace ela::train {
namespace {

constexpr int64_t kStepsBetweenSaves = 50;
constexpr int kProblemsShown = 20;

struct Position {
  int64_t step = 0;
  double best_map = -1;
  int64_t best_step = 0;
};

struct StepLoss {
  double total = 0, score = 0, box = 0, overlap = 0, gradient_norm = 0;
  int64_t positives = 0, boxes = 0;
};

absl::Status TellProblems(const std::vector<LabelProblem>& problems, const std::string& out,
                          bool quiet) {
  if (problems.empty()) return absl::OkStatus();
  std::string text;
  for (size_t i = 0; i < problems.size(); ++i) {
    const std::string line = ToString(problems[i]) + "\n";
    if (!quiet && i < kProblemsShown) std::fputs(line.c_str(), stderr);
    text += line;
  }
  if (!quiet && problems.size() > kProblemsShown) {
    std::fprintf(stderr, "… and %zu more\n", problems.size() - kProblemsShown);
  }
  const std::string path = out + "/problems.txt";
  if (!quiet)
    std::fprintf(stderr, "%zu label problems, all in %s\n", problems.size(), path.c_str());
  return WriteFileAtomically(path, {text});
}

// One run: what it owns, in the order in which it is built.
class Run {
 public:
  Run(const DetectorSettings& settings, const DetectorRunOptions& options,
      const PictureStore& store, EvaluationSet& validation)
      : settings_(settings),
        options_(options),
        store_(store),
        validation_(validation),
        num_steps_(NumSteps(settings, store_.size())),
        evaluate_every_(EvaluateEvery()),
        weights_(settings.model, settings.seed),
        optimizer_(settings.optimizer, weights_.parameters()),
        loader_(store_, Loader()) {}

  absl::Status Begin() {
    const std::string state = TrainStatePath(options_.out);
    std::error_code error;
    if (options_.resume) {
      ELA_RETURN_IF_ERROR(Resume());
    } else if (std::filesystem::exists(state, error)) {
      return absl::FailedPreconditionError(absl::StrCat(
          state, ": a run is there already; add --resume to go on, or choose another --out"));
    }
    log_.open(options_.out + "/log.jsonl", std::ios::app);
    if (!log_) {
      return absl::UnavailableError(absl::StrCat(options_.out, "/log.jsonl: cannot be written"));
    }
    return absl::OkStatus();
  }

  // Seconds of a step, the median of a few after a few: they change the weights, so the run that
  // follows is another one.
  absl::StatusOr<double> SecondsPerStep() {
    std::vector<double> seconds;
    for (int i = 0; i < 9; ++i) {
      const absl::Time start = absl::Now();
      ELA_RETURN_IF_ERROR(Step().status());
      ++at_.step;
      if (i >= 2) seconds.push_back(absl::ToDoubleSeconds(absl::Now() - start));
    }
    std::nth_element(seconds.begin(), seconds.begin() + seconds.size() / 2, seconds.end());
    return seconds[seconds.size() / 2];
  }

  absl::StatusOr<DetectorResult> ToTheEnd() {
    DetectorResult result;
    ProgressBar bar(at_.step, num_steps_, settings_.batch, "images", stderr);
    std::string note;
    while (at_.step < num_steps_) {
      ELA_ASSIGN_OR_RETURN(const StepLoss loss, Step());
      ++at_.step;
      result.last_loss = loss.total;
      if (options_.after_step) options_.after_step(at_.step);
      if (!options_.quiet) bar.Update(at_.step, loss.total, note);
      LogStep(loss, bar.units_per_second());
      const bool last = at_.step == num_steps_;
      const bool evaluated = last || at_.step % evaluate_every_ == 0;
      if (evaluated) {
        ELA_ASSIGN_OR_RETURN(note, Evaluate());
      }
      const bool stop = options_.stop != nullptr && options_.stop->load();
      if (evaluated || stop || at_.step % kStepsBetweenSaves == 0) ELA_RETURN_IF_ERROR(Save());
      if (stop && !last) {
        bar.Finish();
        return absl::CancelledError(absl::StrCat("stopped after step ", at_.step, " of ",
                                                 num_steps_,
                                                 "; the state is saved, go on with "
                                                 "--resume"));
      }
    }
    if (!options_.quiet) bar.Finish();
    result.steps = at_.step;
    result.best_map = at_.best_map;
    result.best_step = at_.best_step;
    ELA_RETURN_IF_ERROR(Conclude(&result));
    return result;
  }

 private:
  LoaderOptions Loader() const {
    LoaderOptions loader;
    const DetectorConfig& model = settings_.model;
    loader.frame = {model.input_width, model.input_height, model.fit};
    loader.augmentation = settings_.augmentation;
    loader.batch = settings_.batch;
    loader.num_steps = num_steps_;
    loader.last_mosaic_step = std::lround(settings_.mosaic_until * num_steps_);
    loader.seed = settings_.seed;
    return loader;
  }

  int64_t EvaluateEvery() const {  // steps
    const int64_t epochs = options_.evaluate_every > 0
                               ? options_.evaluate_every
                               : std::max<int64_t>(1, settings_.num_epochs / 40);
    return std::max<int64_t>(1, epochs * store_.size() / settings_.batch);
  }

  absl::StatusOr<StepLoss> Step() {
    const Batch batch = loader_.Get(at_.step);
    const std::vector<vision::RawMaps> maps =
        weights_.network().Forward(batch.images, {/*training=*/true});
    const vision::DetectionLoss loss =
        vision::ComputeLoss(settings_.model, maps, batch.targets, settings_.loss);
    loss.total.backward();
    StepLoss step;
    step.total = loss.total.item<double>();
    step.score = loss.score.item<double>();
    step.box = loss.box.item<double>();
    step.overlap = loss.mean_overlap;
    step.positives = loss.num_positives;
    step.boxes = loss.num_boxes;
    step.gradient_norm = optimizer_.Step(at_.step, num_steps_);
    if (!std::isfinite(step.total) || !std::isfinite(step.gradient_norm)) {
      return absl::OutOfRangeError(
          absl::StrCat("step ", at_.step + 1, ": loss is ", step.total, ", gradient norm is ",
                       step.gradient_norm, "; the last saved state is intact, try a lower --lr"));
    }
    weights_.MoveAverage(at_.step, settings_.average_decay);
    return step;
  }

  // Measures the averaged weights, keeps them when they are the best so far; returns the note for
  // the bar.
  absl::StatusOr<std::string> Evaluate() {
    TorchDetector detector(weights_.average());
    ELA_ASSIGN_OR_RETURN(
        const EvaluationResult result,
        validation_.Run(detector, EvaluationOptions(settings_.model.iou_threshold)));
    const CocoResult& figures = result.figures;
    // The first counts whatever it says: where nothing can be measured the weights are kept too.
    const bool best = at_.best_step == 0 || figures.map > at_.best_map;
    if (best) {
      at_.best_map = figures.map;
      at_.best_step = at_.step;
      ELA_RETURN_IF_ERROR(vision::WriteDetectorCheckpoint(
          options_.out, settings_.model, weights_.average().tensors(), DType::kF32));
    }
    Log({{"step", at_.step},
         {"validation_mAP50", figures.map50},
         {"validation_mAP75", figures.map75},
         {"validation_mAP50-95", figures.map},
         {"best", best},
         {"seconds_per_picture", result.seconds / static_cast<double>(result.images.size())}});
    return absl::StrFormat("mAP50 %.3f mAP50-95 %.3f (best %.3f)", figures.map50, figures.map,
                           at_.best_map);
  }

  // From the best checkpoint to what is served: thresholds, number type, report.
  absl::Status Conclude(DetectorResult* result) {
    ELA_ASSIGN_OR_RETURN(auto best, vision::TorchNetwork::Load(options_.out));
    DetectorConfig model = settings_.model;
    {
      TorchDetector detector(best);
      ELA_ASSIGN_OR_RETURN(const ServingThresholds thresholds,
                           ChooseThresholds(detector, validation_));
      model.score_threshold = thresholds.score;
      model.iou_threshold = thresholds.iou;
    }
    ELA_RETURN_IF_ERROR(
        vision::WriteDetectorCheckpoint(options_.out, model, best.tensors(), options_.export_type));
    ELA_ASSIGN_OR_RETURN(auto exported, vision::TorchNetwork::Load(options_.out));
    TorchDetector detector(std::move(exported));
    ELA_ASSIGN_OR_RETURN(result->validation,
                         validation_.Run(detector, EvaluationOptions(model.iou_threshold)));
    result->model = model;
    const CocoResult& figures = result->validation.figures;
    Log({{"step", at_.step},
         {"final", true},
         {"best_step", at_.best_step},
         {"score_threshold", model.score_threshold},
         {"iou_threshold", model.iou_threshold},
         {"validation_mAP50", figures.map50},
         {"validation_mAP75", figures.map75},
         {"validation_mAP50-95", figures.map}});
    RunSummary summary;
    summary.num_training_pictures = store_.size();
    summary.num_epochs = settings_.num_epochs;
    summary.num_steps = num_steps_;
    summary.best_step = at_.best_step;
    summary.seed = settings_.seed;
    return WriteDetectorReport(options_.out, model, summary, validation_, result->validation);
  }

  std::vector<NamedBuffer> Buffers() const {
    std::vector<NamedBuffer> buffers = weights_.Buffers();
    buffers.push_back({"mean", optimizer_.mean()});
    buffers.push_back({"variance", optimizer_.variance()});
    return buffers;
  }

  std::string DataDigest() const {
    return absl::StrCat(store_.size(), " pictures, ", store_.Digest());
  }

  absl::Status Save() {
    return SaveBuffers(TrainStatePath(options_.out), Buffers(),
                       {{"step", absl::StrCat(at_.step)},
                        {"best_map", absl::StrFormat("%.17g", at_.best_map)},
                        {"best_step", absl::StrCat(at_.best_step)},
                        {"settings", ToJson(settings_)},
                        {"corpus_digest", DataDigest()}});
  }

  absl::Status Resume() {
    const std::string path = TrainStatePath(options_.out);
    ELA_ASSIGN_OR_RETURN(const TrainPosition saved, LoadTrainPosition(options_.out));
    ELA_RETURN_IF_ERROR(CheckSameSettings(saved.settings, ToJson(settings_)));
    if (saved.corpus_digest != DataDigest()) {
      return absl::FailedPreconditionError(
          absl::StrCat("cannot resume with other training data: it is ", DataDigest(),
                       ", the run began with ", saved.corpus_digest));
    }
    ELA_ASSIGN_OR_RETURN(const auto file, SafetensorsFile::Open(path));
    const auto& metadata = file->metadata();
    const auto map = metadata.find("best_map"), step = metadata.find("best_step");
    if (map == metadata.end() || step == metadata.end() ||
        !absl::SimpleAtod(map->second, &at_.best_map) ||
        !absl::SimpleAtoi(step->second, &at_.best_step)) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": not the state of a detector's run"));
    }
    at_.step = saved.step;
    return LoadBuffers(path, Buffers());
  }

  void LogStep(const StepLoss& loss, double images_per_second) {
    Log({{"step", at_.step},
         {"epoch", static_cast<double>(at_.step * settings_.batch) / store_.size()},
         {"loss", loss.total},
         {"score_loss", loss.score},
         {"box_loss", loss.box},
         {"overlap", loss.overlap},
         {"positives", loss.positives},
         {"boxes", loss.boxes},
         {"gradient_norm", loss.gradient_norm},
         {"learning_rate", optimizer_.LearningRate(at_.step - 1, num_steps_)},
         {"images_per_second", images_per_second}});
  }

  void Log(const nlohmann::json& entry) { log_ << entry.dump() << std::endl; }

  const DetectorSettings settings_;
  const DetectorRunOptions options_;
  const PictureStore& store_;
  EvaluationSet& validation_;
  const int64_t num_steps_, evaluate_every_;

  DetectorWeights weights_;
  Optimizer optimizer_;
  BatchLoader loader_;
  Position at_;
  std::ofstream log_;
};

// The number of epochs that a run was begun with.
absl::StatusOr<int64_t> SavedEpochs(const std::string& out) {
  ELA_ASSIGN_OR_RETURN(const TrainPosition saved, LoadTrainPosition(out));
  const nlohmann::json json = nlohmann::json::parse(saved.settings, nullptr, false);
  if (!json.is_object() || !json.contains("epochs") || !json["epochs"].is_number_integer()) {
    return absl::InvalidArgumentError(absl::StrCat(out, ": not the state of a detector's run"));
  }
  return json["epochs"].get<int64_t>();
}

absl::StatusOr<DetectorResult> Train(DetectorSettings settings, const DetectorRunOptions& options,
                                     TrainingData data) {
  std::error_code error;
  std::filesystem::create_directories(options.out, error);
  if (error) return absl::UnavailableError(absl::StrCat(options.out, ": ", error.message()));
  settings.model.class_names = data.training.class_names;
  const bool automatic = settings.num_epochs == 0;
  const DetectorConfig& model = settings.model;
  StoreOptions store_options;
  store_options.input_width = model.input_width;
  store_options.input_height = model.input_height;
  store_options.max_bytes = options.memory_bytes;
  if (automatic) settings.num_epochs = 1;
  ELA_RETURN_IF_ERROR(Check(settings));
  // What config.json cannot say (names of classes) is refused now, not after the training.
  ELA_RETURN_IF_ERROR(ParseDetectorConfig(ToJson(model), "the model to be trained").status());

  std::vector<LabelProblem> problems = std::move(data.training.problems);
  ELA_ASSIGN_OR_RETURN(
      auto store, PictureStore::Create(std::move(data.training.images), store_options, &problems));
  ELA_ASSIGN_OR_RETURN(auto validation,
                       EvaluationSet::Create(std::move(data.validation), model.input_width,
                                             model.input_height, model.fit));
  const std::vector<LabelProblem>& more = validation->dataset().problems;
  problems.insert(problems.end(), more.begin(), more.end());
  ELA_RETURN_IF_ERROR(TellProblems(problems, options.out, options.quiet));

  if (automatic) {
    if (options.resume) {
      ELA_ASSIGN_OR_RETURN(settings.num_epochs, SavedEpochs(options.out));
    } else if (options.minutes > 0) {
      const int64_t pictures = store->size(), held_out = validation->items().size();
      Run trial(settings, options, *store, *validation);
      ELA_ASSIGN_OR_RETURN(const double seconds, trial.SecondsPerStep());
      // A forward pass is about a third of a step; some forty evaluations, and six more at the end.
      const double per_picture = seconds / settings.batch;
      const double budget = 60 * options.minutes - 46 * held_out * per_picture / 3;
      settings.num_epochs = std::max<int64_t>(
          1, static_cast<int64_t>(0.97 * budget / (per_picture * static_cast<double>(pictures))));
    } else {
      settings.num_epochs = AutomaticEpochs(store->size());
    }
  }
  if (!options.quiet) {
    std::fprintf(
        stderr,
        "%s, %lld parameters, %d x %d %s; %lld pictures, %zu held out; %lld epochs of %lld steps\n",
        std::string(Name(model.variant)).c_str(),
        static_cast<long long>(NumInferenceParameters(MakeNetworkPlan(model))), model.input_width,
        model.input_height, model.fit == FitMode::kStretch ? "stretched" : "letterboxed",
        static_cast<long long>(store->size()), validation->items().size(),
        static_cast<long long>(settings.num_epochs),
        static_cast<long long>(store->size() / settings.batch));
  }
  Run run(settings, options, *store, *validation);
  ELA_RETURN_IF_ERROR(run.Begin());
  return run.ToTheEnd();
}

}  // namespace

absl::StatusOr<DetectorResult> TrainDetector(DetectorSettings settings,
                                             const DetectorRunOptions& run, TrainingData data) {
  at::set_num_threads(std::max(1, settings.num_threads));
  try {
    return Train(std::move(settings), run, std::move(data));
  } catch (const std::exception& error) {  // Torch: out of memory, a device fault
    return absl::InternalError(absl::StrCat("LibTorch: ", error.what()));
  }
}

}  // namespace ela::train
