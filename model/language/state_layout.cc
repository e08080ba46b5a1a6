#include "model/language/state_layout.h"

#include <algorithm>

namespace ela {
namespace {

constexpr int64_t kFloat = sizeof(float), kDouble = sizeof(double);

// Hands out aligned offsets.
class Cursor {
 public:
  int64_t Take(int64_t bytes) {
    const int64_t offset = end_;
    end_ = RoundUp(end_ + bytes, 64);
    return offset;
  }
  int64_t end() const { return end_; }

 private:
  int64_t end_ = 0;
};

void PlaceHead(StateLayout::Head* head) {
  const int64_t stride = RoundUp(head->width, 16);
  const bool hadamard = head->kernel == AttentionKernel::kHadamardExp;
  const bool directional = head->kernel == AttentionKernel::kDirMag;
  Cursor cursor;
  // The small parts first: one region that a decode step reads and writes; then the large base.
  head->features = cursor.Take(head->width * kBlock * kFloat);
  if (hadamard) {
    head->direct = cursor.Take(sizeof(uint32_t));
    head->anchor = cursor.Take(stride * kFloat);
    head->row_max = cursor.Take(stride * kFloat);
    head->row_sum = cursor.Take(stride * kDouble);
  } else {
    head->key_mean = cursor.Take(stride * kFloat);
    head->value_mean = cursor.Take(stride * kFloat);
    head->totals = cursor.Take(2 * kDouble);
    if (directional) {
      head->weights = cursor.Take(kBlock * kFloat);
    } else {
      head->third = cursor.Take(stride * kFloat);
    }
  }
  head->keys = cursor.Take(kBlock * stride * kFloat);
  head->values = cursor.Take(kBlock * stride * kFloat);
  if (head->decay) head->decays = cursor.Take(kBlock * stride * kFloat);
  head->matrix = cursor.Take(head->width * stride * kFloat);
  head->bytes = cursor.end();
}

template <class T>
T* At(char* base, int64_t offset) {
  return offset < 0 ? nullptr : reinterpret_cast<T*>(base + offset);
}

}  // namespace

StateLayout::StateLayout(const LanguageConfig& config, absl::Span<const LobeConfig> others)
    : layers_(config.num_hidden_layers),
      window_(config.short_conv),
      convolution_width_(3 * config.hidden_size) {
  attention_.kernel = config.attention_kernel;
  attention_.count = config.num_attention_heads;
  attention_.width = config.head_size();
  attention_.decay = config.decay == Decay::kGated;
  PlaceHead(&attention_);
  const int64_t convolution = RoundUp(convolution_rows() * convolution_width_ * kFloat, 64);
  attention_.offset = convolution;
  lobe_.offset = attention_.offset + attention_.count * attention_.bytes;
  if (config.memory_lobe.has_value()) lobe_ = PlaceLobe(*config.memory_lobe);
  lobe_bytes_ = lobe_.count * lobe_.bytes;
  for (const LobeConfig& other : others) {
    const Head head = PlaceLobe(other);
    lobe_bytes_ = std::max(lobe_bytes_, head.count * head.bytes);
  }
  layer_bytes_ = lobe_.offset + lobe_bytes_;
}

std::vector<LobeConfig> StateLayout::AnyLobe() {
  std::vector<LobeConfig> lobes;
  for (const AttentionKernel kernel : {AttentionKernel::kHadamardExp, AttentionKernel::kSumSq,
                                       AttentionKernel::kSubSq, AttentionKernel::kDirMag}) {
    lobes.push_back({LobeMode::kCausal, 1, kernel});
  }
  return lobes;
}

StateLayout::Head StateLayout::PlaceLobe(const LobeConfig& config) const {
  Head head;
  head.kernel = config.kernel;
  head.count = config.heads;
  head.width = convolution_width_ / 3 / config.heads;
  PlaceHead(&head);
  head.offset = lobe_.offset;
  return head;
}

int64_t StateLayout::widest_head() const {
  return lobe_bytes_ > 0 ? convolution_width_ / 3 : attention_.width;
}

float* StateLayout::Convolution(char* slot, int layer) const {
  return reinterpret_cast<float*>(slot + layer * layer_bytes_);
}

HeadState StateLayout::View(char* slot, int layer, const Head& head, int index) const {
  char* base = slot + layer * layer_bytes_ + head.offset + index * head.bytes;
  HeadState state;
  state.width = head.width;
  state.value_width = head.width;
  state.key_stride = RoundUp(head.width, 16);
  state.value_stride = RoundUp(head.width, 16);
  state.matrix = At<float>(base, head.matrix);
  state.row_max = At<float>(base, head.row_max);
  state.row_sum = At<double>(base, head.row_sum);
  state.key_mean = At<float>(base, head.key_mean);
  state.value_mean = At<float>(base, head.value_mean);
  state.third = At<float>(base, head.third);
  state.totals = At<double>(base, head.totals);
  state.keys = At<float>(base, head.keys);
  state.values = At<float>(base, head.values);
  state.decays = At<float>(base, head.decays);
  state.features = At<float>(base, head.features);
  state.anchor = At<float>(base, head.anchor);
  state.weights = At<float>(base, head.weights);
  state.direct = At<uint32_t>(base, head.direct);
  return state;
}

}  // namespace ela
