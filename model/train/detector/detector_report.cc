#include "model/train/detector/detector_report.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "model/checkpoint/atomic_file.h"
#include "model/status_macros.h"
#include "model/train/detector/report_pictures.h"
#include "model/vision/network_plan.h"

namespace ela::train {
namespace {

std::string ModelCard(const DetectorConfig& model, const RunSummary& run, const EvaluationSet& set,
                      const EvaluationResult& result) {
  const NetworkPlan plan = MakeNetworkPlan(model);
  const CocoResult& figures = result.figures;
  std::string card =
      absl::StrCat("# YOLO-LAT detector, variant ", Name(model.variant), "\n\nFinds ",
                   absl::StrJoin(model.class_names, ", "), ".\n\n| | |\n|---|---|\n");
  absl::StrAppendFormat(&card, "| input | %d x %d, %s |\n", model.input_width, model.input_height,
                        model.fit == FitMode::kStretch ? "stretched" : "letterboxed");
  absl::StrAppendFormat(&card, "| parameters, BatchNorm folded | %d |\n",
                        NumInferenceParameters(plan));
  absl::StrAppendFormat(&card, "| multiply-adds a picture | %.1f million |\n",
                        NumMultiplyAdds(plan, model.input_width, model.input_height) / 1e6);
  absl::StrAppendFormat(&card, "| trained on | %d pictures, %d epochs, %d steps, seed %d |\n",
                        run.num_training_pictures, run.num_epochs, run.num_steps, run.seed);
  absl::StrAppendFormat(&card, "| kept | the averaged weights of step %d, best on validation |\n",
                        run.best_step);
  absl::StrAppendFormat(&card, "| defaults | score at least %.2f, IoU at most %.2f |\n\n",
                        model.score_threshold, model.iou_threshold);
  absl::StrAppendFormat(&card,
                        "COCO figures on the %d validation pictures, which also chose weights and "
                        "thresholds:\n\n| class | objects | mAP50 | mAP75 | mAP50-95 |\n"
                        "|---|---|---|---|---|\n",
                        set.items().size());
  const auto row = [&](absl::string_view name, int64_t objects, double ap50, double ap75,
                       double ap) {
    if (objects == 0) {  // COCO's -1: there is nothing to measure it on
      absl::StrAppendFormat(&card, "| %s | 0 | - | - | - |\n", name);
      return;
    }
    absl::StrAppendFormat(&card, "| %s | %d | %.3f | %.3f | %.3f |\n", name, objects, ap50, ap75,
                          ap);
  };
  int64_t objects = 0;
  for (size_t i = 0; i < figures.classes.size(); ++i) {
    const CocoClassResult& of_class = figures.classes[i];
    objects += of_class.num_truths;
    row(model.class_names[i], of_class.num_truths, of_class.map50, of_class.map75, of_class.map);
  }
  row("all", objects, figures.map50, figures.map75, figures.map);
  absl::StrAppend(&card, "\n`ela-train eval-detector` measures other pictures.\n");
  return card;
}

}  // namespace

absl::Status WriteDetectorReport(const std::string& directory, const DetectorConfig& model,
                                 const RunSummary& run, const EvaluationSet& set,
                                 const EvaluationResult& result) {
  ELA_RETURN_IF_ERROR(
      WriteFileAtomically(directory + "/README.md", {ModelCard(model, run, set, result)}));
  ELA_RETURN_IF_ERROR(
      WritePrecisionRecall(directory + "/precision_recall.png", model, result.figures));
  return WriteSampleSheet(directory + "/samples.png", model, set, result);
}

}  // namespace ela::train
