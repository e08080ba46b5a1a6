// The training pictures, decoded once and kept as bytes where memory allows; the rest is decoded
// whenever it is asked for.
#ifndef ELA_MODEL_TRAIN_DETECTOR_PICTURE_STORE_H_
#define ELA_MODEL_TRAIN_DETECTOR_PICTURE_STORE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "model/image/image.h"
#include "model/vision/dataset.h"

namespace ela::train {

// A picture at its working size: about twice the network's input at most, so that a zoomed part
// still has pixels to show.
struct Picture {
  Image image;
  std::vector<TruthBox> boxes;  // pixels of `image`
};

struct StoreOptions {
  int32_t input_width = 320;
  int32_t input_height = 320;
  int64_t max_bytes = int64_t{2} << 30;  // of decoded pictures kept
};

// Immutable after Create, thread-safe.
class PictureStore {
 public:
  // Decodes every picture that fits in `max_bytes`. One that cannot be decoded is left out, one
  // whose labels had to be scaled is kept; both are added to `problems`.
  // Errors: kInvalidArgument when nothing remains.
  static absl::StatusOr<std::unique_ptr<PictureStore>> Create(std::vector<LabelledImage> images,
                                                              const StoreOptions& options,
                                                              std::vector<LabelProblem>* problems);

  int64_t size() const { return static_cast<int64_t>(images_.size()); }
  int64_t num_kept() const;
  uint64_t Digest() const { return digest_; }  // of names and labels: other data give another

  // A picture that has become unreadable since Create comes as a grey one without boxes.
  std::shared_ptr<const Picture> Get(int64_t index) const;

 private:
  explicit PictureStore(const StoreOptions& options) : options_(options) {}
  absl::StatusOr<Picture> Load(const LabelledImage& image,
                               std::vector<LabelProblem>* problems) const;

  const StoreOptions options_;
  std::vector<LabelledImage> images_;
  std::vector<std::shared_ptr<const Picture>> kept_;  // shared: callers hold either kind alike
  uint64_t digest_ = 0;
};

}  // namespace ela::train

#endif  // ELA_MODEL_TRAIN_DETECTOR_PICTURE_STORE_H_
