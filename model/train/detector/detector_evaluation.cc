#include "model/train/detector/detector_evaluation.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "model/status_macros.h"
#include "model/train/detector/labelled_picture.h"
#include "model/vision/boxes.h"

namespace ela::train {
namespace {

using nlohmann::ordered_json;

std::vector<uint8_t> Fitted(const DecodedImage& decoded, const Placement& placement) {
  std::vector<uint8_t> pixels(size_t{3} * placement.input_width * placement.input_height);
  FitImage(decoded, placement, absl::MakeSpan(pixels));
  return pixels;
}

// Six digits: more than a set of a few hundred pictures can carry. -1 stands for "no such truth".
double Rounded(double value) { return std::round(value * 1e6) / 1e6; }

// F1 of the detections with at least `threshold`, at IoU 0.5, matched greedily by score.
struct Counts {
  int64_t hits = 0, claimed = 0, truths = 0;
  double F1() const {
    return claimed + truths == 0 ? 0 : 2.0 * hits / static_cast<double>(claimed + truths);
  }
};

struct Judged {
  double score;
  int32_t class_id;
  bool hit;
};

Box AsBox(const CocoBox& box) {
  return {static_cast<float>(box.x), static_cast<float>(box.y),
          static_cast<float>(box.x + box.width), static_cast<float>(box.y + box.height)};
}

// A greedy match takes the best first, so cutting the list at any score leaves the rest as it was.
std::vector<Judged> Judge(const std::vector<CocoImage>& images) {
  std::vector<Judged> judged;
  for (const CocoImage& image : images) {
    std::vector<bool> taken(image.truths.size(), false);
    for (const CocoDetection& detection : image.detections) {  // best first
      int best = -1;
      float best_overlap = 0.5f;
      bool on_crowd = false;
      for (size_t t = 0; t < image.truths.size(); ++t) {
        const CocoTruth& truth = image.truths[t];
        if (truth.class_id != detection.class_id || taken[t]) continue;
        const float overlap = IntersectionOverUnion(AsBox(truth.box), AsBox(detection.box));
        if (truth.crowd) {
          on_crowd |= overlap >= 0.5f;
        } else if (overlap >= best_overlap) {
          best_overlap = overlap;
          best = static_cast<int>(t);
        }
      }
      if (best >= 0) taken[best] = true;
      if (best >= 0 || !on_crowd) {
        judged.push_back({detection.score, detection.class_id, best >= 0});
      }
    }
  }
  return judged;
}

float BestScoreThreshold(const EvaluationResult& result, int32_t num_classes) {
  const std::vector<Judged> judged = Judge(result.images);
  float best = 0.25f;
  double best_f1 = -1;
  for (int percent = 5; percent <= 80; ++percent) {
    std::vector<Counts> counts(num_classes);
    for (const CocoImage& image : result.images) {
      for (const CocoTruth& truth : image.truths) counts[truth.class_id].truths += !truth.crowd;
    }
    for (const Judged& one : judged) {
      if (one.score * 100 < percent) continue;
      ++counts[one.class_id].claimed;
      counts[one.class_id].hits += one.hit;
    }
    double sum = 0;
    for (const Counts& of_class : counts) sum += of_class.F1();
    if (sum > best_f1) {
      best_f1 = sum;
      best = static_cast<float>(percent) / 100;
    }
  }
  return best;
}

}  // namespace

DetectionOptions EvaluationOptions(float iou_threshold) {
  DetectionOptions options;
  options.score_threshold = 0.001f;
  options.iou_threshold = iou_threshold;
  options.max_candidates = 3000;
  options.max_detections = 100;
  return options;
}

absl::StatusOr<std::unique_ptr<EvaluationSet>> EvaluationSet::Create(
    Dataset dataset, int32_t input_width, int32_t input_height, FitMode fit, int64_t max_bytes) {
  auto set = std::unique_ptr<EvaluationSet>(new EvaluationSet);
  set->width_ = input_width;
  set->height_ = input_height;
  set->dataset_ = std::move(dataset);
  std::vector<LabelProblem>& problems = set->dataset_.problems;
  int64_t bytes = 0;
  for (LabelledImage& image : set->dataset_.images) {
    absl::StatusOr<LabelledPicture> picture = LoadLabelledPicture(image, input_width, input_height);
    if (!picture.ok()) {
      problems.push_back({LabelProblem::Action::kImageRejected, image.name,
                          std::string(picture.status().message())});
      continue;
    }
    problems.insert(problems.end(), picture->problems.begin(), picture->problems.end());
    Item item;
    item.image = std::move(image);
    item.image.boxes = std::move(picture->boxes);
    item.image.width = picture->decoded.source_width;
    item.image.height = picture->decoded.source_height;
    item.placement =
        PlaceInInput(item.image.width, item.image.height, input_width, input_height, fit);
    bytes += int64_t{3} * input_width * input_height;
    if (bytes <= max_bytes) item.pixels = Fitted(picture->decoded, item.placement);
    set->items_.push_back(std::move(item));
  }
  set->dataset_.images.clear();
  if (set->items_.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "no picture can be evaluated",
        problems.empty() ? "" : "; the last: ", problems.empty() ? "" : ToString(problems.back())));
  }
  return set;
}

