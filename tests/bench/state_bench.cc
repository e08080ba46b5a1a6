// What moving a state costs, one JSON object per figure: state_bench [--slots N]. Random weights in
// the paper's configuration; medians over many rounds that walk over all slots, so that no cache
// holds what is copied. memcpy of the same bytes stands beside them as the machine's own measure.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "model/language/worker_factory.h"
#include "tests/model/random_checkpoint.h"

namespace ela {
namespace {

constexpr int kRounds = 300;

void Check(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}

double MedianMilliseconds(const std::function<void(int round)>& body) {
  std::vector<double> times(kRounds);
  for (int round = 0; round < kRounds; ++round) {
    const auto begin = std::chrono::steady_clock::now();
    body(round);
    const auto end = std::chrono::steady_clock::now();
    times[round] = std::chrono::duration<double, std::milli>(end - begin).count();
  }
  std::nth_element(times.begin(), times.begin() + kRounds / 2, times.end());
  return times[kRounds / 2];
}

int Main(int argc, char** argv) {
  LanguageWorkerOptions options;
  options.num_slots = argc == 3 && std::strcmp(argv[1], "--slots") == 0 ? std::atoi(argv[2]) : 64;
  const std::string directory =
      std::filesystem::temp_directory_path() / ("ela_state_bench_" + std::to_string(getpid()));
  std::filesystem::create_directory(directory);
  WriteRandomCheckpoint(PaperConfig(), 1, directory, DType::kBF16);
  options.directory = directory;
  options.num_threads = 1;
  auto created = CreateLanguageWorker(options);
  std::filesystem::remove_all(directory);
  Check(created.status());
  Worker& worker = **created;
  const int32_t slots = worker.Info().num_slots;
  const int64_t bytes = worker.Info().state_bytes;

  const std::vector<TokenId> tokens(40, 7);
  for (int32_t slot = 0; slot < slots; ++slot) {
    Check(worker.ResetSlot(slot, ""));
    StepItem item;
    item.slot = slot;
    item.tokens = tokens;
    worker.Enqueue({&item, 1});
    Check(worker.Wait().items[0].status);
  }
  std::vector<std::vector<char>> parked(slots, std::vector<char>(bytes));
  std::vector<std::string> blobs(slots);

  const double plain = MedianMilliseconds([&](int round) {
    std::memcpy(parked[round % slots].data(), parked[(round + slots / 2) % slots].data(), bytes);
  });
  const auto print = [&](const char* figure, double milliseconds) {
    std::printf(
        "{\"figure\": \"%s\", \"milliseconds\": %.4f, \"of_memcpy\": %.2f, \"bytes\": %lld}\n",
        figure, milliseconds, milliseconds / plain, static_cast<long long>(bytes));
  };
  print("memcpy", plain);
  print("fork", MedianMilliseconds([&](int round) {
          Check(worker.CopySlot(round % slots, (round + slots / 2) % slots));
        }));
  print("copy out", MedianMilliseconds([&](int round) {
          Check(worker.BeginCopyOut(round % slots, absl::MakeSpan(parked[round % slots])));
        }));
  print("copy in", MedianMilliseconds([&](int round) {
          Check(worker.BeginCopyIn((round + 1) % slots, parked[round % slots]));
        }));
  print("save", MedianMilliseconds([&](int round) {
          Check(worker.BeginSave(round % slots, &blobs[round % slots]));
        }));
  print("load", MedianMilliseconds([&](int round) {
          Check(worker.BeginLoad((round + 1) % slots, blobs[round % slots]));
        }));
  return 0;
}

}  // namespace
}  // namespace ela

int main(int argc, char** argv) { return ela::Main(argc, argv); }
