#include "client/command/draw.h"

#include <cairo/cairo.h>
#include <spng.h>
#include <turbojpeg.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace ela::client {
namespace {

using Surface = std::unique_ptr<cairo_surface_t, decltype(&cairo_surface_destroy)>;
using Pen = std::unique_ptr<cairo_t, decltype(&cairo_destroy)>;

constexpr std::array<Color, 7> kPalette = {{{0x00, 0x72, 0xB2},    // blue
                                            {0xE6, 0x9F, 0x00},    // orange
                                            {0x00, 0x9E, 0x73},    // bluish green
                                            {0xF0, 0xE4, 0x42},    // yellow
                                            {0xCC, 0x79, 0xA7},    // reddish purple
                                            {0x56, 0xB4, 0xE9},    // sky blue
                                            {0xD5, 0x5E, 0x00}}};  // vermillion

constexpr int kJpegQuality = 92;  // of 100

absl::Status Failed(cairo_status_t status) {
  const std::string message = absl::StrCat("cannot draw: ", cairo_status_to_string(status));
  return status == CAIRO_STATUS_INVALID_SIZE ? absl::InvalidArgumentError(message)
                                             : absl::InternalError(message);
}

void SetColor(cairo_t* pen, Color color) {
  cairo_set_source_rgb(pen, color.red / 255.0, color.green / 255.0, color.blue / 255.0);
}

// Cairo's RGB24 is one 32-bit number a pixel, 0x00RRGGBB.
void CopyPixels(const Image& image, cairo_surface_t* surface) {
  cairo_surface_flush(surface);
  const int stride = cairo_image_surface_get_stride(surface);
  for (int32_t y = 0; y < image.height; ++y) {
    const uint8_t* from = image.pixels.data() + static_cast<size_t>(y) * image.width * 3;
    auto* to = reinterpret_cast<uint32_t*>(cairo_image_surface_get_data(surface) +
                                           static_cast<size_t>(y) * stride);
    for (int32_t x = 0; x < image.width; ++x, from += 3) {
      to[x] = static_cast<uint32_t>(from[0]) << 16 | static_cast<uint32_t>(from[1]) << 8 | from[2];
    }
  }
  cairo_surface_mark_dirty(surface);
}

class Drawing {
 public:
  Drawing(const Image& image, cairo_t* pen)
      : width_(image.width),
        height_(image.height),
        line_(LineWidth(image.width, image.height)),
        pen_(pen) {
    cairo_select_font_face(pen_, "DejaVu Sans", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_BOLD);
    cairo_set_font_size(pen_, TextSize(image.width, image.height));
    cairo_font_extents(pen_, &font_);
  }

  // The line lies inside the picture even where the box touches its edge.
  void DrawBox(const DetectedObject& object) {
    const double inset = line_ / 2;
    const double x0 = std::clamp<double>(object.box.x0, inset, std::max(inset, width_ - inset));
    const double y0 = std::clamp<double>(object.box.y0, inset, std::max(inset, height_ - inset));
    const double x1 = std::clamp<double>(object.box.x1, x0, std::max(x0, width_ - inset));
    const double y1 = std::clamp<double>(object.box.y1, y0, std::max(y0, height_ - inset));
    cairo_rectangle(pen_, x0, y0, x1 - x0, y1 - y0);
    cairo_set_source_rgba(pen_, 0, 0, 0, 0.7);
    cairo_set_line_width(pen_, line_ + 2 * Edge());
    cairo_stroke_preserve(pen_);
    SetColor(pen_, ClassColor(object.class_id));
    cairo_set_line_width(pen_, line_);
    cairo_stroke(pen_);
  }

  void DrawLabel(const DetectedObject& object) {
    const std::string text = absl::StrFormat("%s %.2f", object.class_name, object.score);
    cairo_text_extents_t extents;
    cairo_text_extents(pen_, text.c_str(), &extents);
    const double padding = font_.height / 5;
    const double width = extents.x_advance + 2 * padding;
    const double height = font_.ascent + font_.descent;
    const double x =
        std::clamp<double>(object.box.x0 - line_ / 2, 0, std::max(0.0, width_ - width));
    const double above = object.box.y0 - line_ / 2 - height;
    const double y = above >= 0 ? above : std::max<double>(object.box.y0, 0);
    const Color background = ClassColor(object.class_id);
    cairo_rectangle(pen_, x, y, width, height);
    SetColor(pen_, background);
    cairo_fill(pen_);
    SetColor(pen_, TextColor(background));
    cairo_move_to(pen_, x + padding, y + font_.ascent);
    cairo_show_text(pen_, text.c_str());
  }

 private:
  double Edge() const { return std::max(1.0, line_ / 3); }  // of each dark edge, pixels

