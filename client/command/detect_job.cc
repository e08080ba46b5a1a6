#include "client/command/detect_job.h"

#include <algorithm>
#include <cstdio>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/command/draw.h"
#include "client/command/interrupt.h"
#include "client/command/output.h"
#include "client/command/picture_file.h"
#include "model/image/decode.h"

namespace ela::client {
namespace {

constexpr size_t kAheadOfPrinter = 4;  // pictures a worker, started but not printed

// What the server decodes we can draw, and no more.
ImageLimits LimitsOf(const DetectionLimits& server) {
  ImageLimits limits;
  if (server.max_image_bytes > 0) limits.max_bytes = server.max_image_bytes;
  if (server.max_width > 0) limits.max_width = server.max_width;
  if (server.max_height > 0) limits.max_height = server.max_height;
  if (server.max_pixels > 0) limits.max_pixels = server.max_pixels;
  return limits;
}

ImageResult Failure(absl::Status status) {
  ImageResult result;
  result.status = std::move(status);
  return result;
}

}  // namespace

DetectJob::DetectJob(Client& client, const DetectorDescription& detector, const PictureList& list,
                     const DetectJobOptions& options)
    : client_(client),
      pictures_(list.pictures),
      options_(options),
      limits_(LimitsOf(detector.limits)),
      table_(list.pictures, detector.class_names),
      worst_(list.faults.empty() ? kExitOk : kExitRefused) {}

ExitCode DetectJob::Run() {
  std::vector<std::thread> workers;
  const size_t num_workers = std::min<size_t>(options_.concurrency, pictures_.size());
  for (size_t i = 0; i < num_workers; ++i) workers.emplace_back([this] { Work(); });
  {
    OnInterrupt on_interrupt([this] { Stop(absl::CancelledError("interrupted")); });
    WatchOver(num_workers);
  }
  for (std::thread& worker : workers) worker.join();
  if (!options_.json && pictures_.size() > 1 && num_done_ > 0) PrintSummary();
  absl::MutexLock lock(&mutex_);
  if (!stopped_.ok()) return Report(stopped_);
  return worst_;
}

void DetectJob::Work() {
  size_t index = 0;
  while (Take(&index)) {
    ImageResult result = Process(pictures_[index]);
    absl::MutexLock lock(&mutex_);
    // A job that stops has one reason, which is told once.
    if (!stop_ || result.status.ok()) results_.emplace(index, std::move(result));
  }
  absl::MutexLock lock(&mutex_);
  ++num_idle_;
}

// Waits while the printer is too far behind. False: nothing is left to do.
bool DetectJob::Take(size_t* index) {
  absl::MutexLock lock(&mutex_);
  const auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return stop_ || next_ == pictures_.size() ||
           next_ < num_printed_ + kAheadOfPrinter * options_.concurrency;
  };
  mutex_.Await(absl::Condition(&ready));
  if (stop_ || next_ == pictures_.size()) return false;
  *index = next_++;
  return true;
}

ImageResult DetectJob::Process(const Picture& picture) {
  const absl::StatusOr<std::string> bytes = ReadPicture(picture.path, limits_.max_bytes);
  if (!bytes.ok()) return Failure(bytes.status());
  absl::StatusOr<ImageResult> result = Detect(*bytes);
  if (!result.ok()) {
    // A message that is too large is this picture's fault alone; of everything else the next
    // picture would die as well.
    if (!IsTooLarge(result.status())) Stop(result.status());
    return Failure(result.status());
  }
  if (!result->status.ok() || picture.draw_to.empty()) return *std::move(result);
  if (absl::Status status = Draw(picture, *bytes, result->objects); !status.ok()) {
    if (ExitCodeOf(status) != kExitRefused) Stop(status);
    return Failure(std::move(status));
  }
  return *std::move(result);
}

// An overloaded server names a pause: a batch job can afford to wait for it.
absl::StatusOr<ImageResult> DetectJob::Detect(const std::string& bytes) {
  constexpr int kMaxAttempts = 30;
  for (int attempt = 1;; ++attempt) {
    DetectParams params;
    params.images.resize(1);
    params.images[0].encoded = bytes;
    params.options = options_.detect;
    absl::StatusOr<DetectResults> results = client_.Detect(std::move(params), &cancellation_);
    if (results.ok()) return std::move(results->images[0]);
    const std::optional<absl::Duration> pause = DetailsOf(results.status()).retry_after;
    if (results.status().code() != absl::StatusCode::kResourceExhausted || !pause.has_value() ||
        attempt == kMaxAttempts) {
      return results.status();
    }
    absl::MutexLock lock(&mutex_);
    mutex_.AwaitWithTimeout(absl::Condition(&stop_), *pause);
  }
}

