// Detector checkpoints with random weights, for tests and benchmarks that need a network of some
// shape and not a trained one.
#ifndef ELA_TESTS_MODEL_VISION_RANDOM_DETECTOR_H_
#define ELA_TESTS_MODEL_VISION_RANDOM_DETECTOR_H_

#include <cstdint>
#include <string>
#include <vector>

#include "model/vision/detector_config.h"

namespace ela {

// Classes "0", "1", …; everything else as a config.json leaves it.
DetectorConfig MakeDetectorConfig(DetectorVariant variant, int num_classes);

// Writes config.json and model.safetensors (activations stay near 1; running statistics of every
// size) into `directory`, which exists. The same seed writes the same bytes. `gain` multiplies the
// weights of the last convolutions.
void WriteRandomDetector(const DetectorConfig& config, uint32_t seed, const std::string& directory,
                         float gain = 1.0f);

// Bytes of a noisy picture, [height, width, 3].
std::vector<uint8_t> RandomPicture(int32_t width, int32_t height, uint32_t seed);

}  // namespace ela

#endif  // ELA_TESTS_MODEL_VISION_RANDOM_DETECTOR_H_
