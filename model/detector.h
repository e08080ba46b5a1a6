// The detector as others see it: batches of prepared pictures in, boxes out. Plain C++, no Torch.
//
// The contract:
//  1. The caller decodes and fits a picture into the network's input (model/image) and maps the
//     boxes back; the detector knows network pixels only. IoU does not change under either scaling,
//     so suppression before the mapping equals suppression after it.
//  2. All pictures of a batch have one size. Which sizes are allowed: a multiple of
//     DetectorInfo::size_multiple, at most max_input_side. Whoever makes batches groups by size.
//  3. A detector has `num_lanes` lanes, each with its own scratch memory. Different lanes may run
//     at the same time on different threads; one lane is used by one thread at a time.
//     On a CPU two lanes of one thread each beat one batch on two threads; a GPU has one lane and
//     wants batches.
//  4. What a picture gets never depends on what else is in the batch, nor on the lane.
//  5. An item fails alone: its Status is in its output and the others are answered.
//  6. Nothing is kept between calls. A batch that has started runs to its end: deadlines and
//     cancellation are looked at before it starts and after it has ended, milliseconds apart.
#ifndef ELA_MODEL_DETECTOR_H_
#define ELA_MODEL_DETECTOR_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

namespace ela {

// Corners in pixels, x to the right, y down; (0, 0) is the outer corner of the first pixel, so a
// picture of width W spans [0, W].
struct Box {
  float x0 = 0;
  float y0 = 0;
  float x1 = 0;
  float y1 = 0;
};

struct Detection {
  Box box;
  float score = 0;       // [0, 1]
  int32_t class_id = 0;  // index into DetectorInfo::class_names
};

// What a caller wants to see of a picture. CheckDetectionOptions (model/detection_options.h) holds
// the ranges.
struct DetectionOptions {
  float score_threshold = 0.25f;  // [0, 1]; a candidate below it is dropped
  float iou_threshold = 0.6f;     // [0, 1]; of two boxes that overlap more, the better is kept
  int32_t max_candidates = 1000;  // [1, 10000]; the best that enter suppression
  int32_t max_detections = 300;   // [1, 1000]
  bool class_agnostic = false;    // suppress across classes
  bool suppress = true;           // false: no suppression (for a head that gives one box an object)
  std::vector<int32_t> classes;   // only these; empty: all
};

// How a picture becomes the network's input; training and serving agree on it.
enum class FitMode : uint8_t {
  kLetterbox,  // keeps the aspect ratio, centred, grey around
  kStretch,    // fills the input, the aspect ratio changes
};

// Constant after creation.
struct DetectorInfo {
  std::string variant;            // "lat", "lat-dsc", ...
  std::string model_fingerprint;  // SHA-256 of config and weights, hex
  std::string numerics_id;        // equal ids give equal bits
  std::string device;             // "cpu", "cuda:0"
  int64_t num_parameters = 0;     // at inference, BatchNorm folded
  int64_t weight_bytes = 0;       // resident
  std::vector<std::string> class_names;
  int32_t input_width = 0;  // the size it was trained at, and the default
  int32_t input_height = 0;
  int32_t size_multiple = 32;  // of width and height
  int32_t max_input_side = 0;
  FitMode fit = FitMode::kLetterbox;
  bool needs_suppression = true;  // false: a one-to-one head
  int32_t num_lanes = 1;
  int32_t max_batch = 1;        // pictures in one call
  int32_t preferred_batch = 1;  // waiting for more than this gains nothing
  DetectionOptions defaults;
};

// One prepared picture. Borrowed until Detect returns.
struct DetectItem {
  absl::Span<const uint8_t> pixels;           // [height, width, 3], RGB, packed
  const DetectionOptions* options = nullptr;  // checked before; never null
};

// Owned by the caller and reused: vectors keep their capacity.
struct DetectOutput {
  absl::Status status;  // kDataLoss: NaN in the network's output; kInternal: our defect
  std::vector<Detection> detections;  // best first; network pixels, not clipped
  int32_t num_candidates = 0;         // at or above the threshold, before suppression
  bool truncated = false;             // max_candidates or max_detections cut something off
};

struct DetectTimes {
  absl::Duration network;
  absl::Duration postprocess;
};

class Detector {
 public:
  virtual ~Detector() = default;

  // Thread-safe.
  virtual const DetectorInfo& Info() const = 0;

  // Blocks until all items are answered: outputs[i] for items[i]. Thread rule: 3 above.
  // REQUIRES: lane in [0, num_lanes), 1 <= items.size() <= max_batch, outputs as long as items,
  // width and height as in 2, pixels.size() == 3 * width * height. An item that breaks this is our
  // own bug and comes back as kInternal.
  virtual DetectTimes Detect(int32_t lane, int32_t width, int32_t height,
                             absl::Span<const DetectItem> items,
                             absl::Span<DetectOutput> outputs) = 0;
};

}  // namespace ela

#endif  // ELA_MODEL_DETECTOR_H_
