// Makes the training samples: pictures zoomed, shifted, mirrored and recoloured, some put together
// of four. Labels move with the pixels. Every pixel goes through FitImage, the filter that serving
// uses, so that training and serving see the same sharpness. All of it is a function of the
// pictures and the Random that comes with them.
#ifndef ELA_MODEL_TRAIN_DETECTOR_AUGMENTATION_H_
#define ELA_MODEL_TRAIN_DETECTOR_AUGMENTATION_H_

#include <cstdint>
#include <vector>

#include "model/detector.h"
#include "model/image/image.h"
#include "model/train/detector/picture_store.h"
#include "model/train/detector/random.h"
#include "model/vision/torch/assignment.h"

namespace ela::train {

struct AugmentationOptions {
  double flip_horizontal = 0.5;  // probabilities, [0, 1]
  double flip_vertical = 0;
  double mosaic = 0.3;     // of a sample being put together of four pictures
  double plain = 0.2;      // of a sample keeping its size and place
  double zoom_min = 0.65;  // of the size at which serving shows the picture; log-uniform
  double zoom_max = 1.5;
  double aspect = 0.12;      // width to height change by up to exp(±aspect)
  double brightness = 0.15;  // up to ± of full scale
  double contrast = 0.25;    // factors, up to exp(±…)
  double saturation = 0.35;
  double hue = 0.03;         // of a full turn, up to ±
  double min_visible = 0.3;  // share of a cut box's area that keeps it an object; below it the rest
                             // is neither object nor background
};

struct Sample {
  Image image;                       // the network's input size
  vision::DetectionTargets targets;  // boxes with area, inside the input
};

struct SampleFrame {
  int32_t width = 320;
  int32_t height = 320;
  FitMode fit = FitMode::kLetterbox;
};

// The sample as serving would show the picture: no chance in it.
Sample PlainSample(const Picture& picture, const SampleFrame& frame);

// `index`: which picture of the store; the others of a mosaic are drawn by chance.
Sample AugmentedSample(const PictureStore& store, int64_t index, const SampleFrame& frame,
                       const AugmentationOptions& options, Random random);

// The parts that tests look at.
// Mirrors pixels and boxes.
void FlipHorizontally(Sample* sample);
void FlipVertically(Sample* sample);
// A change of colour as one affine map of (R, G, B) in [0, 255].
struct ColourMap {
  float matrix[3][3];
  float offset[3];
};
ColourMap DrawColourMap(const AugmentationOptions& options, Random* random);
void Recolour(const ColourMap& map, Image* image);

}  // namespace ela::train

#endif  // ELA_MODEL_TRAIN_DETECTOR_AUGMENTATION_H_