  const double width_;
  const double height_;
  const double line_;
  cairo_t* const pen_;
  cairo_font_extents_t font_;
};

// libspng rather than Cairo's own writer: with this level and filter a photograph takes a quarter
// of the time (22 against 97 ms for 640 x 480) and a quarter more bytes.
absl::StatusOr<std::string> ToPng(cairo_surface_t* surface) {
  const uint32_t width = cairo_image_surface_get_width(surface);
  const uint32_t height = cairo_image_surface_get_height(surface);
  const std::unique_ptr<spng_ctx, decltype(&spng_ctx_free)> encoder(spng_ctx_new(SPNG_CTX_ENCODER),
                                                                    spng_ctx_free);
  if (encoder == nullptr) return absl::InternalError("cannot start the PNG encoder");
  spng_ihdr header = {};
  header.width = width;
  header.height = height;
  header.bit_depth = 8;
  header.color_type = SPNG_COLOR_TYPE_TRUECOLOR;
  spng_set_option(encoder.get(), SPNG_ENCODE_TO_BUFFER, 1);
  spng_set_option(encoder.get(), SPNG_IMG_COMPRESSION_LEVEL, 3);
  spng_set_option(encoder.get(), SPNG_FILTER_CHOICE, SPNG_FILTER_CHOICE_SUB);
  int error = spng_set_ihdr(encoder.get(), &header);
  if (error == 0) {
    error = spng_encode_image(encoder.get(), nullptr, 0, SPNG_FMT_PNG,
                              SPNG_ENCODE_PROGRESSIVE | SPNG_ENCODE_FINALIZE);
  }
  std::vector<uint8_t> row(static_cast<size_t>(width) * 3);
  for (uint32_t y = 0; y < height && error == 0; ++y) {
    const auto* const from = reinterpret_cast<const uint32_t*>(
        cairo_image_surface_get_data(surface) +
        static_cast<size_t>(y) * cairo_image_surface_get_stride(surface));
    for (uint32_t x = 0; x < width; ++x) {
      row[3 * x] = from[x] >> 16;
      row[3 * x + 1] = from[x] >> 8;
      row[3 * x + 2] = from[x];
    }
    error = spng_encode_row(encoder.get(), row.data(), row.size());
  }
  if (error != SPNG_EOI) {
    return absl::InternalError(absl::StrCat("cannot encode: ", spng_strerror(error)));
  }
  size_t size = 0;
  const std::unique_ptr<void, decltype(&std::free)> bytes(
      spng_get_png_buffer(encoder.get(), &size, &error), std::free);
  if (bytes == nullptr) {
    return absl::InternalError(absl::StrCat("cannot encode: ", spng_strerror(error)));
  }
  return std::string(static_cast<const char*>(bytes.get()), size);
}

absl::StatusOr<std::string> ToJpeg(cairo_surface_t* surface) {
  const std::unique_ptr<void, decltype(&tjDestroy)> compressor(tjInitCompress(), tjDestroy);
  if (compressor == nullptr) return absl::InternalError("cannot start the JPEG encoder");
  unsigned char* bytes = nullptr;
  unsigned long size = 0;
  // 4:4:4: thin coloured lines keep their colour.
  const int result =
      tjCompress2(compressor.get(), cairo_image_surface_get_data(surface),
                  cairo_image_surface_get_width(surface), cairo_image_surface_get_stride(surface),
                  cairo_image_surface_get_height(surface), TJPF_BGRX, &bytes, &size, TJSAMP_444,
                  kJpegQuality, TJFLAG_ACCURATEDCT);
  const std::unique_ptr<unsigned char, decltype(&tjFree)> owned(bytes, tjFree);
  if (result != 0) {
    return absl::InternalError(absl::StrCat("cannot encode: ", tjGetErrorStr2(compressor.get())));
  }
  return std::string(reinterpret_cast<const char*>(bytes), size);
}

double Linear(uint8_t channel) {
  const double value = channel / 255.0;
  return value <= 0.03928 ? value / 12.92 : std::pow((value + 0.055) / 1.055, 2.4);
}

}  // namespace

Color ClassColor(uint32_t class_id) { return kPalette[class_id % kPalette.size()]; }

Color TextColor(Color background) {
  const double luminance = 0.2126 * Linear(background.red) + 0.7152 * Linear(background.green) +
                           0.0722 * Linear(background.blue);
  const bool black = luminance > 0.179;  // where both contrasts are equal
  return black ? Color{0, 0, 0} : Color{255, 255, 255};
}

double LineWidth(int32_t width, int32_t height) {
  return std::max(1.0, std::min(width, height) / 240.0);
}

double TextSize(int32_t width, int32_t height) {
  return std::max(9.0, std::min(width, height) / 38.0);
}

DrawingFormat DrawingFormatOf(const std::string& path) {
  return absl::EndsWith(absl::AsciiStrToLower(path), ".png") ? DrawingFormat::kPng
                                                             : DrawingFormat::kJpeg;
}

absl::StatusOr<std::string> DrawObjects(const Image& image,
                                        const std::vector<DetectedObject>& objects,
                                        DrawingFormat format) {
  const Surface surface(cairo_image_surface_create(CAIRO_FORMAT_RGB24, image.width, image.height),
                        cairo_surface_destroy);
  if (const cairo_status_t status = cairo_surface_status(surface.get());
      status != CAIRO_STATUS_SUCCESS) {
    return Failed(status);
  }
  CopyPixels(image, surface.get());
  const Pen pen(cairo_create(surface.get()), cairo_destroy);
  Drawing drawing(image, pen.get());
  for (auto object = objects.rbegin(); object != objects.rend(); ++object) drawing.DrawBox(*object);
  for (auto object = objects.rbegin(); object != objects.rend(); ++object) {
    drawing.DrawLabel(*object);
  }
  if (const cairo_status_t status = cairo_status(pen.get()); status != CAIRO_STATUS_SUCCESS) {
    return Failed(status);
  }
  cairo_surface_flush(surface.get());
  return format == DrawingFormat::kPng ? ToPng(surface.get()) : ToJpeg(surface.get());
}

}  // namespace ela::client
