#include "model/train/detector/report_pictures.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "model/status_macros.h"
#include "model/train/detector/drawing.h"
#include "model/train/detector/labelled_picture.h"

namespace ela::train {
namespace {

constexpr Colour kBlack = {0.1, 0.1, 0.1}, kGrid = {0.88, 0.88, 0.88}, kWhite = {1, 1, 1};

}  // namespace

absl::Status WritePrecisionRecall(const std::string& path, const DetectorConfig& model,
                                  const CocoResult& figures) {
  constexpr double kLeft = 60, kTop = 40, kSide = 480;
  constexpr size_t kMaxCurves = 20;
  Canvas canvas(860, 580);
  canvas.Text(kLeft, 26,
              absl::StrFormat("Precision and recall at IoU 0.5: mAP50 %.3f, mAP50-95 %.3f",
                              figures.map50, figures.map),
              15, kBlack);
  for (int tick = 0; tick <= 10; tick += 2) {
    const double at = kSide * tick / 10, y = kTop + kSide - at;
    canvas.Line(kLeft, y, kLeft + kSide, y, kGrid, 1);
    canvas.Line(kLeft + at, kTop, kLeft + at, kTop + kSide, kGrid, 1);
    const std::string label = absl::StrFormat("%.1f", tick / 10.0);
    canvas.Text(kLeft - 8, y + 4, label, 12, kBlack, 1);
    canvas.Text(kLeft + at, kTop + kSide + 18, label, 12, kBlack, 0.5);
  }
  canvas.Text(kLeft + kSide / 2, kTop + kSide + 38, "recall", 13, kBlack, 0.5);
  canvas.Text(8, kTop - 8, "precision", 13, kBlack);
  for (size_t i = 0; i < std::min(kMaxCurves, figures.classes.size()); ++i) {
    const CocoClassResult& of_class = figures.classes[i];
    const Colour colour = ColourOf(static_cast<int32_t>(i));
    std::vector<std::pair<double, double>> points;
    for (int r = 0; r < kCocoRecallPoints && of_class.num_truths > 0; ++r) {
      const double recall = r / static_cast<double>(kCocoRecallPoints - 1);
      points.push_back({kLeft + kSide * recall, kTop + kSide * (1 - of_class.precision50[r])});
    }
    canvas.Polyline(points, colour, 2);
    const double y = kTop + 10 + 22 * static_cast<double>(i);
    canvas.Line(kLeft + kSide + 24, y, kLeft + kSide + 48, y, colour, 3);
    canvas.Text(kLeft + kSide + 56, y + 4,
                of_class.num_truths == 0 ? absl::StrFormat("%s: none to find", model.class_names[i])
                                         : absl::StrFormat("%s: %.3f (%d)", model.class_names[i],
                                                           of_class.map50, of_class.num_truths),
                13, kBlack);
  }
  return canvas.WritePng(path);
}

absl::Status WriteSampleSheet(const std::string& path, const DetectorConfig& model,
                              const EvaluationSet& set, const EvaluationResult& result) {
  constexpr int kColumns = 4, kRows = 3, kCell = 400, kGap = 8, kCaption = 20;
  const int count = static_cast<int>(std::min<size_t>(kColumns * kRows, set.items().size()));
  const auto index_of = [&](int n) { return set.items().size() * n / count; };
  const auto scale_of = [](const LabelledImage& image) {
    return static_cast<double>(kCell) / std::max(image.width, image.height);
  };
  std::vector<int> tops = {kGap};  // of the rows: each as high as its highest picture
  for (int n = 0; n < count; n += kColumns) {
    double highest = 0;
    for (int i = n; i < std::min(count, n + kColumns); ++i) {
      const LabelledImage& image = set.items()[index_of(i)].image;
      highest = std::max(highest, image.height * scale_of(image));
    }
    tops.push_back(tops.back() + kCaption + kGap + static_cast<int>(std::ceil(highest)));
  }
  Canvas canvas(std::min(kColumns, count) * (kCell + kGap) + kGap, tops.back());
  for (int n = 0; n < count; ++n) {
    const size_t index = index_of(n);
    const LabelledImage& labels = set.items()[index].image;
    ELA_ASSIGN_OR_RETURN(const LabelledPicture picture, LoadLabelledPicture(labels, kCell, kCell));
    const double scale = scale_of(labels);
    const double left = kGap + (n % kColumns) * (kCell + kGap);
    const double top = tops[n / kColumns] + kCaption;
    const auto placed = [&](double x0, double y0, double x1, double y1) {
      return Box{static_cast<float>(left + x0 * scale), static_cast<float>(top + y0 * scale),
                 static_cast<float>(left + x1 * scale), static_cast<float>(top + y1 * scale)};
    };
    canvas.Text(left, top - 6, labels.name, 12, kBlack);
    canvas.Picture(picture.decoded.image, placed(0, 0, labels.width, labels.height));
    for (const TruthBox& truth : labels.boxes) {
      canvas.Rectangle(placed(truth.box.x0, truth.box.y0, truth.box.x1, truth.box.y1), kWhite, 1,
                       /*dashed=*/true);
    }
    for (const CocoDetection& found : result.images[index].detections) {
      if (found.score < model.score_threshold) continue;
      const CocoBox& box = found.box;
      DrawLabelledBox(placed(box.x, box.y, box.x + box.width, box.y + box.height), top,
                      absl::StrFormat("%s %.2f", model.class_names[found.class_id], found.score),
                      ColourOf(found.class_id), &canvas);
    }
  }
  return canvas.WritePng(path);
}

}  // namespace ela::train
