// A picture to draw on, and its PNG. Cairo, as much of it as the reports need.
#ifndef ELA_MODEL_TRAIN_DETECTOR_DRAWING_H_
#define ELA_MODEL_TRAIN_DETECTOR_DRAWING_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "model/detector.h"
#include "model/image/image.h"

struct _cairo;  // cairo.h's own name of cairo_t

namespace ela::train {

struct Colour {
  double red = 0, green = 0, blue = 0;
};

// Of class i: neighbours far apart on the colour circle, all readable on white and on photographs.
Colour ColourOf(int32_t class_id);

// Coordinates in pixels, y down. Thread-compatible. Drawing cannot fail; WritePng can.
class Canvas {
 public:
  Canvas(int32_t width, int32_t height);  // white
  ~Canvas();
  Canvas(const Canvas&) = delete;
  Canvas& operator=(const Canvas&) = delete;

  void Line(double x0, double y0, double x1, double y1, Colour colour, double width);
  void Polyline(const std::vector<std::pair<double, double>>& points, Colour colour, double width);
  void Rectangle(const Box& box, Colour colour, double width, bool dashed);
  void Fill(const Box& box, Colour colour, double opacity);
  void Picture(const Image& image, const Box& where);  // scaled to fill `where`
  // `anchor`: 0 the text begins at x, 0.5 is centred on it, 1 ends there. y is the baseline.
  void Text(double x, double y, const std::string& text, double size, Colour colour,
            double anchor = 0);
  double TextWidth(const std::string& text, double size);

  // Errors: those of WriteFileAtomically; kInternal when Cairo ran out of memory.
  absl::Status WritePng(const std::string& path) const;

 private:
  _cairo* cairo_;
};

// A box with its label on a filled strip above it, or inside it where that would reach above `top`,
// the upper edge of the picture.
void DrawLabelledBox(const Box& box, double top, const std::string& label, Colour colour,
                     Canvas* canvas);

}  // namespace ela::train

#endif  // ELA_MODEL_TRAIN_DETECTOR_DRAWING_H_
