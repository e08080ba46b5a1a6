// What bringing a state back costs, one JSON object per figure:
//   store_bench [--bytes N] [--directory DIR] [--redis ADDRESS]
// Restore: the record, the snapshot and the 64 tokens behind it, from a session of 1,000 tokens and
// from one of 1,000,000. RocksDB: DIR (default a temporary one) written, closed and opened again.
// Redis: ADDRESS (unix:path or host:port), which is given a session and loses it again; else left
// out. Beside each the ratio to memcpy of the same bytes; for the envelope sealing and opening.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "server/sealed_state.h"
#include "server/state_store_redis.h"
#include "server/state_store_rocksdb.h"
#include "tests/fakes/session_makers.h"

namespace ela {
namespace {

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void Check(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}

template <class T>
T Value(absl::StatusOr<T> value) {
  Check(value.status());
  return *std::move(value);
}

// Milliseconds of the median of 101 runs.
double Median(const std::function<void()>& run) {
  std::vector<double> times(101);
  for (double& time : times) {
    const double begin = Now();
    run();
    time = 1e3 * (Now() - begin);
  }
  std::nth_element(times.begin(), times.begin() + 50, times.end());
  return times[50];
}

std::string RandomBytes(size_t size) {
  std::mt19937 random(1);
  std::string bytes(size, 0);
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

void Print(const std::string& figure, size_t bytes, double milliseconds, double memcpy_ms) {
  std::printf(
      "{\"figure\": \"%s\", \"bytes\": %zu, \"milliseconds\": %.3f, \"memcpy_ratio\": %.1f}\n",
      figure.c_str(), bytes, milliseconds, milliseconds / memcpy_ms);
  std::fflush(stdout);
}

void Fill(StateStore& store, uint32_t session, int64_t num_tokens, const std::string& state) {
  Check(store.Delete(TestId(session), StateStore::kAnyGeneration));
  Check(store.Create(TestSession(session, "bench")));
  for (int64_t at = 0; at < num_tokens; at += 100'000) {
    Check(WriteTo(store, AppendTo(TestId(session), 1, at,
                                  Tokens(static_cast<TokenId>(at),
                                         std::min<int64_t>(100'000, num_tokens - at)))));
  }
  SessionWrite write = AppendTo(TestId(session), 1, num_tokens, {});
  write.put_snapshots = {SnapshotAt(num_tokens - 64, state)};
  Check(WriteTo(store, write));
}

void Restore(StateStore& store, uint32_t session) {
  const StoredSession record = Value(store.Read(TestId(session)));
  const SnapshotInfo* newest = NewestSnapshot(record, record.num_tokens);
  const std::string state = Value(store.ReadSnapshot(record.id, newest->position));
  const std::vector<TokenId> tokens =
      Value(store.ReadTokens(record.id, newest->position, record.num_tokens));
  if (tokens.size() != 64 || static_cast<int64_t>(state.size()) != newest->num_bytes) std::exit(1);
}

void Measure(StateStore& store, const std::string& name, size_t bytes, double memcpy_ms) {
  for (const uint32_t session : {1u, 2u}) {
    Print("restore from " + name + (session == 1 ? ", 1000 tokens" : ", 1000000 tokens"), bytes,
          Median([&] { Restore(store, session); }), memcpy_ms);
  }
  SessionWrite write = AppendTo(TestId(1), 1, 1000, {});
  write.put_snapshots = {SnapshotAt(936, RandomBytes(bytes))};
  Print("durable snapshot to " + name, bytes, Median([&] { Check(WriteTo(store, write)); }),
        memcpy_ms);
  int64_t at = 1000;
  Print("durable append of 16 tokens to " + name, 64, Median([&] {
          Check(WriteTo(store, AppendTo(TestId(1), 1, at, Tokens(0, 16))));
          at += 16;
        }),
        memcpy_ms);
}

int Main(int argc, char** argv) {
  size_t bytes = 1'600'000;
  std::string directory, redis;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    if (flag == "--bytes") bytes = std::strtoull(argv[i + 1], nullptr, 10);
    if (flag == "--directory") directory = argv[i + 1];
    if (flag == "--redis") redis = argv[i + 1];
  }
  const std::string state = RandomBytes(bytes);
  std::string copy(bytes, 0);
  const double memcpy_ms = Median([&] { std::memcpy(copy.data(), state.data(), bytes); });
  Print("memcpy", bytes, memcpy_ms, memcpy_ms);

  SealedState sealed;
  sealed.state = state;
  const SealKeys keys = Value(SealKeys::Parse("bench " + std::string(64, 'b'), "bench"));
  OpenSealedOptions options;
  for (const SealKeys* with : {static_cast<const SealKeys*>(nullptr), &keys}) {
    const std::string how = with == nullptr ? " with a checksum" : " with AES-256-GCM";
    const std::string blob = Value(SealState(sealed, with));
    Print("seal" + how, bytes, Median([&] { Value(SealState(sealed, with)); }), memcpy_ms);
    Print("open" + how, bytes, Median([&] { Value(OpenSealedState(blob, with, options)); }),
          memcpy_ms);
  }

  RocksDbOptions rocksdb;
  const bool temporary = directory.empty();
  if (temporary) {
    directory = std::filesystem::temp_directory_path() / ("ela_store_" + std::to_string(getpid()));
  }
  rocksdb.directory = directory;
  {
    const auto store = Value(OpenRocksDbStore(rocksdb));
    Fill(*store, 1, 1000, state);
    Fill(*store, 2, 1'000'000, state);
  }
  {
    const auto store = Value(OpenRocksDbStore(rocksdb));
    Measure(*store, "RocksDB", bytes, memcpy_ms);
  }
  if (temporary) std::filesystem::remove_all(directory);
  if (!redis.empty()) {
    RedisOptions redis_options;
    redis_options.address = redis;
    redis_options.prefix = "ela-bench";
    const auto store = Value(OpenRedisStore(redis_options));
    Fill(*store, 1, 1000, state);
    Fill(*store, 2, 1'000'000, state);
    Measure(*store, "Redis", bytes, memcpy_ms);
    for (const uint32_t session : {1u, 2u}) Check(store->Delete(TestId(session), 1));
  }
  return 0;
}

}  // namespace
}  // namespace ela

int main(int argc, char** argv) { return ela::Main(argc, argv); }
