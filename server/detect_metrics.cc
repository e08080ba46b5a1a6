#include "server/detect_metrics.h"

#include <utility>
#include <vector>

#include "model/image/image.h"

namespace ela {
namespace {

// Seconds. A small picture takes single milliseconds of each.
const std::vector<double> kSecondBounds = {.0001, .00025, .0005, .001, .002, .003, .004, .006, .008,
                                           .01,   .015,   .025,  .05,  .1,   .25,  .5,   1,    2.5};
const std::vector<double> kBatchBounds = {1, 2, 4, 8, 16, 32, 64, 128};
const std::vector<double> kBoxBounds = {0, 1, 2, 5, 10, 20, 50, 100, 200, 300, 500, 1000};

constexpr const char* kOutcomeNames[] = {"ok", "cancelled", "deadline", "error"};
constexpr const char* kRejectionNames[] = {"invalid", "queue_full", "draining"};

}  // namespace

DetectMetrics::DetectMetrics(std::string model, const DetectorInfo& info)
    : model_(std::move(model)),
      weight_bytes_(info.weight_bytes),
      decode_(kSecondBounds),
      queue_(kSecondBounds),
      network_(kSecondBounds),
      postprocess_(kSecondBounds),
      batch_(kBatchBounds),
      boxes_(kBoxBounds) {}

void DetectMetrics::OnLoad(const DetectLoad& load) {
  waiting_.store(load.num_waiting, std::memory_order_relaxed);
  preparing_.store(load.num_preparing, std::memory_order_relaxed);
  ready_.store(load.num_ready, std::memory_order_relaxed);
  computing_.store(load.num_computing, std::memory_order_relaxed);
}

void DetectMetrics::OnBatch(int32_t num_pictures, const DetectTimes& times) {
  batch_.Observe(num_pictures);
  network_.Observe(absl::ToDoubleSeconds(times.network));
  postprocess_.Observe(absl::ToDoubleSeconds(times.postprocess));
}

void DetectMetrics::OnPicture(const absl::Status& status, const DetectOutput& output,
                              const PictureTimes& times) {
  if (ImageErrorOf(status) != ImageError::kNone) return OnBadImage(status);
  if (status.ok()) {
    ended_[kOk].Add(1);
    decode_.Observe(absl::ToDoubleSeconds(times.prepare));
    queue_.Observe(absl::ToDoubleSeconds(times.queue));
    boxes_.Observe(static_cast<double>(output.detections.size()));
  } else if (absl::IsCancelled(status) || absl::IsUnavailable(status)) {
    ended_[kCancelled].Add(1);
  } else {
    ended_[absl::IsDeadlineExceeded(status) ? kDeadline : kFailed].Add(1);
  }
}

void DetectMetrics::OnRejected(const absl::Status& status) {
  rejected_[absl::IsResourceExhausted(status) ? kQueueFull : kDraining].Add(1);
}

void DetectMetrics::OnBadImage(const absl::Status& status) {
  bad_images_[static_cast<size_t>(ImageErrorOf(status))].Add(1);
}

void DetectMetrics::Report(MetricsPage* page) const {
  const MetricsPage::Labels model = {{"model", model_}};
  const auto with = [this](const char* label, std::string value) {
    return MetricsPage::Labels{{"model", model_}, {label, std::move(value)}};
  };
  const std::pair<const char*, const std::atomic<int32_t>*> stages[] = {{"waiting", &waiting_},
                                                                        {"preparing", &preparing_},
                                                                        {"ready", &ready_},
                                                                        {"computing", &computing_}};
  for (const auto& [stage, count] : stages) {
    page->Gauge("ela_detect_images_in_flight", "Pictures that wait or are under way, by stage.",
                with("stage", stage), count->load());
  }
  page->Gauge("ela_weight_bytes", "Size of the resident weights.", model,
              static_cast<double>(weight_bytes_));
  for (int i = 0; i < kNumOutcomes; ++i) {
    page->Counter("ela_detect_images_total", "Readable pictures by how they ended.",
                  with("result", kOutcomeNames[i]), static_cast<double>(ended_[i].value()));
  }
  for (int i = 1; i < kNumImageErrors; ++i) {
    page->Counter("ela_detect_images_rejected_total", "Pictures that could not be read, by reason.",
                  with("reason", std::string(ImageErrorName(static_cast<ImageError>(i)))),
                  static_cast<double>(bad_images_[i].value()));
  }
  for (int i = 0; i < kNumRejections; ++i) {
    page->Counter("ela_detect_requests_rejected_total",
                  "Calls and frames of which no picture was queued, by reason.",
                  with("reason", kRejectionNames[i]), static_cast<double>(rejected_[i].value()));
  }
  page->Counter("ela_detect_frames_dropped_total", "Frames that a newer one had overtaken.", model,
                static_cast<double>(dropped_.value()));
  page->Add("ela_detect_decode_seconds", "Decoding and fitting a picture.", model, decode_);
  page->Add("ela_detect_queue_seconds", "A picture's waiting before and after decoding.", model,
            queue_);
  page->Add("ela_detect_network_seconds", "The network, for one batch.", model, network_);
  page->Add("ela_detect_postprocess_seconds", "Selecting boxes, for one batch.", model,
            postprocess_);
  page->Add("ela_detect_batch_images", "Pictures in one batch.", model, batch_);
  page->Add("ela_detect_boxes", "Boxes found in a picture.", model, boxes_);
}

}  // namespace ela
