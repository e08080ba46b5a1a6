#include "model/train/detector/detector_commands.h"

#include <ATen/Parallel.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "model/checkpoint/atomic_file.h"
#include "model/detection_options.h"
#include "model/status_macros.h"
#include "model/train/checkpoint_directory.h"
#include "model/train/detector/detector_evaluation.h"
#include "model/train/detector/detector_trainer.h"
#include "model/train/detector/settings_file.h"
#include "model/train/detector/torch_detector.h"
#include "model/vision/cpu_detector.h"

namespace ela::train {
namespace {

std::atomic<bool> stop_asked{false};

// The second Ctrl-C ends the process at once.
void AskToStop(int signal) {
  stop_asked.store(true);
  std::signal(signal, SIG_DFL);
}

constexpr char kTrainHelp[] =
    "train a detector on labelled pictures\n\n"
    "  ela-train detector --data PICTURES --out models/mine\n\n"
    "PICTURES is a Pascal VOC folder (ImageSets/Main/*.txt, or train/ and val/ with XML beside "
    "the\n"
    "pictures, or all of it in one folder), a folder with COCO files, or one COCO .json. Where "
    "there\n"
    "is no validation split a share of the training pictures is held out. Nothing else needs to "
    "be\n"
    "set: classes, fit and epochs follow from the data. The best weights on the validation "
    "pictures\n"
    "are kept; --out then holds a checkpoint that a server loads, a card, curves and sample\n"
    "pictures. Stop with Ctrl-C, go on with --resume.";

struct TrainArguments {
  DataOptions data;
  DetectorSettings settings;
  DetectorRunOptions run;
  std::string variant = "lat-ms", size = "auto", fit = "auto", shape, export_type = "f32";
  std::string box_loss = "giou";
  TrainArguments() {
    // Beyond eight the short operations of a step gain nothing.
    settings.num_threads = std::clamp<int>(std::thread::hardware_concurrency(), 1, 8);
  }
  double memory_mb = 2048;
};

// "320" or "320x240". Errors: kInvalidArgument.
absl::Status ParseSize(const std::string& text, DetectorConfig* model) {
  const std::vector<std::string> sides = absl::StrSplit(text, 'x');
  if (sides.size() > 2 || !absl::SimpleAtoi(sides[0], &model->input_width) ||
      !absl::SimpleAtoi(sides.back(), &model->input_height)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--size is '", text, "', expected auto, SIDE or WIDTHxHEIGHT, as 320 or 416x320"));
  }
  return absl::OkStatus();
}

absl::Status RunTraining(TrainArguments a) {
  DetectorConfig& model = a.settings.model;
  if (a.size != "auto") ELA_RETURN_IF_ERROR(ParseSize(a.size, &model));
  ELA_ASSIGN_OR_RETURN(a.run.export_type, ParseExportType(a.export_type));
  a.settings.loss.box_loss = a.box_loss == "ciou" ? vision::BoxLoss::kCiou : vision::BoxLoss::kGiou;
  // Words and shape are read as config.json's are, with its messages.
  ELA_ASSIGN_OR_RETURN(
      const DetectorConfig words,
      ParseDetectorConfig(
          absl::StrCat(R"({"model_type": "yolo_lat", "num_classes": 1, "variant": ")", a.variant,
                       "\"", a.shape.empty() ? "" : ", \"shape\": ", a.shape, "}"),
          "--variant, --shape"));
  model.variant = words.variant;
  model.shape = words.shape;
  a.run.memory_bytes = static_cast<int64_t>(a.memory_mb * (1 << 20));
  a.data.seed = a.settings.seed;
  ELA_ASSIGN_OR_RETURN(TrainingData data, ReadTrainingData(a.data));
  if (a.size == "auto") model.input_width = model.input_height = AutomaticSide(data.training);
  model.fit = a.fit == "stretch" ? FitMode::kStretch
              : a.fit == "letterbox"
                  ? FitMode::kLetterbox
                  : AutomaticFit(data.training, model.input_width, model.input_height);
  std::fprintf(stderr, "%s\n", data.note.c_str());
  a.run.stop = &stop_asked;
  std::signal(SIGINT, AskToStop);
  std::signal(SIGTERM, AskToStop);
  ELA_ASSIGN_OR_RETURN(const DetectorResult result,
                       TrainDetector(a.settings, a.run, std::move(data)));
  std::printf("%s\n", FiguresAsJson(result.validation.figures, result.model.class_names).c_str());
  return absl::OkStatus();
}

void AddTrainCommand(CLI::App* app, TrainArguments* a) {
  app->get_formatter()->column_width(34);
  app->add_option("--data", a->data.data, "folder or COCO .json with labelled pictures")
      ->required();
  app->add_option("--out", a->run.out, "run directory: checkpoint, state, log, report")->required();
  app->add_flag("--resume", a->run.resume, "go on from the state in --out, with the same options");
  app->add_option("--minutes", a->run.minutes, "instead of --epochs: as many as fit in this time")
      ->check(CLI::PositiveNumber);
  app->add_option("--config",
                  "JSON object {\"epochs\": 100, …}: any option by its name; the "
                  "command line wins");

  const std::string model = "Model";
  app->add_option("--variant", a->variant, "lat-ms (three scales), lat or lat-dsc (the paper's)")
      ->capture_default_str()
      ->group(model);
  app->add_option("--size", a->size,
                  "input: SIDE or WIDTHxHEIGHT, or auto: 320, more where objects are small")
      ->capture_default_str()
      ->group(model);
  app->add_option("--fit", a->fit,
                  "letterbox, stretch, or auto: stretch where all pictures have "
                  "one shape")
      ->check(CLI::IsMember({"auto", "letterbox", "stretch"}))
      ->capture_default_str()
      ->group(model);
  app->add_option("--shape", a->shape, "of lat-ms, as \"shape\" in config.json")->group(model);
  app->add_option("--export-dtype", a->export_type, "of the checkpoint: f32 or bf16")
      ->capture_default_str()
      ->group(model);

  const std::string data = "Data";
  app->add_option("--val-data", a->data.validation_data, "validation pictures elsewhere")
      ->group(data);
  app->add_option("--train-split", a->data.train_split)->capture_default_str()->group(data);
  app->add_option("--val-split", a->data.validation_split)->capture_default_str()->group(data);
  app->add_option("--val-share", a->data.held_out_share,
                  "held out of training where there is no validation split")
      ->check(CLI::Range(0.01, 0.9))
      ->capture_default_str()
      ->group(data);
  app->add_option("--memory-mb", a->memory_mb,
                  "for decoded pictures; the rest is decoded anew "
                  "each epoch")
      ->capture_default_str()
      ->group(data);

  const std::string recipe = "Recipe";
  OptimizerOptions& o = a->settings.optimizer;
  app->add_option("--epochs", a->settings.num_epochs, "0: 60,000 samples, 24 to 600 epochs")
      ->capture_default_str()
      ->group(recipe);
  app->add_option("--batch", a->settings.batch, "pictures per step")
      ->capture_default_str()
      ->group(recipe);
  app->add_option("--lr", o.learning_rate, "largest learning rate of AdamW, cosine after warm-up")
      ->capture_default_str()
      ->group(recipe);
  app->add_option("--warmup", o.warmup_steps, "steps")->capture_default_str()->group(recipe);
  app->add_option("--final-fraction", o.final_fraction, "of --lr at the end")
      ->capture_default_str()
      ->group(recipe);
  app->add_option("--weight-decay", o.weight_decay, "on convolutions")
      ->capture_default_str()
      ->group(recipe);
  app->add_option("--beta2", o.beta2)->capture_default_str()->group(recipe);
  app->add_option("--clip", o.clip_norm, "gradient norm, 0: none")
      ->capture_default_str()
      ->group(recipe);
  app->add_option("--ema", a->settings.average_decay, "decay of the averaged weights")
      ->capture_default_str()
      ->group(recipe);
  app->add_option("--seed", a->settings.seed, "of weights, order and augmentation")
      ->capture_default_str()
      ->group(recipe);
  app->add_option("--threads", a->settings.num_threads, "another number rounds otherwise")
      ->capture_default_str()
      ->group(recipe);
  app->add_option("--evaluate-every", a->run.evaluate_every, "epochs; 0: some 40 times in all")
      ->capture_default_str()
      ->group(recipe);

  const std::string augmentation = "Augmentation";
  AugmentationOptions& g = a->settings.augmentation;
  const auto option = [&](const char* name, double* value, const char* text) {
    app->add_option(name, *value, text)->capture_default_str()->group(augmentation);
  };
  option("--flip", &g.flip_horizontal, "chance of a left-right mirror image");
  option("--flip-vertical", &g.flip_vertical, "chance of an upside-down one (microscopes, maps)");
  option("--mosaic", &g.mosaic, "chance of four pictures in one");
  option("--mosaic-until", &a->settings.mosaic_until, "share of the run with mosaics");
  option("--plain", &g.plain, "chance of unchanged size and place");
  option("--zoom-min", &g.zoom_min, "smallest size, of the served one");
  option("--zoom-max", &g.zoom_max, "largest size");
  option("--aspect", &g.aspect, "change of shape, log");
  option("--brightness", &g.brightness, "±, of full scale");
  option("--contrast", &g.contrast, "±, log");
  option("--saturation", &g.saturation, "±, log");
  option("--hue", &g.hue, "±, of a full turn");
  option("--min-visible", &g.min_visible, "share of a cut object that still counts");

  const std::string loss = "Loss";
  vision::LossOptions& l = a->settings.loss;
  app->add_option("--box-loss", a->box_loss)
      ->check(CLI::IsMember({"giou", "ciou"}))
      ->capture_default_str()
      ->group(loss);
  app->add_option("--box-weight", l.box_weight)->capture_default_str()->group(loss);
  app->add_option("--score-weight", l.score_weight)->capture_default_str()->group(loss);
  app->add_option("--class-weight", l.class_weight, "lat, lat-dsc")
      ->capture_default_str()
      ->group(loss);
  app->add_option("--focus", l.focus, "exponent of the quality focal loss")
      ->capture_default_str()
      ->group(loss);
  app->add_option("--assign-radius", l.assignment.radius, "cells around a centre that may answer")
      ->capture_default_str()
      ->group(loss);
  app->add_option("--assign-overlaps", l.assignment.num_overlaps,
                  "IoUs that count an object's places")
      ->capture_default_str()
      ->group(loss);
  app->add_option("--min-places", l.assignment.min_places, "that answer for an object")
      ->capture_default_str()
      ->group(loss);
}

constexpr char kEvaluateHelp[] =
    "COCO figures of a detector on labelled pictures, as JSON\n\n"
    "  ela-train eval-detector --model models/mine --data PICTURES --split test\n\n"
    "A figure is -1 where the pictures hold no object to measure it on.";

struct EvaluateArguments {
  std::string model, data, split = "test", detections, path = "serving";
  double score_threshold = 0.001, iou_threshold = -1;
  int max_detections = 100, num_threads = 2;
};

absl::StatusOr<std::unique_ptr<Detector>> OpenDetector(const EvaluateArguments& a) {
  if (a.path == "serving") return CreateCpuDetector(a.model, {/*num_lanes=*/1});
  at::set_num_threads(a.num_threads);
  ELA_ASSIGN_OR_RETURN(auto network, vision::TorchNetwork::Load(a.model));
  return std::make_unique<TorchDetector>(std::move(network));
}

absl::Status RunEvaluation(const EvaluateArguments& a) {
  ELA_ASSIGN_OR_RETURN(const auto detector, OpenDetector(a));
  const DetectorInfo& info = detector->Info();
  DetectionOptions options = EvaluationOptions(
      a.iou_threshold < 0 ? info.defaults.iou_threshold : static_cast<float>(a.iou_threshold));
  options.score_threshold = static_cast<float>(a.score_threshold);
  options.max_detections = a.max_detections;
  ELA_RETURN_IF_ERROR(
      CheckDetectionOptions(options, static_cast<int32_t>(info.class_names.size())));
  ELA_ASSIGN_OR_RETURN(Dataset dataset, ReadSplit(a.data, a.split, info.class_names));
  ELA_ASSIGN_OR_RETURN(auto set, EvaluationSet::Create(std::move(dataset), info.input_width,
                                                       info.input_height, info.fit));
  const std::vector<LabelProblem>& problems = set->dataset().problems;
  for (size_t i = 0; i < std::min<size_t>(problems.size(), 20); ++i) {
    std::fprintf(stderr, "%s\n", ToString(problems[i]).c_str());
  }
  if (problems.size() > 20) std::fprintf(stderr, "… and %zu more\n", problems.size() - 20);
  const bool any = std::any_of(set->items().begin(), set->items().end(),
                               [](const auto& item) { return !item.image.boxes.empty(); });
  if (!any) {
    return absl::InvalidArgumentError(absl::StrCat(a.data, ", split '", a.split,
                                                   "': no box of a class that the model knows (",
                                                   absl::StrJoin(info.class_names, ", "), ")"));
  }
  ELA_ASSIGN_OR_RETURN(const EvaluationResult result, set->Run(*detector, options));
  if (!a.detections.empty()) {
    ELA_RETURN_IF_ERROR(WriteFileAtomically(a.detections, {DetectionsAsJson(*set, result)}));
  }
  std::fprintf(stderr, "%zu pictures, %.1f ms each\n", result.images.size(),
               1000 * result.seconds / static_cast<double>(result.images.size()));
  std::printf("%s\n", FiguresAsJson(result.figures, info.class_names).c_str());
  return absl::OkStatus();
}

void AddEvaluateCommand(CLI::App* app, EvaluateArguments* a) {
  app->add_option("--model", a->model, "checkpoint directory")->required();
  app->add_option("--data", a->data, "as for training")->required();
  app->add_option("--split", a->split, "list or folder of the data; \"\": all of it")
      ->capture_default_str();
  app->add_option("--detections", a->detections, "file for all boxes in COCO's results format");
  app->add_option("--path", a->path,
                  "serving: the kernels that the server runs; torch: what the trainer runs")
      ->check(CLI::IsMember({"serving", "torch"}))
      ->capture_default_str();
  app->add_option("--score-threshold", a->score_threshold)->capture_default_str();
  app->add_option("--iou-threshold", a->iou_threshold, "of suppression; the model's own if absent");
  app->add_option("--max-detections", a->max_detections, "per picture")->capture_default_str();
  app->add_option("--threads", a->num_threads, "of --path torch")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
}

}  // namespace

void AddDetectorCommands(CLI::App* app, std::function<absl::Status()>* command) {
  const auto training = std::make_shared<TrainArguments>();  // shared with the callbacks
  CLI::App* detector = app->add_subcommand("detector", kTrainHelp);
  AddTrainCommand(detector, training.get());
  detector->callback([=] { *command = [=] { return RunTraining(*training); }; });

  const auto evaluation = std::make_shared<EvaluateArguments>();
  CLI::App* evaluate = app->add_subcommand("eval-detector", kEvaluateHelp);
  AddEvaluateCommand(evaluate, evaluation.get());
  evaluate->callback([=] { *command = [=] { return RunEvaluation(*evaluation); }; });
}

}  // namespace ela::train
