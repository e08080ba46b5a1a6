#include "model/train/detector/batch_loader.h"

#include <numeric>
#include <utility>

#include "model/image/fit.h"

namespace ela::train {
namespace {

// Streams of Random: what a number is drawn for.
constexpr uint64_t kOrder = 1, kSample = 2;

std::vector<int64_t> OrderOf(int64_t epoch, int64_t num_pictures, uint64_t seed) {
  std::vector<int64_t> order(num_pictures);
  std::iota(order.begin(), order.end(), 0);
  Random(seed, kOrder, epoch).Shuffle(&order);
  return order;
}

}  // namespace

BatchLoader::BatchLoader(const PictureStore& store, const LoaderOptions& options)
    : store_(store), options_(options) {}

Batch BatchLoader::Make(int64_t step) const {
  const SampleFrame& frame = options_.frame;
  AugmentationOptions augmentation = options_.augmentation;
  if (step >= options_.last_mosaic_step) augmentation.mosaic = 0;
  Batch batch;
  batch.images = at::empty({options_.batch, 3, frame.height, frame.width}, at::kFloat);
  float* out = batch.images.data_ptr<float>();
  const size_t values = size_t{3} * frame.height * frame.width;
  int64_t epoch = -1;
  std::vector<int64_t> order;
  for (int64_t row = 0; row < options_.batch; ++row, out += values) {
    const int64_t position = step * options_.batch + row;  // in the endless row of epochs
    if (position / store_.size() != epoch) {
      epoch = position / store_.size();
      order = OrderOf(epoch, store_.size(), options_.seed);
    }
    Sample sample =
        AugmentedSample(store_, order[position % store_.size()], frame, augmentation,
                        Random(options_.seed, kSample, static_cast<uint64_t>(position)));
    ToPlanes(sample.image.pixels, frame.width, frame.height, absl::MakeSpan(out, values));
    batch.targets.push_back(std::move(sample.targets));
  }
  return batch;
}

Batch BatchLoader::Get(int64_t step) {
  Batch batch = next_step_ == step ? next_.get() : Make(step);
  next_step_ = -1;
  if (step + 1 < options_.num_steps) {
    next_ = std::async(std::launch::async, [this, step] { return Make(step + 1); });
    next_step_ = step + 1;
  }
  return batch;
}

}  // namespace ela::train
