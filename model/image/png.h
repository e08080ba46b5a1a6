// PNG by libspng. Called by decode.cc, which has checked the number of bytes and the signature.
#ifndef ELA_MODEL_IMAGE_PNG_H_
#define ELA_MODEL_IMAGE_PNG_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/image/image.h"

namespace ela {

// See decode.h for what they do and which errors they give.
absl::StatusOr<ImageHeader> ReadPngHeader(absl::Span<const uint8_t> bytes,
                                          const ImageLimits& limits);
absl::StatusOr<DecodedImage> DecodePng(absl::Span<const uint8_t> bytes, const ImageLimits& limits);

}  // namespace ela

#endif  // ELA_MODEL_IMAGE_PNG_H_
