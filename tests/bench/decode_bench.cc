// Speed of the serving path, one JSON object per figure:
//   decode_bench [--model DIR] [--threads N] [--seconds S] [--only FIGURE] [--position-ratio]
// Without --model: random bfloat16 weights in the paper's configuration. --position-ratio absorbs a
// million tokens into a slot and compares decoding there with decoding at position 1,000; it takes
// minutes.
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "model/kernels/kernels.h"
#include "model/language/worker_factory.h"
#include "tests/model/random_checkpoint.h"

namespace ela {
namespace {

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Time this process really ran, all threads together: steadier than the clock on a busy machine.
double CpuSeconds() {
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

struct Rate {
  double per_second = 0;
  double per_cpu_second = 0;
};

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

int64_t ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  int64_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

class Bench {
 public:
  Bench(std::unique_ptr<Worker> worker, double seconds)
      : worker_(std::move(worker)), seconds_(seconds), positions_(worker_->Info().num_slots) {
    sampling_.temperature = 0;
  }

  Worker& worker() { return *worker_; }

  void Absorb(int32_t slot, int64_t tokens) {
    std::mt19937 bits(slot + 1);
    std::vector<TokenId> chunk;
    while (tokens > 0) {
      chunk.resize(std::min<int64_t>(tokens, worker_->Info().max_step_tokens));
      for (TokenId& t : chunk) t = static_cast<TokenId>(bits() % worker_->Info().vocab_size);
      StepItem item;
      item.slot = slot;
      item.tokens = chunk;
      item.first_position = positions_[slot];
      item.output =
          tokens <= worker_->Info().max_step_tokens ? OutputMode::kLast : OutputMode::kNone;
      item.sampling = &sampling_;
      Run({&item, 1});
      positions_[slot] += static_cast<int64_t>(chunk.size());
      tokens -= static_cast<int64_t>(chunk.size());
    }
  }

  void Start(int32_t slot, int64_t tokens) {
    Check(worker_->ResetSlot(slot, ""));
    positions_[slot] = 0;
    Absorb(slot, tokens);
  }

  // One token in each of the slots [first, first + n).
  void Decode(int32_t first, int32_t n) {
    items_.resize(n);
    for (int32_t i = 0; i < n; ++i) {
      items_[i] = StepItem{};
      items_[i].slot = first + i;
      items_[i].first_position = positions_[first + i]++;
      items_[i].output = OutputMode::kLast;
      items_[i].sampling = &sampling_;
    }
    Run(items_);
  }

  // Whole blocks of 16 tokens, their median: tokens per second of `n` sequences.
  Rate DecodeRate(int32_t n) {
    for (int32_t slot = 0; slot < n; ++slot) Start(slot, 128);
    return Measure(kBlock * n, [&] {
      for (int i = 0; i < kBlock; ++i) Decode(0, n);
    });
  }

  Rate PrefillRate() {
    const int64_t tokens = worker_->Info().max_step_tokens;
    Start(0, tokens);
    return Measure(tokens, [&] { Absorb(0, tokens); });
  }

 private:
  template <class Body>
  Rate Measure(int64_t tokens, Body body) {
    std::vector<double> walls, cpus;
    const double end = Now() + seconds_;
    while (Now() < end || walls.size() < 3) {
      const double wall = Now(), cpu = CpuSeconds();
      body();
      walls.push_back(Now() - wall);
      cpus.push_back(CpuSeconds() - cpu);
    }
    return {tokens / Median(walls), tokens / Median(cpus)};
  }

  static void Check(const absl::Status& status) {
    if (status.ok()) return;
    std::fprintf(stderr, "%s\n", status.ToString().c_str());
    std::exit(1);
  }

  void Run(absl::Span<const StepItem> items) {
    worker_->Enqueue(items);
    StepResult& result = worker_->Wait();
    for (size_t i = 0; i < result.num_items; ++i) Check(result.items[i].status);
  }

  const std::unique_ptr<Worker> worker_;
  const double seconds_;
  SamplingParams sampling_;
  std::vector<int64_t> positions_;
  std::vector<StepItem> items_;
};

int Main(int argc, char** argv) {
  LanguageWorkerOptions options;
  double seconds = 3;
  bool position_ratio = false;
  std::string only;
  options.num_threads = 1;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : "";
    if (flag == "--position-ratio") {
      position_ratio = true;
      continue;
    }
    ++i;
    if (flag == "--model") {
      options.directory = value;
    } else if (flag == "--threads") {
      options.num_threads = std::atoi(value);
    } else if (flag == "--seconds") {
      seconds = std::atof(value);
    } else if (flag == "--only") {  // decode, batch or prefill
      only = value;
    } else if (flag == "--kernels") {
      options.kernels = value;
    } else {
      std::fprintf(stderr, "unknown flag %s\n", flag.c_str());
      return 2;
    }
  }
  std::string temporary;
  if (options.directory.empty()) {
    temporary = std::filesystem::temp_directory_path() / ("ela_bench_" + std::to_string(getpid()));
    std::filesystem::create_directory(temporary);
    WriteRandomCheckpoint(PaperConfig(), 1, temporary, DType::kBF16);
    options.directory = temporary;
  }
  options.num_slots = 64;
  auto worker = CreateLanguageWorker(options);
  if (!temporary.empty()) std::filesystem::remove_all(temporary);
  if (!worker.ok()) {
    std::fprintf(stderr, "%s\n", worker.status().ToString().c_str());
    return 1;
  }
  const int threads = options.num_threads;
  Bench bench(*std::move(worker), seconds);
  if (position_ratio) {
    const double start = Now();
    bench.Start(0, 1000000);
    const double absorbed = Now() - start;
    bench.Start(1, 1000 / kBlock * kBlock);
    std::vector<double> late, early;
    const int64_t before = ResidentBytes();
    const double end = Now() + 5 * seconds;
    while (Now() < end) {
      for (int32_t slot : {0, 1}) {
        const double block = Now();
        for (int i = 0; i < kBlock; ++i) bench.Decode(slot, 1);
        (slot == 0 ? late : early).push_back(Now() - block);
      }
    }
    std::printf(
        "{\"figure\": \"time per token at 1000000 against 1000\", \"ratio\": %.4f, \"blocks\": "
        "%zu, "
        "\"prefill_tokens_per_second\": %.0f, \"resident_growth_bytes\": %lld, \"threads\": %d}\n",
        Median(late) / Median(early), late.size(), 1e6 / absorbed,
        static_cast<long long>(ResidentBytes() - before), threads);
    return 0;
  }
  const auto print = [&](const char* figure, const Rate& rate) {
    std::printf(
        "{\"figure\": \"%s\", \"tokens_per_second\": %.0f, \"tokens_per_cpu_second\": %.0f, "
        "\"threads\": %d}\n",
        figure, rate.per_second, rate.per_cpu_second, threads);
    std::fflush(stdout);
  };
  const auto wanted = [&](const char* name) { return only.empty() || only == name; };
  if (wanted("decode")) print("decode, 1 sequence", bench.DecodeRate(1));
  if (wanted("batch")) print("decode, 64 sequences", bench.DecodeRate(64));
  if (wanted("prefill")) print("prefill", bench.PrefillRate());
  return 0;
}

}  // namespace
}  // namespace ela

int main(int argc, char** argv) { return ela::Main(argc, argv); }
