#include "model/train/detector/detector_settings.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace ela::train {

absl::Status Check(const DetectorSettings& settings) {
  std::vector<std::string> problems;
  const auto require = [&](bool ok, absl::string_view name, double value, absl::string_view range) {
    if (!ok) problems.push_back(absl::StrCat(name, " is ", value, ", allowed is ", range));
  };
  const auto share = [&](absl::string_view name, double value) {
    require(value >= 0 && value <= 1, name, value, "0 to 1");
  };
  const OptimizerOptions& o = settings.optimizer;
  const AugmentationOptions& a = settings.augmentation;
  const int32_t multiple = SizeMultiple(settings.model.variant);
  for (const int32_t side : {settings.model.input_width, settings.model.input_height}) {
    require(side >= multiple && side <= kMaxDetectorInputSide && side % multiple == 0, "size", side,
            absl::StrCat("a multiple of ", multiple, " up to ", kMaxDetectorInputSide));
  }
  require(settings.num_epochs >= 1, "epochs", settings.num_epochs, "1 and more");
  require(settings.batch >= 2 && settings.batch <= 1024, "batch", settings.batch, "2 to 1024");
  require(settings.num_threads >= 1, "threads", settings.num_threads, "1 and more");
  require(o.learning_rate > 0 && std::isfinite(o.learning_rate), "lr", o.learning_rate, "above 0");
  require(o.warmup_steps >= 0, "warmup", o.warmup_steps, "0 and more");
  share("final-fraction", o.final_fraction);
  require(o.weight_decay >= 0 && o.weight_decay < 1, "weight-decay", o.weight_decay, "0 to 1");
  require(o.clip_norm >= 0, "clip", o.clip_norm, "0 and more");
  share("mosaic-until", settings.mosaic_until);
  require(settings.average_decay >= 0 && settings.average_decay < 1, "ema", settings.average_decay,
          "0 to below 1");
  share("flip", a.flip_horizontal);
  share("flip-vertical", a.flip_vertical);
  share("mosaic", a.mosaic);
  share("plain", a.plain);
  share("min-visible", a.min_visible);
  require(a.zoom_min >= 0.1 && a.zoom_min <= a.zoom_max, "zoom-min", a.zoom_min, "0.1 to zoom-max");
  require(a.zoom_max <= 10, "zoom-max", a.zoom_max, "zoom-min to 10");
  require(a.aspect >= 0 && a.aspect <= 1, "aspect", a.aspect, "0 to 1");
  share("brightness", a.brightness);
  share("contrast", a.contrast);
  share("saturation", a.saturation);
  require(a.hue >= 0 && a.hue <= 0.5, "hue", a.hue, "0 to 0.5");
  if (problems.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrJoin(problems, "\n"));
}

std::string ToJson(const DetectorSettings& settings) {
  const OptimizerOptions& o = settings.optimizer;
  const AugmentationOptions& a = settings.augmentation;
  const vision::LossOptions& l = settings.loss;
  nlohmann::json json = {{"epochs", settings.num_epochs},
                         {"batch", settings.batch},
                         {"mosaic_until", settings.mosaic_until},
                         {"ema", settings.average_decay},
                         {"seed", settings.seed},
                         {"threads", settings.num_threads},
                         {"lr", o.learning_rate},
                         {"warmup", o.warmup_steps},
                         {"final_fraction", o.final_fraction},
                         {"beta1", o.beta1},
                         {"beta2", o.beta2},
                         {"epsilon", o.epsilon},
                         {"weight_decay", o.weight_decay},
                         {"clip", o.clip_norm},
                         {"flip", a.flip_horizontal},
                         {"flip_vertical", a.flip_vertical},
                         {"mosaic", a.mosaic},
                         {"plain", a.plain},
                         {"zoom_min", a.zoom_min},
                         {"zoom_max", a.zoom_max},
                         {"aspect", a.aspect},
                         {"brightness", a.brightness},
                         {"contrast", a.contrast},
                         {"saturation", a.saturation},
                         {"hue", a.hue},
                         {"min_visible", a.min_visible},
                         {"radius", l.assignment.radius},
                         {"num_overlaps", l.assignment.num_overlaps},
                         {"min_places", l.assignment.min_places},
                         {"overlap_weight", l.assignment.overlap_weight},
                         {"box_loss", l.box_loss == vision::BoxLoss::kGiou ? "giou" : "ciou"},
                         {"score_weight", l.score_weight},
                         {"box_weight", l.box_weight},
                         {"class_weight", l.class_weight},
                         {"focus", l.focus}};
  json["model"] = nlohmann::json::parse(ela::ToJson(settings.model));
  return json.dump(1);
}

int64_t AutomaticEpochs(int64_t num_pictures) {
  return std::clamp<int64_t>(60'000 / std::max<int64_t>(1, num_pictures), 24, 600);
}

int64_t NumSteps(const DetectorSettings& settings, int64_t num_pictures) {
  const int64_t samples = settings.num_epochs * num_pictures;
  return std::max<int64_t>(1, (samples + settings.batch - 1) / settings.batch);
}

int32_t AutomaticSide(const Dataset& dataset) {
  std::vector<double> sides;  // at an input of one pixel
  for (const LabelledImage& image : dataset.images) {
    for (const TruthBox& truth : image.boxes) {
      const double area = static_cast<double>(truth.box.x1 - truth.box.x0) *
                          static_cast<double>(truth.box.y1 - truth.box.y0);
      sides.push_back(std::sqrt(area) / std::max(image.width, image.height));
    }
  }
  if (sides.empty()) return 320;
  const auto fifth = sides.begin() + static_cast<int64_t>(sides.size()) / 5;
  std::nth_element(sides.begin(), fifth, sides.end());
  for (const int32_t side : {320, 416}) {
    if (*fifth * side >= 12) return side;
  }
  return 512;
}

FitMode AutomaticFit(const Dataset& dataset, int32_t input_width, int32_t input_height) {
  std::vector<double> ratios;
  for (const LabelledImage& image : dataset.images) {
    ratios.push_back(std::log(static_cast<double>(image.width) / image.height));
  }
  if (ratios.empty()) return FitMode::kLetterbox;
  std::nth_element(ratios.begin(), ratios.begin() + ratios.size() / 2, ratios.end());
  const double median = ratios[ratios.size() / 2];
  const auto alike = std::count_if(ratios.begin(), ratios.end(), [&](double ratio) {
    return std::abs(ratio - median) <= std::log(1.1);
  });
  const double off = std::abs(median - std::log(static_cast<double>(input_width) / input_height));
  const bool one_shape = alike * 10 >= static_cast<int64_t>(ratios.size()) * 9;
  return one_shape && off <= std::log(2.0) ? FitMode::kStretch : FitMode::kLetterbox;
}

}  // namespace ela::train
