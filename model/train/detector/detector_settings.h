#ifndef ELA_MODEL_TRAIN_DETECTOR_DETECTOR_SETTINGS_H_
#define ELA_MODEL_TRAIN_DETECTOR_DETECTOR_SETTINGS_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "model/train/detector/augmentation.h"
#include "model/train/optimizer.h"
#include "model/vision/dataset.h"
#include "model/vision/detector_config.h"
#include "model/vision/torch/detection_loss.h"

namespace ela::train {

// Everything that decides which weights a run arrives at. The defaults are the recipe: they fit a
// data set of a few hundred to a few thousand pictures that nobody has looked at before.
struct DetectorSettings {
  DetectorConfig model;  // class_names come from the data
  AugmentationOptions augmentation;
  OptimizerOptions optimizer = {
      /*learning_rate=*/2e-3,  /*warmup_steps=*/100,
      /*final_fraction=*/0.02, /*beta1=*/0.9,
      /*beta2=*/0.999,         /*epsilon=*/1e-8,
      /*weight_decay=*/0.05,   /*clip_norm=*/10.0};
  vision::LossOptions loss;
  int64_t num_epochs = 0;        // 0: AutomaticEpochs
  int64_t batch = 8;             // pictures per step
  double mosaic_until = 0.8;     // share of the steps after which pictures are whole again
  double average_decay = 0.999;  // of the moving average of the weights, which is what is kept
  uint64_t seed = 1;
  int num_threads = 2;  // part of the settings: another number sums in another order
};

// Errors: kInvalidArgument naming each value that is out of range.
absl::Status Check(const DetectorSettings& settings);

// One JSON object; equal settings give equal text (CheckSameSettings compares two).
std::string ToJson(const DetectorSettings& settings);

// 60,000 samples, but each picture at least 24 and at most 600 times.
int64_t AutomaticEpochs(int64_t num_pictures);

// Steps of the whole run.
int64_t NumSteps(const DetectorSettings& settings, int64_t num_pictures);

// The side of a square input that shows four in five objects at least 12 pixels wide and high (the
// geometric mean of both): 320, 416 or 512. What a network cannot see it cannot learn, and time
// grows with the square.
int32_t AutomaticSide(const Dataset& dataset);

// Stretching uses every pixel of the input, and where all pictures have one shape it does nothing
// else; letterboxing keeps shapes comparable where they differ. kStretch when nine in ten pictures
// are within 10 % of the median ratio of width to height and that is at most 2:1 off the input's.
FitMode AutomaticFit(const Dataset& dataset, int32_t input_width, int32_t input_height);

}  // namespace ela::train

#endif  // ELA_MODEL_TRAIN_DETECTOR_DETECTOR_SETTINGS_H_
