#include "model/image/image.h"

#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/types/optional.h"

namespace ela {
namespace {

// The kind of error travels as a payload, so that the message stays free to be rewritten.
constexpr absl::string_view kPayload = "ela.image_error";

}  // namespace

absl::string_view ImageErrorName(ImageError error) {
  switch (error) {
    case ImageError::kNone:
      return "none";
    case ImageError::kEmpty:
      return "empty";
    case ImageError::kTooManyBytes:
      return "too_many_bytes";
    case ImageError::kTooLarge:
      return "too_large";
    case ImageError::kUnknown:
      return "unknown_format";
    case ImageError::kUnsupported:
      return "unsupported";
    case ImageError::kTruncated:
      return "truncated";
    case ImageError::kDamaged:
      return "damaged";
    case ImageError::kRawMismatch:
      return "raw_mismatch";
  }
  return "none";
}

absl::Status MakeImageError(ImageError error, absl::string_view message) {
  absl::Status status = absl::InvalidArgumentError(message);
  status.SetPayload(kPayload, absl::Cord(std::string(1, static_cast<char>(error))));
  return status;
}

ImageError ImageErrorOf(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(kPayload);
  if (!payload.has_value() || payload->empty()) return ImageError::kNone;
  return static_cast<ImageError>((*payload)[0]);
}

absl::Status CheckImageBytes(int64_t num_bytes, const ImageLimits& limits) {
  if (num_bytes == 0) return MakeImageError(ImageError::kEmpty, "the image is empty (0 bytes)");
  if (num_bytes > limits.max_bytes) {
    return MakeImageError(
        ImageError::kTooManyBytes,
        absl::StrCat("the image has ", num_bytes, " bytes, the limit is ", limits.max_bytes));
  }
  return absl::OkStatus();
}

absl::Status CheckImageSize(int64_t width, int64_t height, const ImageLimits& limits) {
  const auto refuse = [&](absl::string_view why) {
    return MakeImageError(ImageError::kTooLarge,
                          absl::StrCat("the image is ", width, " x ", height, " pixels, ", why));
  };
  if (width <= 0 || height <= 0) return refuse("both sides must be at least 1");
  if (width > limits.max_width)
    return refuse(absl::StrCat("the widest allowed is ", limits.max_width));
  if (height > limits.max_height) {
    return refuse(absl::StrCat("the highest allowed is ", limits.max_height));
  }
  if (width > limits.max_pixels / height) {
    return refuse(absl::StrCat("the limit is ", limits.max_pixels, " pixels"));
  }
  return absl::OkStatus();
}

}  // namespace ela
