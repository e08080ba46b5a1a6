// Objects in pictures: what to ask for, what comes back.
#ifndef ELA_CLIENT_DETECT_H_
#define ELA_CLIENT_DETECT_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace ela::client {

enum class PixelFormat { kRgb8, kBgr8, kGray8 };  // 3, 3 and 1 bytes a pixel

// A picture that is not compressed.
struct RawPicture {
  PixelFormat format = PixelFormat::kRgb8;
  uint32_t width = 0;  // pixels
  uint32_t height = 0;
  uint32_t stride = 0;  // bytes from row to row; 0: rows are packed
  std::string pixels;   // rows from the top; the last row's padding may be left out
};

struct DetectImage {
  std::string encoded;            // the bytes of a JPEG or PNG file; or
  std::optional<RawPicture> raw;  // pixels. Not both
};

// An empty optional means the model's default (DetectorDescription::defaults). The server checks
// all ranges; a value outside comes back as kInvalidArgument with its field and limit.
struct DetectOptions {
  std::optional<float> score_threshold;  // [0, 1]
  std::optional<float> iou_threshold;    // [0, 1]; of two boxes that overlap more, the better stays
  std::optional<uint32_t> max_detections;  // [1, 1000] of one picture
  std::optional<bool> class_agnostic;      // suppress across classes; default false
  std::vector<std::string> classes;        // only these; empty: all
  // Pixels of the network's input that a picture is fitted into: multiples of
  // DetectionLimits::input_multiple up to max_input_side. More finds smaller objects and takes
  // longer.
  std::optional<uint32_t> input_width;
  std::optional<uint32_t> input_height;
};

struct DetectParams {
  std::string model;                      // empty: ClientOptions::model
  std::vector<DetectImage> images;        // 1 to DetectionLimits::max_images
  DetectOptions options;                  // hold for all images
  std::string request_id;                 // for the server's log; empty: the server makes one
  std::optional<absl::Duration> timeout;  // of the call with its retries; default
                                          // ClientOptions::timeout
};

// Corners in pixels of the picture as a person sees it (EXIF orientation applied), x to the right,
// y down; (0, 0) is the outer corner of the first pixel: 0 <= x0 < x1 <= width, y likewise.
struct DetectionBox {
  float x0 = 0;
  float y0 = 0;
  float x1 = 0;
  float y1 = 0;
};

struct DetectedObject {
  DetectionBox box;
  float score = 0;        // [0, 1]
  uint32_t class_id = 0;  // index into DetectorDescription::class_names
  std::string class_name;
};

// Of one picture. Network and postprocess are those of the batch it was in.
struct DetectionTimes {
  absl::Duration decode;
  absl::Duration queue;
  absl::Duration network;
  absl::Duration postprocess;
};

struct ImageResult {
  // OK: the picture was read and looked at; else only this field is set. kInvalidArgument: it could
  // not be read; DetailsOf(status).reason is one of IMAGE_EMPTY, IMAGE_TOO_MANY_BYTES,
  // IMAGE_TOO_LARGE, IMAGE_UNKNOWN_FORMAT, IMAGE_UNSUPPORTED, IMAGE_TRUNCATED, IMAGE_DAMAGED,
  // IMAGE_RAW_MISMATCH. kDataLoss: the network's output was not finite. kInternal: a defect of the
  // server.
  absl::Status status;
  std::vector<DetectedObject> objects;  // best first
  uint32_t width = 0;                   // pixels, orientation applied
  uint32_t height = 0;
  uint32_t orientation = 1;  // EXIF, [1, 8], that was applied; 1: none
  bool truncated = false;    // a limit cut off objects that were above the threshold
  DetectionTimes times;
};

struct DetectResults {
  std::vector<ImageResult> images;  // as long as DetectParams::images, in their order
  std::string model;                // that answered
  std::string fingerprint;          // SHA-256 of its config and weights, hex
};

