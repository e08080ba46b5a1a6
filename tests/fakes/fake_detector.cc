#include "tests/fakes/fake_detector.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "model/status_macros.h"

namespace ela {
namespace {

constexpr int kNumClasses = 3;

// Far enough from the padding's grey, and from what JPEG makes of edges.
bool IsOfClass(const uint8_t* pixel, int c) {
  return pixel[c] > 170 && pixel[(c + 1) % 3] < 90 && pixel[(c + 2) % 3] < 90;
}

void Find(int32_t width, int32_t height, const DetectItem& item, DetectOutput* output) {
  const DetectionOptions& options = *item.options;
  for (int c = 0; c < kNumClasses; ++c) {
    const bool wanted =
        options.classes.empty() ||
        std::find(options.classes.begin(), options.classes.end(), c) != options.classes.end();
    if (!wanted || FakeDetector::kScores[c] < options.score_threshold) continue;
    Box box{1e9f, 1e9f, -1, -1};
    for (int32_t y = 0; y < height; ++y) {
      for (int32_t x = 0; x < width; ++x) {
        if (!IsOfClass(&item.pixels[3 * (size_t{1} * y * width + x)], c)) continue;
        box = {std::min(box.x0, float(x)), std::min(box.y0, float(y)),
               std::max(box.x1, float(x + 1)), std::max(box.y1, float(y + 1))};
      }
    }
    if (box.x1 < 0) continue;
    ++output->num_candidates;
    if (static_cast<int32_t>(output->detections.size()) < options.max_detections) {
      output->detections.push_back({box, FakeDetector::kScores[c], c});
    } else {
      output->truncated = true;
    }
  }
}

}  // namespace

FakeDetector::FakeDetector(const FakeDetectorOptions& options) : options_(options) {
  info_.variant = "fake";
  info_.model_fingerprint = "0123456789abcdef";
  info_.numerics_id = "fake-1";
  info_.device = "cpu";
  info_.num_parameters = 3;
  info_.weight_bytes = 12;
  info_.class_names = {"red", "green", "blue"};
  info_.input_width = options.input_width;
  info_.input_height = options.input_height;
  info_.size_multiple = 32;
  info_.max_input_side = 256;
  info_.fit = options.fit;
  info_.num_lanes = options.num_lanes;
  info_.max_batch = options.max_batch;
  info_.preferred_batch = options.preferred_batch;
  busy_.resize(options.num_lanes);
}

FakeDetector::~FakeDetector() {
  for (const std::string& violation : TakeViolations()) {
    std::fprintf(stderr, "FakeDetector: %s\n", violation.c_str());
    std::abort();
  }
}

DetectTimes FakeDetector::Detect(int32_t lane, int32_t width, int32_t height,
                                 absl::Span<const DetectItem> items,
                                 absl::Span<DetectOutput> outputs) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    batches_.push_back({lane, width, height, static_cast<int32_t>(items.size())});
    ELA_CHECK(lane >= 0 && lane < info_.num_lanes, "rule 3: the lane does not exist");
    if (busy_[lane]++) violations_.push_back(absl::StrCat("rule 3: lane ", lane, " is in use"));
    if (items.empty() || static_cast<int32_t>(items.size()) > info_.max_batch ||
        items.size() != outputs.size()) {
      violations_.push_back(absl::StrCat("a batch of ", items.size(), " items and ", outputs.size(),
                                         " outputs, allowed are ", info_.max_batch));
    }
  }
  if (gate_) gate_();
  for (size_t i = 0; i < items.size(); ++i) {
    outputs[i].detections.clear();
    outputs[i].num_candidates = 0;
    outputs[i].truncated = false;
    outputs[i].status = Check(width, height, items[i]);
    if (!outputs[i].status.ok())
      outputs[i].status = Violation(std::string(outputs[i].status.message()));
    if (outputs[i].status.ok() && fault_) outputs[i].status = fault_(items[i]);
    if (outputs[i].status.ok()) Find(width, height, items[i], &outputs[i]);
    num_pictures_.fetch_add(1);
  }
  if (options_.clock != nullptr) options_.clock->Advance(options_.batch_cost);
  std::lock_guard<std::mutex> lock(mutex_);
  --busy_[lane];
  return {options_.batch_cost, absl::ZeroDuration()};
}

absl::Status FakeDetector::Check(int32_t width, int32_t height, const DetectItem& item) const {
  const auto allowed = [this](int32_t side) {
    return side > 0 && side % info_.size_multiple == 0 && side <= info_.max_input_side;
  };
  if (!allowed(width) || !allowed(height)) {
    return absl::InternalError(absl::StrCat("rule 2: a size of ", width, " x ", height));
  }
  if (item.pixels.size() != size_t{3} * width * height) {
    return absl::InternalError(absl::StrCat(item.pixels.size(), " bytes of pixels"));
  }
  if (item.options == nullptr) return absl::InternalError("options are null");
  return absl::OkStatus();
}

absl::Status FakeDetector::Violation(const std::string& what) {
  std::lock_guard<std::mutex> lock(mutex_);
  violations_.push_back(what);
  return absl::InternalError(what);
}

std::vector<FakeDetector::Batch> FakeDetector::batches() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return batches_;
}

std::vector<std::string> FakeDetector::TakeViolations() {
  std::lock_guard<std::mutex> lock(mutex_);
  return std::exchange(violations_, {});
}

}  // namespace ela
