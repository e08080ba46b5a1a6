#include "model/train/detector/drawing.h"

#include <cairo/cairo.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/checkpoint/atomic_file.h"

namespace ela::train {
namespace {

void Use(_cairo* cairo, Colour colour, double opacity = 1) {
  cairo_set_source_rgba(cairo, colour.red, colour.green, colour.blue, opacity);
}

void SetFont(_cairo* cairo, double size) {
  cairo_select_font_face(cairo, "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
  cairo_set_font_size(cairo, size);
}

cairo_status_t Append(void* bytes, const unsigned char* data, unsigned int length) {
  static_cast<std::string*>(bytes)->append(reinterpret_cast<const char*>(data), length);
  return CAIRO_STATUS_SUCCESS;
}

}  // namespace

Colour ColourOf(int32_t class_id) {
  const double hue = std::fmod(0.02 + 0.61803398875 * class_id, 1.0) * 6;
  const auto part = [&](double centre) {
    const double away = std::abs(std::fmod(hue - centre + 9, 6.0) - 3);
    return 0.85 * std::clamp(2 - away, 0.0, 1.0) + 0.02;
  };
  return {part(0), part(2) * 0.8, part(4)};
}

Canvas::Canvas(int32_t width, int32_t height) {
  cairo_surface_t* surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, width, height);
  cairo_ = cairo_create(surface);
  cairo_surface_destroy(surface);  // the context keeps it
  Use(cairo_, {1, 1, 1});
  cairo_paint(cairo_);
}

Canvas::~Canvas() { cairo_destroy(cairo_); }

void Canvas::Line(double x0, double y0, double x1, double y1, Colour colour, double width) {
  Polyline({{x0, y0}, {x1, y1}}, colour, width);
}

void Canvas::Polyline(const std::vector<std::pair<double, double>>& points, Colour colour,
                      double width) {
  for (size_t i = 0; i < points.size(); ++i) {
    if (i == 0) {
      cairo_move_to(cairo_, points[i].first, points[i].second);
    } else {
      cairo_line_to(cairo_, points[i].first, points[i].second);
    }
  }
  Use(cairo_, colour);
  cairo_set_line_width(cairo_, width);
  cairo_stroke(cairo_);
}

void Canvas::Rectangle(const Box& box, Colour colour, double width, bool dashed) {
  const double dash[] = {4, 4};
  cairo_set_dash(cairo_, dash, dashed ? 2 : 0, 0);
  cairo_rectangle(cairo_, box.x0, box.y0, box.x1 - box.x0, box.y1 - box.y0);
  Use(cairo_, colour);
  cairo_set_line_width(cairo_, width);
  cairo_stroke(cairo_);
  cairo_set_dash(cairo_, dash, 0, 0);
}

void Canvas::Fill(const Box& box, Colour colour, double opacity) {
  cairo_rectangle(cairo_, box.x0, box.y0, box.x1 - box.x0, box.y1 - box.y0);
  Use(cairo_, colour, opacity);
  cairo_fill(cairo_);
}

void Canvas::Picture(const Image& image, const Box& where) {
  cairo_surface_t* surface =
      cairo_image_surface_create(CAIRO_FORMAT_RGB24, image.width, image.height);
  unsigned char* data = cairo_image_surface_get_data(surface);
  if (data != nullptr) {
    const int stride = cairo_image_surface_get_stride(surface);
    for (int32_t y = 0; y < image.height; ++y) {
      for (int32_t x = 0; x < image.width; ++x) {
        const uint8_t* p = &image.pixels[3 * (static_cast<size_t>(y) * image.width + x)];
        const uint32_t pixel = uint32_t{p[0]} << 16 | uint32_t{p[1]} << 8 | p[2];
        std::memcpy(data + int64_t{y} * stride + 4 * int64_t{x}, &pixel, 4);
      }
    }
    cairo_surface_mark_dirty(surface);
    cairo_save(cairo_);
    cairo_translate(cairo_, where.x0, where.y0);
    cairo_scale(cairo_, (where.x1 - where.x0) / image.width, (where.y1 - where.y0) / image.height);
    cairo_set_source_surface(cairo_, surface, 0, 0);
    cairo_paint(cairo_);
    cairo_restore(cairo_);
  }
  cairo_surface_destroy(surface);
}

double Canvas::TextWidth(const std::string& text, double size) {
  SetFont(cairo_, size);
  cairo_text_extents_t extents;
  cairo_text_extents(cairo_, text.c_str(), &extents);
  return extents.x_advance;
}

void Canvas::Text(double x, double y, const std::string& text, double size, Colour colour,
                  double anchor) {
  const double width = anchor == 0 ? 0 : TextWidth(text, size);
  SetFont(cairo_, size);
  Use(cairo_, colour);
  cairo_move_to(cairo_, x - anchor * width, y);
  cairo_show_text(cairo_, text.c_str());
}

absl::Status Canvas::WritePng(const std::string& path) const {
  std::string bytes;
  cairo_status_t status = cairo_status(cairo_);
  if (status == CAIRO_STATUS_SUCCESS) {
    status = cairo_surface_write_to_png_stream(cairo_get_target(cairo_), Append, &bytes);
  }
  if (status != CAIRO_STATUS_SUCCESS) {
    return absl::InternalError(absl::StrCat(path, ": Cairo: ", cairo_status_to_string(status)));
  }
  return WriteFileAtomically(path, {bytes});
}

void DrawLabelledBox(const Box& box, double top, const std::string& label, Colour colour,
                     Canvas* canvas) {
  constexpr double kSize = 11, kHeight = 14;
  canvas->Rectangle(box, colour, 1.5, /*dashed=*/false);
  const double bottom = box.y0 >= top + kHeight ? box.y0 : box.y0 + kHeight;
  const double width = canvas->TextWidth(label, kSize) + 4;
  canvas->Fill({box.x0, static_cast<float>(bottom - kHeight), static_cast<float>(box.x0 + width),
                static_cast<float>(bottom)},
               colour, 0.85);
  canvas->Text(box.x0 + 2, bottom - 3.5, label, kSize, {1, 1, 1});
}

}  // namespace ela::train
