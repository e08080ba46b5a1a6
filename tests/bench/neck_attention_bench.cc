// The neck's attention, exact linear against softmax, at pictures of 160 to 640 pixels: one JSON
// object per size and stride. All on LibTorch and one thread, taking turns run by run, so that the
// figures compare the two kernels and not two implementations; softmax is the faster of its plain
// form and LibTorch's fused one. --network: the whole of lat-ms with either in its neck.
#include <ATen/Parallel.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <vector>

#include "model/vision/torch/bidirectional_attention.h"
#include "model/vision/torch/torch_network.h"

namespace ela::vision {
namespace {

using Clock = std::chrono::steady_clock;

// Medians in milliseconds of the calls in turn, the first ten rounds left out.
std::vector<double> Measure(const std::vector<std::function<void()>>& calls) {
  std::vector<std::vector<double>> times(calls.size());
  const Clock::time_point begin = Clock::now();
  for (int round = 0; Clock::now() - begin < std::chrono::seconds(2); ++round) {
    for (size_t i = 0; i < calls.size(); ++i) {
      const Clock::time_point start = Clock::now();
      calls[i]();
      const std::chrono::duration<double, std::milli> time = Clock::now() - start;
      if (round >= 10) times[i].push_back(time.count());
    }
  }
  std::vector<double> medians;
  for (std::vector<double>& of_call : times) {
    std::nth_element(of_call.begin(), of_call.begin() + of_call.size() / 2, of_call.end());
    medians.push_back(of_call.empty() ? 0 : of_call[of_call.size() / 2]);
  }
  return medians;
}

void AttentionAlone(int64_t side, int64_t stride) {
  const int64_t positions = (side / stride) * (side / stride);
  const auto random = [&] { return at::randn({1, 4, 16, positions}); };  // the paper's heads
  const at::Tensor q = random(), k = random(), v = random();
  const auto turned = [](const at::Tensor& x) { return x.transpose(-1, -2).contiguous(); };
  const at::Tensor q_rows = turned(q), k_rows = turned(k), v_rows = turned(v);
  const std::vector<double> ms = Measure(
      {[&] { BidirectionalElaAttention(q, k, v); }, [&] { BidirectionalSoftmaxAttention(q, k, v); },
       [&] {
         at::scaled_dot_product_attention(q_rows, k_rows, v_rows, {}, 0.0, false, /*scale=*/1.0);
       }});
  std::printf(
      "{\"what\": \"attention\", \"side\": %ld, \"stride\": %ld, \"positions\": %ld, "
      "\"ela_ms\": %.4f, \"softmax_ms\": %.4f}\n",
      side, stride, positions, ms[0], std::min(ms[1], ms[2]));
}

void WholeNetwork(int64_t side) {
  std::vector<TorchNetwork> networks;
  for (const ContextKind context : {ContextKind::kEla, ContextKind::kSoftmax, ContextKind::kNone}) {
    DetectorConfig config;
    config.variant = DetectorVariant::kLatMs;
    config.class_names = {"0", "1", "2"};
    config.shape.context = context;
    networks.emplace_back(config, InitialTensors(config, 1));
  }
  const at::Tensor image = at::rand({1, 3, side, side});
  const std::vector<double> ms =
      Measure({[&] { networks[0].Forward(image, {}); }, [&] { networks[1].Forward(image, {}); },
               [&] { networks[2].Forward(image, {}); }});
  std::printf(
      "{\"what\": \"lat-ms\", \"side\": %ld, \"ela_ms\": %.3f, \"softmax_ms\": %.3f, "
      "\"none_ms\": %.3f}\n",
      side, ms[0], ms[1], ms[2]);
}

int Main(bool networks) {
  at::set_num_threads(1);
  at::NoGradGuard no_grad;
  for (const int64_t side : {160, 320, 480, 640}) {
    if (networks) {
      WholeNetwork(side);
    } else {
      AttentionAlone(side, 32);
      AttentionAlone(side, 16);
    }
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace ela::vision

int main(int argc, char** argv) {
  return ela::vision::Main(argc > 1 && std::strcmp(argv[1], "--network") == 0);
}
