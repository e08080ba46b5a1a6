#include "model/vision/cpu_network.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "model/kernels/flush_to_zero.h"
#include "model/kernels/kernels.h"
#include "model/status_macros.h"
#include "model/vision/folded_layer.h"

namespace ela {
namespace {

// A strip's rows between a depthwise and its pointwise layer, or of the picture, stay within this:
// half of a first-level cache.
constexpr int64_t kStripFloats = 6144;

int64_t Padded(int64_t channels) { return RoundUp(channels, kChannelMultiple); }

Epilogue EpilogueOf(Activation activation) {
  switch (activation) {
    case Activation::kRelu:
      return Epilogue::kRelu;
    case Activation::kSilu:
      return Epilogue::kSilu;
    case Activation::kNone:
      break;
  }
  return Epilogue::kNone;
}

AlignedBuffer CopyPadded(const std::vector<float>& values, int64_t size) {
  AlignedBuffer buffer(size);
  std::copy(values.begin(), values.end(), buffer.get());
  return buffer;
}

// Offsets of the pixels of `rows` rows.
std::vector<int32_t> Offsets(int64_t rows, int64_t columns, int64_t row_stride,
                             int64_t pixel_stride) {
  std::vector<int32_t> offsets;
  for (int64_t y = 0; y < rows; ++y) {
    for (int64_t x = 0; x < columns; ++x) {
      offsets.push_back(static_cast<int32_t>(y * row_stride + x * pixel_stride));
    }
  }
  return offsets;
}

void ZeroFrame(const MapPlace& map, float* memory) {
  if (map.frame == 0) return;
  const int64_t side = int64_t{map.frame} * map.channels, stride = map.row_stride();
  float* at = memory + map.start;
  // The right side of a row and the left side of the next one lie together.
  std::fill_n(at, map.frame * stride + side, 0.0f);
  at += map.frame * stride + side + int64_t{map.columns} * map.channels;
  for (int32_t row = 0; row + 1 < map.rows; ++row, at += stride) std::fill_n(at, 2 * side, 0.0f);
  std::fill_n(at, side + map.frame * stride, 0.0f);
}

}  // namespace

// [rows of the kernel, columns of the kernel, channels, outputs] in the kernels' order.
struct CpuNetwork::Convolution {
  AlignedBuffer weights, bias;
  int64_t rows = 0, run = 0, n = 0;
  Epilogue epilogue = Epilogue::kNone;

  // weight: [outputs, inputs, kernel, kernel]; column_of and row_of say where an output and an
  // input lie in memory.
  template <class ColumnOf, class RowOf>
  static Convolution Make(const ConvolutionKernels& kernels, int64_t kernel, int64_t channels,
                          int64_t n, int64_t inputs, const std::vector<float>& weight,
                          ColumnOf column_of, RowOf row_of) {
    Convolution made;
    made.rows = kernel;
    made.run = kernel * channels;
    made.n = n;
    std::vector<float> matrix(made.rows * made.run * n);
    const int64_t taps = kernel * kernel;
    for (size_t i = 0; i < weight.size(); ++i) {
      const int64_t tap = i % taps, in = i / taps % inputs, out = i / taps / inputs;
      matrix[(tap * channels + row_of(in)) * n + column_of(out)] = weight[i];
    }
    made.weights = AlignedBuffer(static_cast<int64_t>(matrix.size()));
    made.bias = AlignedBuffer(n);
    PackColumns(made.rows * made.run, n, kernels.column_block, matrix.data(), made.weights.get());
    return made;
  }

  DenseConvolution Job() const {
    DenseConvolution job;
    job.rows = rows;
    job.run = run;
    job.weights = weights.get();
    job.bias = bias.get();
    job.n = n;
    job.epilogue = epilogue;
    return job;
  }
};

struct CpuNetwork::Depthwise {
  AlignedBuffer weights, bias;  // [taps, channels], [channels]
  int64_t channels = 0;