absl::Status DetectJob::Draw(const Picture& picture, const std::string& bytes,
                             const std::vector<DetectedObject>& objects) {
  absl::StatusOr<std::string> drawing;
  {
    absl::MutexLock lock(&draw_mutex_);
    const auto* const data = reinterpret_cast<const uint8_t*>(bytes.data());
    const absl::StatusOr<DecodedImage> decoded = DecodeImage({data, bytes.size()}, limits_);
    if (!decoded.ok()) return decoded.status();
    drawing = DrawObjects(decoded->image, objects, DrawingFormatOf(picture.draw_to));
  }
  if (!drawing.ok()) return drawing.status();
  return WritePicture(picture.draw_to, *drawing);
}

void DetectJob::Stop(absl::Status why) {
  {
    absl::MutexLock lock(&mutex_);
    if (stop_) return;
    stop_ = true;
    stopped_ = std::move(why);
  }
  cancellation_.Cancel();
}

void DetectJob::WatchOver(size_t num_workers) {
  ProgressBar bar;
  bool all_idle = false;
  while (!all_idle) {
    {
      absl::MutexLock lock(&mutex_);
      const auto something = [this, num_workers]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
        return num_idle_ == num_workers || results_.count(num_printed_) > 0;
      };
      mutex_.AwaitWithTimeout(absl::Condition(&something), absl::Milliseconds(100));
      all_idle = num_idle_ == num_workers;
    }
    PrintReady(&bar, all_idle);
    if (pictures_.size() > 1) bar.Show(CurrentProgress());
  }
}

// Prints the results that are next in order; at the end of a job that was stopped, `all`, also
// those behind one that is missing.
void DetectJob::PrintReady(ProgressBar* bar, bool all) {
  while (true) {
    std::map<size_t, ImageResult>::node_type result;
    {
      absl::MutexLock lock(&mutex_);
      if (results_.empty() || (!all && results_.begin()->first != num_printed_)) return;
      result = results_.extract(results_.begin());
      num_printed_ = result.key() + 1;
    }
    bar->Hide();
    PrintOne(pictures_[result.key()], result.mapped());
  }
}

void DetectJob::PrintOne(const Picture& picture, const ImageResult& result) {
  num_objects_ += result.objects.size();
  if (result.status.ok()) ++num_done_;
  if (!result.status.ok()) {
    ++num_failed_;
    if (worst_ != kExitServer) {
      worst_ = ExitCodeOf(result.status) == kExitServer ? kExitServer : kExitRefused;
    }
    PrintError(absl::StrCat(picture.name, ": ", result.status.message()));
  } else if (result.truncated) {
    PrintError(absl::StrCat(picture.name, ": more than the ", result.objects.size(),
                            " objects shown; a limit cut the rest off (--max, --threshold)"));
  }
  std::string text;
  if (options_.json) {
    text = DetectJson(picture, result);
  } else if (result.status.ok()) {
    if (!std::exchange(header_printed_, true)) text = table_.Header();
    text += table_.Rows(picture, result);
  }
  if (!Print(text)) Stop(OutputStatus());
}

Progress DetectJob::CurrentProgress() const {
  const double seconds = absl::ToDoubleSeconds(absl::Now() - start_);
  absl::MutexLock lock(&mutex_);
  std::string rates = absl::StrFormat("%d pictures  %.1f/s", num_printed_,
                                      seconds > 0 ? num_printed_ / seconds : 0);
  if (num_failed_ > 0) absl::StrAppend(&rates, "  ", num_failed_, " failed");
  return {static_cast<int64_t>(num_printed_), static_cast<int64_t>(pictures_.size()), rates};
}

void DetectJob::PrintSummary() const {
  const double seconds = absl::ToDoubleSeconds(absl::Now() - start_);
  std::fprintf(stderr, "%zu of %zu pictures, %zu objects, %.1f s\n", num_done_, pictures_.size(),
               num_objects_, seconds);
}

}  // namespace ela::client
