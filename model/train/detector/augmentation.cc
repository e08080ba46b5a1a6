#include "model/train/detector/augmentation.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <utility>

#include "model/image/fit.h"

namespace ela::train {
namespace {

constexpr uint8_t kPadding = 114;
constexpr float kMinSide = 2.0f;  // input pixels; what is smaller shows nothing to learn from

// A rectangle of whole pixels.
struct Area {
  int32_t x0 = 0, y0 = 0, x1 = 0, y1 = 0;
  int32_t width() const { return x1 - x0; }
  int32_t height() const { return y1 - y0; }
};

// Where a whole picture lies on the canvas: canvas = picture * scale + offset.
struct View {
  double scale_x = 1, scale_y = 1, offset_x = 0, offset_y = 0;
};

Sample EmptySample(int32_t width, int32_t height) {
  Sample sample;
  sample.image = {width, height, std::vector<uint8_t>(size_t{3} * width * height, kPadding)};
  return sample;
}

Image Crop(const Image& image, const Area& area) {
  Image crop{area.width(), area.height(), {}};
  crop.pixels.resize(size_t{3} * crop.width * crop.height);
  const size_t row = size_t{3} * crop.width;
  for (int32_t y = 0; y < crop.height; ++y) {
    std::memcpy(&crop.pixels[y * row],
                &image.pixels[3 * (static_cast<size_t>(area.y0 + y) * image.width + area.x0)], row);
  }
  return crop;
}

void Paste(const Image& part, int32_t left, int32_t top, Image* canvas) {
  const size_t row = size_t{3} * part.width;
  for (int32_t y = 0; y < part.height; ++y) {
    std::memcpy(&canvas->pixels[3 * (static_cast<size_t>(top + y) * canvas->width + left)],
                &part.pixels[y * row], row);
  }
}

// [first, last) of the canvas that a picture's extent covers within [low, high); empty when none.
std::pair<int32_t, int32_t> Covered(double offset, double extent, int32_t low, int32_t high) {
  const auto first = static_cast<int32_t>(std::lround(std::max<double>(low, offset)));
  const auto last = static_cast<int32_t>(std::lround(std::min<double>(high, offset + extent)));
  return {first, std::max(first, last)};
}

// Whole source pixels under the canvas's [first, last).
std::pair<int32_t, int32_t> Under(int32_t first, int32_t last, double scale, double offset,
                                  int32_t size) {
  const auto a = static_cast<int32_t>(std::lround((first - offset) / scale));
  const auto b = static_cast<int32_t>(std::lround((last - offset) / scale));
  const int32_t from = std::clamp(a, 0, size - 1);
  return {from, std::clamp(b, from + 1, size)};
}

void PlaceBox(const TruthBox& truth, const View& view, const Area& window, double min_visible,
              vision::DetectionTargets* targets) {
  const Box whole = {static_cast<float>(truth.box.x0 * view.scale_x + view.offset_x),
                     static_cast<float>(truth.box.y0 * view.scale_y + view.offset_y),
                     static_cast<float>(truth.box.x1 * view.scale_x + view.offset_x),
                     static_cast<float>(truth.box.y1 * view.scale_y + view.offset_y)};
  const Box seen = {std::max(whole.x0, static_cast<float>(window.x0)),
                    std::max(whole.y0, static_cast<float>(window.y0)),
                    std::min(whole.x1, static_cast<float>(window.x1)),
                    std::min(whole.y1, static_cast<float>(window.y1))};
  const float width = seen.x1 - seen.x0, height = seen.y1 - seen.y0;
  if (!(width > 0 && height > 0)) return;
  const double share = static_cast<double>(width) * height /
                       (static_cast<double>(whole.x1 - whole.x0) * (whole.y1 - whole.y0));
  if (truth.crowd || share < min_visible || width < kMinSide || height < kMinSide) {
    targets->ignored.push_back(seen);
  } else {
    targets->boxes.push_back(seen);
    targets->class_ids.push_back(truth.class_id);
  }
}

// Draws the part of `picture` that falls into `window` of the sample, recoloured, and its boxes.
void Draw(const Picture& picture, const View& wanted, const Area& window, double min_visible,
          const ColourMap* colours, Sample* sample) {
  const Image& image = picture.image;
  Area on_canvas, in_picture;
  std::tie(on_canvas.x0, on_canvas.x1) =
      Covered(wanted.offset_x, image.width * wanted.scale_x, window.x0, window.x1);
  std::tie(on_canvas.y0, on_canvas.y1) =
      Covered(wanted.offset_y, image.height * wanted.scale_y, window.y0, window.y1);
  if (on_canvas.width() == 0 || on_canvas.height() == 0) return;
  std::tie(in_picture.x0, in_picture.x1) =
      Under(on_canvas.x0, on_canvas.x1, wanted.scale_x, wanted.offset_x, image.width);
  std::tie(in_picture.y0, in_picture.y1) =
      Under(on_canvas.y0, on_canvas.y1, wanted.scale_y, wanted.offset_y, image.height);

  DecodedImage source;
  source.image = Crop(image, in_picture);
  source.source_width = source.image.width;
  source.source_height = source.image.height;
  Image part{on_canvas.width(), on_canvas.height(), {}};
  part.pixels.resize(size_t{3} * part.width * part.height);
  FitImage(source,
           PlaceInInput(source.source_width, source.source_height, part.width, part.height,
                        FitMode::kStretch),
           absl::MakeSpan(part.pixels));
  if (colours != nullptr) Recolour(*colours, &part);
  Paste(part, on_canvas.x0, on_canvas.y0, &sample->image);

  // Whole pixels on both sides moved the view a little: boxes follow what was drawn.
  View drawn;
  drawn.scale_x = static_cast<double>(part.width) / source.source_width;
  drawn.scale_y = static_cast<double>(part.height) / source.source_height;
  drawn.offset_x = on_canvas.x0 - in_picture.x0 * drawn.scale_x;
  drawn.offset_y = on_canvas.y0 - in_picture.y0 * drawn.scale_y;
  for (const TruthBox& truth : picture.boxes) {
    PlaceBox(truth, drawn, on_canvas, min_visible, &sample->targets);
  }
}

View ServedView(const Image& image, const SampleFrame& frame) {
  const Placement placement =
      PlaceInInput(image.width, image.height, frame.width, frame.height, frame.fit);
  return {placement.scale_x, placement.scale_y, static_cast<double>(placement.left),
          static_cast<double>(placement.top)};
}

// Where an extent of `size` begins within [low, high): anywhere that leaves no more of the window
// empty than must be.
double DrawOffset(double size, double low, double high, Random* random) {
  return random->Between(low, high - size);  // ordered either way
}

View DrawView(const Image& image, const SampleFrame& frame, const Area& window,
              const AugmentationOptions& options, Random* random) {
  View view = ServedView(image, frame);
  const double zoom =
      std::exp(random->Between(std::log(options.zoom_min), std::log(options.zoom_max)));
  const double stretch = std::exp(random->Between(-options.aspect, options.aspect) / 2);
  view.scale_x *= zoom * stretch;
  view.scale_y *= zoom / stretch;
  view.offset_x = DrawOffset(image.width * view.scale_x, window.x0, window.x1, random);
  view.offset_y = DrawOffset(image.height * view.scale_y, window.y0, window.y1, random);
  return view;
}

void Multiply(const float a[3][3], float m[3][3]) {
  float product[3][3];
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j) {
      product[i][j] = a[i][0] * m[0][j] + a[i][1] * m[1][j] + a[i][2] * m[2][j];
    }
  }
  std::memcpy(m, product, sizeof product);
}

}  // namespace

