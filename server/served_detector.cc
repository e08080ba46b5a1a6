#include "server/served_detector.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/status_macros.h"
#include "server/rpc_status.h"

namespace ela {
namespace {

DetectorCard CardOf(const DetectorParts& parts, const ServerConfig& config) {
  DetectorCard card;
  card.name = parts.name;
  card.info = parts.detector->Info();
  card.image.max_bytes = config.max_image_bytes;
  card.image.max_width = card.image.max_height = static_cast<int32_t>(config.max_image_side);
  card.image.max_pixels = config.max_image_pixels;
  card.max_images = config.max_images;
  card.max_request_pixels = config.max_request_pixels;
  card.max_message_bytes = config.max_message_bytes;
  return card;
}

DetectBatcherOptions OptionsOf(const ServerConfig& config, const DetectorInfo& info) {
  const int64_t cores = std::max<int64_t>(1, std::thread::hardware_concurrency());
  const int64_t threads = config.threads > 0 ? config.threads : cores;
  DetectBatcherOptions options;
  options.num_threads = std::max(static_cast<int32_t>(threads), info.num_lanes);
  options.max_pictures = static_cast<int32_t>(config.max_queued_images);
  // A call with as many bytes as a message may have must find room at some time.
  options.max_bytes = std::max(config.max_queued_image_bytes, config.max_message_bytes);
  options.max_pixels = config.max_image_pixels;
  options.max_wait = absl::Seconds(config.batch_wait_seconds);
  return options;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ServedDetector>> ServedDetector::Create(DetectorParts parts,
                                                                       const ServerConfig& config,
                                                                       DetectMetrics& metrics,
                                                                       const Clock& clock) {
  std::unique_ptr<ServedDetector> served(new ServedDetector(std::move(parts), metrics));
  served->card_ = CardOf(served->parts_, config);
  const DetectBatcherOptions options = OptionsOf(config, served->card_.info);
  ELA_ASSIGN_OR_RETURN(served->batcher_,
                       DetectBatcher::Create(options, *served->parts_.detector, metrics, clock));
  served->threads_ = std::make_unique<DetectThreads>(*served->batcher_, options.num_threads);
  return served;
}

void ServedDetector::JoinBy(absl::Time deadline) {
  threads_->DrainAndJoin(std::max(deadline - absl::Now(), absl::ZeroDuration()));
}

void DetectorMap::Add(std::unique_ptr<ServedDetector> detector) {
  const bool is_new = by_name_.emplace(detector->card().name, detector.get()).second;
  ELA_CHECK(is_new, "two detectors have one name: CompleteConfig lets none through");
  detectors_.push_back(std::move(detector));
}

absl::StatusOr<ServedDetector*> DetectorMap::Find(const std::string& name) const {
  if (name.empty() && !detectors_.empty()) return detectors_.front().get();
  const auto found = by_name_.find(name);
  if (found != by_name_.end()) return found->second;
  const auto name_of = [](std::string* out, const auto& entry) { out->append(entry.first); };
  const std::string known = by_name_.empty() ? "none" : absl::StrJoin(by_name_, ", ", name_of);
  return WithReason(
      absl::NotFoundError(name.empty() ? std::string("this server has no detector")
                                       : absl::StrCat("no detector is named \"", Shortened(name),
                                                      "\"; this server has ", known)),
      "MODEL_NOT_FOUND");
}

}  // namespace ela
