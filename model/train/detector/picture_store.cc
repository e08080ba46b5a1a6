#include "model/train/detector/picture_store.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/image/decode.h"
#include "model/image/fit.h"
#include "model/status_macros.h"
#include "model/train/detector/labelled_picture.h"

namespace ela::train {
namespace {

// Of the input's size, in each direction: beyond it a picture is reduced.
constexpr double kWorkingFactor = 2.25;

Picture AtWorkingSize(LabelledPicture labelled, const StoreOptions& options) {
  DecodedImage& decoded = labelled.decoded;
  const Placement input =
      PlaceInInput(decoded.source_width, decoded.source_height, options.input_width,
                   options.input_height, FitMode::kLetterbox);
  const double most_x = kWorkingFactor * input.fitted_width;
  const double most_y = kWorkingFactor * input.fitted_height;
  Picture picture;
  double scale_x = decoded.scale, scale_y = decoded.scale;
  double offset_x = decoded.offset_x, offset_y = decoded.offset_y;
  if (decoded.image.width > most_x || decoded.image.height > most_y) {
    const Placement working =
        PlaceInInput(decoded.source_width, decoded.source_height,
                     std::max(1, static_cast<int32_t>(std::lround(most_x))),
                     std::max(1, static_cast<int32_t>(std::lround(most_y))), FitMode::kStretch);
    picture.image = {working.input_width, working.input_height, {}};
    picture.image.pixels.resize(size_t{3} * working.input_width * working.input_height);
    FitImage(decoded, working, absl::MakeSpan(picture.image.pixels));
    scale_x = working.scale_x;
    scale_y = working.scale_y;
    offset_x = offset_y = 0;
  } else {
    picture.image = std::move(decoded.image);
  }
  for (TruthBox truth : labelled.boxes) {
    const Box& box = truth.box;
    truth.box = {static_cast<float>(box.x0 * scale_x + offset_x),
                 static_cast<float>(box.y0 * scale_y + offset_y),
                 static_cast<float>(box.x1 * scale_x + offset_x),
                 static_cast<float>(box.y1 * scale_y + offset_y)};
    picture.boxes.push_back(truth);
  }
  return picture;
}

// FNV-1a.
void Absorb(const void* data, size_t size, uint64_t* digest) {
  const auto* bytes = static_cast<const uint8_t*>(data);
  for (size_t i = 0; i < size; ++i) *digest = (*digest ^ bytes[i]) * 0x100000001b3u;
}

uint64_t DigestOf(const std::vector<LabelledImage>& images) {
  uint64_t digest = 0xcbf29ce484222325u;
  for (const LabelledImage& image : images) {
    Absorb(image.name.data(), image.name.size(), &digest);
    for (const TruthBox& truth : image.boxes) {
      Absorb(&truth.box, sizeof truth.box, &digest);
      Absorb(&truth.class_id, sizeof truth.class_id, &digest);
    }
  }
  return digest;
}

}  // namespace

absl::StatusOr<std::unique_ptr<PictureStore>> PictureStore::Create(
    std::vector<LabelledImage> images, const StoreOptions& options,
    std::vector<LabelProblem>* problems) {
  auto store = std::unique_ptr<PictureStore>(new PictureStore(options));
  int64_t bytes = 0;
  std::string first;
  for (LabelledImage& image : images) {
    std::shared_ptr<const Picture> kept;
    if (bytes < options.max_bytes) {
      absl::StatusOr<Picture> picture = store->Load(image, problems);
      if (!picture.ok()) {
        problems->push_back({LabelProblem::Action::kImageRejected, image.name,
                             std::string(picture.status().message())});
        if (first.empty()) first = ToString(problems->back());
        continue;
      }
      bytes += static_cast<int64_t>(picture->image.pixels.size());
      kept = std::make_shared<const Picture>(*std::move(picture));
    }
    store->kept_.push_back(std::move(kept));
    store->images_.push_back(std::move(image));
  }
  if (store->images_.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("none of ", images.size(), " pictures can be decoded; the first: ", first));
  }
  store->digest_ = DigestOf(store->images_);
  return store;
}

int64_t PictureStore::num_kept() const {
  return std::count_if(kept_.begin(), kept_.end(),
                       [](const auto& kept) { return kept != nullptr; });
}

absl::StatusOr<Picture> PictureStore::Load(const LabelledImage& image,
                                           std::vector<LabelProblem>* problems) const {
  ELA_ASSIGN_OR_RETURN(LabelledPicture labelled,
                       LoadLabelledPicture(image, options_.input_width, options_.input_height));
  if (problems != nullptr) {
    problems->insert(problems->end(), labelled.problems.begin(), labelled.problems.end());
  }
  return AtWorkingSize(std::move(labelled), options_);
}

std::shared_ptr<const Picture> PictureStore::Get(int64_t index) const {
  if (kept_[index] != nullptr) return kept_[index];
  absl::StatusOr<Picture> picture = Load(images_[index], nullptr);
  if (picture.ok()) return std::make_shared<const Picture>(*std::move(picture));
  std::fprintf(stderr, "ela-train: %s: %s; a grey picture stands in\n", images_[index].path.c_str(),
               std::string(picture.status().message()).c_str());
  auto grey = std::make_shared<Picture>();
  grey->image = {32, 32, std::vector<uint8_t>(3 * 32 * 32, 114)};
  return grey;
}

}  // namespace ela::train