  Depthwise() = default;
  Depthwise(const Layer& layer, const FoldedConvolution& folded)
      : channels(Padded(layer.out_channels)) {
    const int64_t taps = int64_t{layer.kernel} * layer.kernel;
    weights = AlignedBuffer(taps * channels);
    bias = CopyPadded(folded.bias, channels);
    for (size_t i = 0; i < folded.weight.size(); ++i) {
      weights.get()[i % taps * channels + i / taps] = folded.weight[i];
    }
  }
};

struct CpuNetwork::Step {
  Convolution dense;    // of a convolution; q, k and v of an attention
  Depthwise depthwise;  // of a depthwise layer, alone or before `dense`
  // Attention.
  Convolution projection;
  AlignedBuffer residual_scale;
  int64_t width = 0;  // of a head, padded
};

// Of one strip of rows; the other strips lie the same way.
struct CpuNetwork::Walk {
  int64_t rows = 0;
  std::vector<int32_t> in, out, residual;
};

struct CpuNetwork::Plan {
  int32_t width = 0, height = 0;
  MapLayout layout;
  std::vector<Walk> walks;        // by pass
  std::vector<Walk> projections;  // by pass: attention's second product
};

CpuNetwork::Scratch::Scratch() = default;
CpuNetwork::Scratch::~Scratch() = default;
CpuNetwork::Scratch::Scratch(Scratch&&) noexcept = default;
CpuNetwork::Scratch& CpuNetwork::Scratch::operator=(Scratch&&) noexcept = default;
CpuNetwork::~CpuNetwork() = default;

CpuNetwork::CpuNetwork(NetworkPlan plan, const Weights& weights, const ConvolutionKernels& kernels)
    : plan_(std::move(plan)), passes_(MakePasses(plan_)), kernels_(kernels) {
  const auto same = [](int64_t i) { return i; };
  for (const Pass& pass : passes_) {
    const Layer& layer = plan_.layers[pass.layer];
    Step step;
    if (pass.depthwise >= 0) {
      const Layer& depthwise = plan_.layers[pass.depthwise];
      step.depthwise = Depthwise(depthwise, FoldConvolution(depthwise, weights));
    }
    if (layer.kind == LayerKind::kConvolution) {
      const FoldedConvolution folded = FoldConvolution(layer, weights);
      const int64_t n = Padded(layer.out_channels);
      if (layer.groups > 1) {
        step.depthwise = Depthwise(layer, folded);
      } else {
        // A picture's three channels lie without padding.
        const int64_t channels =
            layer.inputs[0] == Layer::kPicture ? layer.in_channels : Padded(layer.in_channels);
        step.dense = Convolution::Make(kernels_, layer.kernel, channels, n, layer.in_channels,
                                       folded.weight, same, same);
        step.dense.epilogue = EpilogueOf(layer.activation);
        std::copy(folded.bias.begin(), folded.bias.end(), step.dense.bias.get());
      }
    } else if (layer.kind == LayerKind::kAttention) {
      ELA_CHECK(layer.context == ContextKind::kEla, "serving refuses softmax attention at load");
      const FoldedAttention folded = FoldAttention(layer, weights);
      const int64_t channels = layer.in_channels, head = channels / layer.heads;
      step.width = Padded(head);
      // Heads lie apart by their padded width, in q, k and v alike.
      const auto place = [&](int64_t i) { return i / head * step.width + i % head; };
      const int64_t n = Padded(channels), inner = layer.heads * step.width;
      step.dense = Convolution::Make(kernels_, 1, n, 3 * inner, channels, folded.qkv, place, same);
      for (int64_t i = 0; i < inner; ++i) {
        if (i % step.width >= head) step.dense.bias.get()[i] = kMaskedQuery;
      }
      step.projection =
          Convolution::Make(kernels_, 1, inner, n, channels, folded.proj, same, place);
      std::copy(folded.shift.begin(), folded.shift.end(), step.projection.bias.get());
      step.residual_scale = CopyPadded(folded.scale, n);
    }
    for (const AlignedBuffer* buffer :
         {&step.dense.weights, &step.dense.bias, &step.depthwise.weights, &step.depthwise.bias,
          &step.projection.weights, &step.projection.bias, &step.residual_scale}) {
      weight_bytes_ += buffer->size() * static_cast<int64_t>(sizeof(float));
    }
    steps_.push_back(std::move(step));
  }
}

std::unique_ptr<CpuNetwork::Plan> CpuNetwork::MakePlan(int32_t width, int32_t height) const {
  auto plan = std::make_unique<Plan>();
  plan->width = width;
  plan->height = height;
  plan->walks.resize(passes_.size());
  plan->projections.resize(passes_.size());
  std::vector<int64_t> extra(passes_.size(), 0);
  for (size_t i = 0; i < passes_.size(); ++i) {
    const Layer& layer = plan_.layers[passes_[i].layer];
    const int64_t rows = height / layer.reduction, columns = width / layer.reduction;
    const auto strip = [&](int64_t floats_per_row) {
      return std::clamp<int64_t>(kStripFloats / floats_per_row, 1, rows);
    };
    Walk& walk = plan->walks[i];
    if (layer.kind == LayerKind::kAttention) {
      const int64_t inner = layer.heads * steps_[i].width;
      extra[i] = rows * columns * 4 * inner + GlobalAttentionScratch(steps_[i].width);
      walk.rows = strip(columns * Padded(layer.in_channels));
    } else if (passes_[i].inputs[0] == Layer::kPicture) {
      const int64_t row = (int64_t{width} + layer.kernel - 1) * layer.in_channels;
      walk.rows = strip(row * layer.stride);
      extra[i] = ((walk.rows - 1) * layer.stride + layer.kernel) * row;
    } else {
      const int64_t row = columns * Padded(layer.in_channels);
      walk.rows = strip(row);
      if (passes_[i].depthwise >= 0) extra[i] = walk.rows * row;
    }
  }
  plan->layout = LayOutMaps(plan_, passes_, extra, width, height);
  for (size_t i = 0; i < passes_.size(); ++i) {
    const Pass& pass = passes_[i];
    const Layer& layer = plan_.layers[pass.layer];
    const MapPlace& out = plan->layout.maps[pass.layer];
    Walk& walk = plan->walks[i];
    const auto of_map = [&](const MapPlace& map, int64_t stride) {
      return Offsets(walk.rows, out.columns, stride * map.row_stride(), stride * map.channels);
    };
    const auto packed = [&](int64_t channels) {
      return Offsets(walk.rows, out.columns, out.columns * channels, channels);
    };
    walk.out = of_map(out, 1);
    if (layer.kind == LayerKind::kAttention) {
      const MapPlace& in = plan->layout.maps[pass.inputs[0]];
      const int64_t inner = layer.heads * steps_[i].width;
      plan->projections[i] = {walk.rows, packed(inner), walk.out, of_map(in, 1)};
      walk = {walk.rows, of_map(in, 1), packed(3 * inner), {}};
    } else if (layer.kind == LayerKind::kConvolution) {
      if (pass.inputs[0] == Layer::kPicture) {
        const int64_t row = (int64_t{width} + layer.kernel - 1) * layer.in_channels;
        walk.in = Offsets(walk.rows, out.columns, layer.stride * row,
                          int64_t{layer.stride} * layer.in_channels);
      } else if (pass.depthwise >= 0) {
        walk.in = packed(Padded(layer.in_channels));
      } else {
        walk.in = of_map(plan->layout.maps[pass.inputs[0]], layer.stride);
      }
      if (pass.inputs[1] >= 0) walk.residual = of_map(plan->layout.maps[pass.inputs[1]], 1);
    }
  }
  return plan;
}

const CpuNetwork::Plan& CpuNetwork::PlanFor(int32_t width, int32_t height, Scratch* scratch) const {
  auto& plans = scratch->plans_;
  auto found = std::find_if(plans.begin(), plans.end(), [&](const std::unique_ptr<Plan>& plan) {
    return plan->width == width && plan->height == height;
  });
  if (found == plans.end()) {
    if (plans.size() == Scratch::kMaxPlans) plans.pop_back();
    plans.push_back(MakePlan(width, height));
    found = plans.end() - 1;
  }
  std::rotate(plans.begin(), found, found + 1);
  const Plan& plan = *plans.front();
  if (scratch->memory_.size() < plan.layout.size) {
    scratch->memory_ = AlignedBuffer();
    scratch->memory_ = AlignedBuffer(plan.layout.size);
  }
  return plan;
}

absl::Span<const HeadMaps> CpuNetwork::Run(const NetworkInput& input, Scratch* scratch) const {
  const ScopedFlushToZero flush;
  const Plan& plan = PlanFor(input.width, input.height, scratch);
  float* memory = scratch->memory_.get();
  for (size_t i = 0; i < passes_.size(); ++i) {
    const Layer& layer = plan_.layers[passes_[i].layer];
    ZeroFrame(plan.layout.maps[passes_[i].layer], memory);
    switch (layer.kind) {
      case LayerKind::kConvolution:
        layer.groups > 1 ? RunDepthwise(i, plan, memory) : RunConvolution(i, input, plan, memory);
        break;
      case LayerKind::kUpsampleAdd:
      case LayerKind::kAdd:
        RunSum(i, plan, memory);
        break;
      case LayerKind::kAttention:
        RunAttention(i, plan, memory);
        break;
    }
  }
  scratch->maps_.clear();
  for (const HeadOutput& output : plan_.outputs) {
    const auto view = [&](int layer) {
      const MapPlace& map = plan.layout.maps[layer];
      return MapView{memory + map.origin(), 1, map.row_stride(), map.channels};
    };
    const MapPlace& map = plan.layout.maps[output.scores];
    HeadMaps maps;
    maps.scores = view(output.scores);
    if (output.distances >= 0) maps.distances = view(output.distances);
    maps.rows = map.rows;
    maps.columns = map.columns;
    maps.stride = output.stride;
    scratch->maps_.push_back(maps);
  }
  return scratch->maps_;
}

void CpuNetwork::RunConvolution(size_t index, const NetworkInput& input, const Plan& plan,
                                float* memory) const {
  const Pass& pass = passes_[index];
  const Step& step = steps_[index];
  const Walk& walk = plan.walks[index];
  const Layer& layer = plan_.layers[pass.layer];
  const MapPlace& out = plan.layout.maps[pass.layer];
  float* strip = memory + plan.layout.extra[index];
  DenseConvolution job = step.dense.Job();
  job.in_offset = walk.in.data();
  job.out_offset = walk.out.data();
  job.residual_offset = walk.residual.data();

  for (int64_t first = 0; first < out.rows; first += walk.rows) {
    const int64_t rows = std::min(walk.rows, out.rows - first);
    job.pixels = rows * out.columns;
    job.out = memory + out.origin() + first * out.row_stride();
    if (pass.inputs[1] >= 0) {
      const MapPlace& residual = plan.layout.maps[pass.inputs[1]];
      job.residual = memory + residual.origin() + first * residual.row_stride();
    }
    if (pass.inputs[0] == Layer::kPicture) {
      const int64_t pad = layer.kernel / 2, channels = layer.in_channels;
      const int64_t row_size = (input.width + 2 * pad) * channels;
      const int64_t from = first * layer.stride - pad;
      for (int64_t i = 0; i < (rows - 1) * layer.stride + layer.kernel; ++i) {
        float* to = strip + i * row_size;
        if (from + i < 0 || from + i >= input.height) {
          std::fill_n(to, row_size, 0.0f);
          continue;
        }
        const int64_t values = input.width * channels, at = (from + i) * values;
        std::fill_n(to, pad * channels, 0.0f);
        if (input.bytes != nullptr) {
          kernels_.from_bytes(values, input.bytes + at, to + pad * channels);
        } else {
          std::copy_n(input.values + at, values, to + pad * channels);
        }
        std::fill_n(to + pad * channels + values, pad * channels, 0.0f);
      }
      job.in = strip;
      job.in_row_stride = row_size;
    } else if (pass.depthwise >= 0) {
      const MapPlace& in = plan.layout.maps[pass.inputs[0]];
      const Layer& spatial = plan_.layers[pass.depthwise];
      DepthwiseConvolution front;
      front.pixels = out.columns;
      front.channels = step.depthwise.channels;
      front.in_row_stride = in.row_stride();
      front.kernel = spatial.kernel;
      front.stride = spatial.stride;
      front.weights = step.depthwise.weights.get();
      front.bias = step.depthwise.bias.get();
      front.epilogue = EpilogueOf(spatial.activation);
      const int64_t pad = spatial.kernel / 2;
      for (int64_t row = 0; row < rows; ++row) {
        front.in = memory + in.origin() + ((first + row) * spatial.stride - pad) * in.row_stride() -
                   pad * in.channels;
        front.out = strip + row * out.columns * in.channels;
        kernels_.depthwise(front);
      }
      job.in = strip;
    } else {
      const MapPlace& in = plan.layout.maps[pass.inputs[0]];
      const int64_t pad = layer.kernel / 2;
      job.in =
          memory + in.origin() + (first * layer.stride - pad) * in.row_stride() - pad * in.channels;
      job.in_row_stride = in.row_stride();
    }
    kernels_.dense(job);
  }
}

void CpuNetwork::RunDepthwise(size_t index, const Plan& plan, float* memory) const {
  const Pass& pass = passes_[index];
  const Step& step = steps_[index];
  const Layer& layer = plan_.layers[pass.layer];
  const MapPlace& in = plan.layout.maps[pass.inputs[0]];
  const MapPlace& out = plan.layout.maps[pass.layer];
  DepthwiseConvolution job;
  job.pixels = out.columns;
  job.channels = out.channels;
  job.in_row_stride = in.row_stride();
  job.kernel = layer.kernel;
  job.stride = layer.stride;
  job.weights = step.depthwise.weights.get();
  job.bias = step.depthwise.bias.get();
  job.epilogue = EpilogueOf(layer.activation);
  const int64_t pad = layer.kernel / 2;
  for (int64_t row = 0; row < out.rows; ++row) {
    job.in =
        memory + in.origin() + (row * layer.stride - pad) * in.row_stride() - pad * in.channels;
    job.out = memory + out.origin() + row * out.row_stride();
    if (pass.inputs[1] >= 0) {
      const MapPlace& residual = plan.layout.maps[pass.inputs[1]];
      job.residual = memory + residual.origin() + row * residual.row_stride();
    }
    kernels_.depthwise(job);
  }
}

void CpuNetwork::RunSum(size_t index, const Plan& plan, float* memory) const {
  const Pass& pass = passes_[index];
  const MapPlace& first = plan.layout.maps[pass.inputs[0]];
  const MapPlace& second = plan.layout.maps[pass.inputs[1]];
  const MapPlace& out = plan.layout.maps[pass.layer];
  const bool upsample = plan_.layers[pass.layer].kind == LayerKind::kUpsampleAdd;
  for (int64_t row = 0; row < out.rows; ++row) {
    const float* b = memory + second.origin() + row * second.row_stride();
    float* y = memory + out.origin() + row * out.row_stride();
    if (upsample) {
      const float* a = memory + first.origin() + row / 2 * first.row_stride();
      kernels_.upsample_add(first.columns, out.channels, a, b, y);
    } else {
      const float* a = memory + first.origin() + row * first.row_stride();
      kernels_.add(int64_t{out.columns} * out.channels, a, b, y);
    }
  }
}

void CpuNetwork::RunAttention(size_t index, const Plan& plan, float* memory) const {
  const Pass& pass = passes_[index];
  const Step& step = steps_[index];
  const Layer& layer = plan_.layers[pass.layer];
  const MapPlace& in = plan.layout.maps[pass.inputs[0]];
  const MapPlace& out = plan.layout.maps[pass.layer];
  const int64_t inner = layer.heads * step.width, places = int64_t{out.rows} * out.columns;
  float* qkv = memory + plan.layout.extra[index];
  float* answers = qkv + places * 3 * inner;
  const auto product = [&](DenseConvolution job, const Walk& walk, auto place) {
    job.in_offset = walk.in.data();
    job.out_offset = walk.out.data();
    job.residual_offset = walk.residual.data();
    for (int64_t first = 0; first < out.rows; first += walk.rows) {
      job.pixels = std::min(walk.rows, out.rows - first) * out.columns;
      place(first, &job);
      kernels_.dense(job);
    }
  };
  product(step.dense.Job(), plan.walks[index], [&](int64_t row, DenseConvolution* job) {
    job->in = memory + in.origin() + row * in.row_stride();
    job->out = qkv + row * out.columns * 3 * inner;
  });
  kernels_.global_attention(places, layer.heads, step.width, qkv, answers,
                            answers + places * inner);
  product(step.projection.Job(), plan.projections[index], [&](int64_t row, DenseConvolution* job) {
    job->in = answers + row * out.columns * inner;
    job->out = memory + out.origin() + row * out.row_stride();
    job->residual = memory + in.origin() + row * in.row_stride();
    job->residual_scale = step.residual_scale.get();
  });
}

}  // namespace ela
