// Writes to a RocksDB store until it is killed: store_child DIRECTORY SEED. For each acknowledged
// write a line "ack SESSION NUM_TOKENS SNAPSHOT_POSITION" (-1: none), behind each Write "group N".
#include <cstdio>
#include <cstdlib>
#include <random>

#include "server/state_store_rocksdb.h"
#include "tests/server/store_script.h"

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  ela::RocksDbOptions options;
  options.directory = argv[1];
  options.write_buffer_bytes = 1 << 20;  // flushes and compacts all the time
  auto store = ela::OpenRocksDbStore(options);
  if (!store.ok()) {
    std::fprintf(stderr, "%s\n", store.status().ToString().c_str());
    return 1;
  }
  std::mt19937 random(static_cast<uint32_t>(std::atoi(argv[2])));
  std::vector<int64_t> ends(ela::kScriptSessions, 0), snapshots(ela::kScriptSessions, -1);
  for (uint32_t s = 0; s < ela::kScriptSessions; ++s) {
    const auto session = (*store)->Read(ela::TestId(s));
    if (session.ok()) {
      ends[s] = session->num_tokens;
      if (!session->snapshots.empty()) snapshots[s] = session->snapshots.back().position;
    } else if (!(*store)->Create(ela::TestSession(s)).ok()) {
      return 1;
    }
  }
  for (int group = 1;; ++group) {
    std::vector<ela::SessionWrite> writes;
    std::vector<uint32_t> sessions;
    for (uint32_t s = 0; s < ela::kScriptSessions; ++s) {
      if (random() % 3 != 0) continue;
      const int64_t end = ends[s] + random() % 40;
      writes.push_back(
          ela::AppendTo(ela::TestId(s), 1, ends[s], ela::ScriptTokens(s, ends[s], end)));
      if (random() % 2 == 0) {
        writes.back().put_snapshots = {ela::SnapshotAt(end, ela::ScriptSnapshot(s, end))};
        if (snapshots[s] >= 0 && snapshots[s] != end) {
          writes.back().delete_snapshots = {snapshots[s]};
        }
        snapshots[s] = end;
      }
      ends[s] = end;
      sessions.push_back(s);
    }
    std::vector<absl::Status> results(writes.size());
    (*store)->Write(writes, absl::MakeSpan(results));
    for (size_t i = 0; i < writes.size(); ++i) {
      if (!results[i].ok()) {
        std::fprintf(stderr, "%s\n", results[i].ToString().c_str());
        return 1;
      }
      std::printf(
          "ack %u %lld %lld\n", sessions[i], static_cast<long long>(ends[sessions[i]]),
          static_cast<long long>(writes[i].put_snapshots.empty() ? -1 : snapshots[sessions[i]]));
    }
    std::printf("group %d\n", group);
    std::fflush(stdout);
  }
}