struct DetectStreamParams {
  std::string model;      // empty: ClientOptions::model
  DetectOptions options;  // hold for all frames
  std::string request_id;
  // Live video: a frame that waits while a newer one has arrived is left out, and told so.
  bool drop_stale = false;
  // That the server has taken and not yet answered; default 4.
  std::optional<uint32_t> max_frames_in_flight;
  std::optional<absl::Duration> timeout;  // of the whole stream; default
                                          // ClientOptions::timeout
};

struct FrameResult {
  uint64_t frame_id = 0;     // as it was written
  bool dropped = false;      // overtaken by a newer frame: `result` says nothing
  ImageResult result;        // a bad frame has its error here, and the stream goes on
  uint64_t num_dropped = 0;  // of this stream so far
};

// Frames in, results out in the order of the frames. Move-only; destroying it early cancels it. One
// thread may write while another reads; any may Cancel. One thread does for both if it reads
// whenever as many frames are in flight as the server holds:
//
//   for (...) {
//     if (!stream.Write(id, image)) break;
//     while (stream.num_in_flight() >= 4 && (result = stream.Next())) Use(*result);
//   }
//   stream.WritesDone();
//   while ((result = stream.Next())) Use(*result);
//   if (!stream.status().ok()) ...
//
// A stream is never sent again by itself: what was in flight is the caller's to repeat.
class DetectStream {
 public:
  DetectStream(DetectStream&&) noexcept;
  DetectStream& operator=(DetectStream&&) noexcept;
  ~DetectStream();

  // Hands a frame to the network; blocks while the server takes no more (without drop_stale it
  // stops at max_frames_in_flight, and what the network buffers comes on top). False: the stream
  // has ended or the frame cannot be sent; read on until Next says so, then see status().
  bool Write(uint64_t frame_id, DetectImage image);

  // No more frames will come; what is in flight is still answered. The writing thread.
  void WritesDone();

  // Blocks for the next result. Empty: the stream has ended, status() says how.
  std::optional<FrameResult> Next();

  // Frames written and not yet answered, dropped ones included: how far the server is behind. Any
  // thread.
  int64_t num_in_flight() const;

  // The stream ends soon with kCancelled. Any thread; harmless after the end.
  void Cancel();

  // OK while the stream runs, and after one whose frames were all answered. Errors: those of
  // ela.v1.Detection (see DetailsOf). The reading thread.
  absl::Status status() const;

  // The id under which the server logs this stream; empty before the first result. The reading
  // thread.
  std::string request_id() const;

 private:
  friend class Client;
  class Impl;
  explicit DetectStream(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

struct DetectionLimits {
  uint32_t max_images = 0;       // of one Detect
  uint64_t max_image_bytes = 0;  // of one picture, compressed or raw
  uint32_t max_width = 0;        // pixels, as stored
  uint32_t max_height = 0;
  uint64_t max_pixels = 0;          // of one picture
  uint64_t max_request_pixels = 0;  // of all pictures of one Detect
  uint32_t max_detections = 0;
  uint32_t max_frames_in_flight = 0;
  uint64_t max_message_bytes = 0;
  uint32_t max_input_side = 0;  // of DetectOptions::input_width and input_height
  uint32_t input_multiple = 0;  // of both
};

// How a picture of any size becomes the network's input.
enum class DetectorFit { kUnknown, kLetterbox, kStretch };

const char* Name(DetectorFit fit);  // "unknown", "letterbox", "stretch"

struct DetectorDescription {
  std::string name;
  std::string variant;                   // "lat", "lat-dsc", ...
  std::vector<std::string> class_names;  // by class id
  uint64_t num_parameters = 0;           // at inference
  uint64_t weight_bytes = 0;             // resident
  uint32_t input_width = 0;              // pixels that a picture is fitted into
  uint32_t input_height = 0;
  DetectorFit fit = DetectorFit::kUnknown;
  DetectOptions defaults;  // every field is set but `classes`, which is all
  DetectionLimits limits;
  std::string fingerprint;  // SHA-256 of config and weights, hex
  std::string numerics_id;  // servers with equal ids give equal bits
  std::string device;       // "cpu", "cuda:0"
};

}  // namespace ela::client

#endif  // ELA_CLIENT_DETECT_H_
