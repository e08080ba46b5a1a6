// The order in which a run sees its pictures, and the thread that prepares the next batch while the
// present one is computed.
#ifndef ELA_MODEL_TRAIN_DETECTOR_BATCH_LOADER_H_
#define ELA_MODEL_TRAIN_DETECTOR_BATCH_LOADER_H_

#include <cstdint>
#include <future>
#include <vector>

#include "model/reference/torch_headers.h"
#include "model/train/detector/augmentation.h"
#include "model/train/detector/picture_store.h"

namespace ela::train {

struct Batch {
  at::Tensor images;                              // [N, 3, height, width], float32, 0 to 1
  std::vector<vision::DetectionTargets> targets;  // [N]
};

struct LoaderOptions {
  SampleFrame frame;
  AugmentationOptions augmentation;
  int64_t batch = 8;
  int64_t num_steps = 1;
  int64_t last_mosaic_step = 0;  // from here on no mosaic
  uint64_t seed = 1;
};

// Pictures are shuffled anew each epoch and epochs follow each other without a seam; the batch of a
// step is a function of options and step alone. Thread-compatible; `store` is borrowed.
class BatchLoader {
 public:
  BatchLoader(const PictureStore& store, const LoaderOptions& options);

  // The batch of `step`; begins to prepare that of step + 1.
  Batch Get(int64_t step);

 private:
  Batch Make(int64_t step) const;

  const PictureStore& store_;
  const LoaderOptions options_;
  int64_t next_step_ = -1;  // which `next_` prepares
  std::future<Batch> next_;
};

}  // namespace ela::train

#endif  // ELA_MODEL_TRAIN_DETECTOR_BATCH_LOADER_H_