ColourMap DrawColourMap(const AugmentationOptions& options, Random* random) {
  const auto contrast = static_cast<float>(std::exp(random->Between(-1, 1) * options.contrast));
  const auto saturation = static_cast<float>(std::exp(random->Between(-1, 1) * options.saturation));
  const auto brightness = static_cast<float>(255 * random->Between(-1, 1) * options.brightness);
  const double turn = 2 * M_PI * random->Between(-1, 1) * options.hue;

  ColourMap map = {{{contrast, 0, 0}, {0, contrast, 0}, {0, 0, contrast}}, {}};
  // Around the grey axis: towards or away from it, then about it.
  constexpr float kLuma[3] = {0.299f, 0.587f, 0.114f};
  float saturate[3][3], rotate[3][3];
  const auto cosine = static_cast<float>(std::cos(turn)), sine = static_cast<float>(std::sin(turn));
  const float third = (1 - cosine) / 3, across = sine / std::sqrt(3.0f);
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j) {
      saturate[i][j] = (1 - saturation) * kLuma[j] + (i == j ? saturation : 0);
      const float sign = i == j ? 0.0f : ((j - i + 3) % 3 == 1 ? -1.0f : 1.0f);
      rotate[i][j] = third + (i == j ? cosine : sign * across);
    }
  }
  Multiply(saturate, map.matrix);
  Multiply(rotate, map.matrix);
  // Contrast turns about middle grey.
  for (float& offset : map.offset) offset = brightness + 127.5f * (1 - contrast);
  return map;
}