absl::StatusOr<std::vector<uint8_t>> EvaluationSet::Pixels(const Item& item) const {
  if (!item.pixels.empty()) return item.pixels;
  ELA_ASSIGN_OR_RETURN(const LabelledPicture picture,
                       LoadLabelledPicture(item.image, width_, height_));
  return Fitted(picture.decoded, item.placement);
}

absl::StatusOr<EvaluationResult> EvaluationSet::Run(Detector& detector,
                                                    const DetectionOptions& options) {
  EvaluationResult result;
  const size_t batch = std::max(1, std::min(detector.Info().max_batch, 8));
  for (size_t first = 0; first < items_.size(); first += batch) {
    const size_t count = std::min(batch, items_.size() - first);
    std::vector<std::vector<uint8_t>> pixels(count);
    std::vector<DetectItem> asked(count);
    std::vector<DetectOutput> outputs(count);
    for (size_t i = 0; i < count; ++i) {
      const Item& item = items_[first + i];
      if (item.pixels.empty()) {
        ELA_ASSIGN_OR_RETURN(pixels[i], Pixels(item));
      }
      asked[i] = {
          item.pixels.empty() ? absl::MakeConstSpan(pixels[i]) : absl::MakeConstSpan(item.pixels),
          &options};
    }
    const absl::Time start = absl::Now();
    detector.Detect(0, width_, height_, asked, absl::MakeSpan(outputs));
    result.seconds += absl::ToDoubleSeconds(absl::Now() - start);
    for (size_t i = 0; i < count; ++i) {
      const Item& item = items_[first + i];
      if (!outputs[i].status.ok()) {
        return absl::Status(outputs[i].status.code(),
                            absl::StrCat(item.image.name, ": ", outputs[i].status.message()));
      }
      CocoImage image;
      image.truths = TruthsOf(item.image);
      for (const Detection& detection : outputs[i].detections) {
        const Box box = ToSource(item.placement, detection.box);
        image.detections.push_back(
            {detection.class_id,
             {box.x0, box.y0, double{box.x1} - box.x0, double{box.y1} - box.y0},
             detection.score});
      }
      result.images.push_back(std::move(image));
    }
  }
  ELA_ASSIGN_OR_RETURN(
      result.figures,
      EvaluateCoco(result.images, static_cast<int32_t>(dataset_.class_names.size())));
  return result;
}

std::string FiguresAsJson(const CocoResult& figures, const std::vector<std::string>& class_names) {
  ordered_json json = {{"mAP50", Rounded(figures.map50)},
                       {"mAP75", Rounded(figures.map75)},
                       {"mAP50-95", Rounded(figures.map)},
                       {"mAP50-95_small", Rounded(figures.map_small)},
                       {"mAP50-95_medium", Rounded(figures.map_medium)},
                       {"mAP50-95_large", Rounded(figures.map_large)},
                       {"recall_1", Rounded(figures.recall_1)},
                       {"recall_10", Rounded(figures.recall_10)},
                       {"recall_100", Rounded(figures.recall_100)},
                       {"recall_small", Rounded(figures.recall_small)},
                       {"recall_medium", Rounded(figures.recall_medium)},
                       {"recall_large", Rounded(figures.recall_large)}};
  for (size_t i = 0; i < figures.classes.size(); ++i) {
    const CocoClassResult& of_class = figures.classes[i];
    json["classes"][class_names[i]] = {{"objects", of_class.num_truths},
                                       {"mAP50", Rounded(of_class.map50)},
                                       {"mAP75", Rounded(of_class.map75)},
                                       {"mAP50-95", Rounded(of_class.map)},
                                       {"recall50", Rounded(of_class.recall50)}};
  }
  return json.dump(1);
}

std::string DetectionsAsJson(const EvaluationSet& set, const EvaluationResult& result) {
  ordered_json list = ordered_json::array();
  for (size_t i = 0; i < result.images.size(); ++i) {
    for (const CocoDetection& detection : result.images[i].detections) {
      list.push_back(
          {{"image_id", set.items()[i].image.id},
           {"category_id", set.dataset().category_ids[detection.class_id]},
           {"bbox", {detection.box.x, detection.box.y, detection.box.width, detection.box.height}},
           {"score", detection.score}});
    }
  }
  return list.dump();
}

absl::StatusOr<ServingThresholds> ChooseThresholds(Detector& detector, EvaluationSet& set) {
  ServingThresholds best;
  double best_sum = -3;
  for (const float iou : {0.45f, 0.5f, 0.55f, 0.6f, 0.65f, 0.7f}) {
    ELA_ASSIGN_OR_RETURN(const EvaluationResult result, set.Run(detector, EvaluationOptions(iou)));
    const double sum = result.figures.map50 + result.figures.map;
    if (sum <= best_sum) continue;
    best_sum = sum;
    best = {BestScoreThreshold(result, static_cast<int32_t>(set.dataset().class_names.size())),
            iou};
  }
  return best;
}

}  // namespace ela::train