void Recolour(const ColourMap& map, Image* image) {
  for (size_t i = 0; i + 2 < image->pixels.size(); i += 3) {
    uint8_t* p = &image->pixels[i];
    const float red = p[0], green = p[1], blue = p[2];
    for (int c = 0; c < 3; ++c) {
      const float value = map.matrix[c][0] * red + map.matrix[c][1] * green +
                          map.matrix[c][2] * blue + map.offset[c];
      p[c] = static_cast<uint8_t>(std::min(255.0f, std::max(0.0f, value + 0.5f)));
    }
  }
}

void FlipHorizontally(Sample* sample) {
  Image& image = sample->image;
  for (int32_t y = 0; y < image.height; ++y) {
    uint8_t* left = &image.pixels[size_t{3} * y * image.width];
    uint8_t* right = left + size_t{3} * (image.width - 1);
    for (; left < right; left += 3, right -= 3) std::swap_ranges(left, left + 3, right);
  }
  const auto width = static_cast<float>(image.width);
  for (auto* boxes : {&sample->targets.boxes, &sample->targets.ignored}) {
    for (Box& box : *boxes) box = {width - box.x1, box.y0, width - box.x0, box.y1};
  }
}

void FlipVertically(Sample* sample) {
  Image& image = sample->image;
  const size_t row = size_t{3} * image.width;
  for (int32_t y = 0; y < image.height / 2; ++y) {
    std::swap_ranges(&image.pixels[y * row], &image.pixels[y * row] + row,
                     &image.pixels[(image.height - 1 - y) * row]);
  }
  const auto height = static_cast<float>(image.height);
  for (auto* boxes : {&sample->targets.boxes, &sample->targets.ignored}) {
    for (Box& box : *boxes) box = {box.x0, height - box.y1, box.x1, height - box.y0};
  }
}

Sample PlainSample(const Picture& picture, const SampleFrame& frame) {
  Sample sample = EmptySample(frame.width, frame.height);
  Draw(picture, ServedView(picture.image, frame), {0, 0, frame.width, frame.height},
       /*min_visible=*/0, nullptr, &sample);
  return sample;
}

Sample AugmentedSample(const PictureStore& store, int64_t index, const SampleFrame& frame,
                       const AugmentationOptions& options, Random random) {
  Sample sample = EmptySample(frame.width, frame.height);
  const Area whole = {0, 0, frame.width, frame.height};
  const bool mosaic = random.Chance(options.mosaic);
  const bool plain = random.Chance(options.plain);
  if (mosaic) {
    const auto x = static_cast<int32_t>(frame.width * random.Between(0.35, 0.65));
    const auto y = static_cast<int32_t>(frame.height * random.Between(0.35, 0.65));
    const Area windows[4] = {
        {0, 0, x, y}, {x, 0, whole.x1, y}, {0, y, x, whole.y1}, {x, y, whole.x1, whole.y1}};
    const int64_t own = random.Below(4);
    for (int64_t i = 0; i < 4; ++i) {
      const auto picture = store.Get(i == own ? index : random.Below(store.size()));
      const ColourMap colours = DrawColourMap(options, &random);
      const View view = DrawView(picture->image, frame, windows[i], options, &random);
      Draw(*picture, view, windows[i], options.min_visible, &colours, &sample);
    }
  } else {
    const auto picture = store.Get(index);
    const ColourMap colours = DrawColourMap(options, &random);
    const View view = plain ? ServedView(picture->image, frame)
                            : DrawView(picture->image, frame, whole, options, &random);
    Draw(*picture, view, whole, options.min_visible, &colours, &sample);
  }
  if (random.Chance(options.flip_horizontal)) FlipHorizontally(&sample);
  if (random.Chance(options.flip_vertical)) FlipVertically(&sample);
  return sample;
}

}  // namespace ela::train
