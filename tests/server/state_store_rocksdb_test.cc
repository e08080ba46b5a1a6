// What is RocksDB's own: restarts, kill -9, disks that are full, failing, damaged or somebody
// else's.
#include "server/state_store_rocksdb.h"

#include <rocksdb/db.h>
#include <signal.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/process.h"
#include "tests/model/temporary_directory.h"
#include "tests/server/faulty_file_system.h"
#include "tests/server/store_script.h"

namespace ela {
namespace {

using testing::HasSubstr;

class RocksDbStoreTest : public testing::Test {
 protected:
  RocksDbStoreTest() { options_.directory = directory_ / "store"; }
  ~RocksDbStoreTest() override {
    Disk().bytes_left = INT64_MAX;
    Disk().sync_fails = false;
  }

  absl::Status TryOpen() {
    store_.reset();
    absl::StatusOr<std::unique_ptr<StateStore>> store = OpenRocksDbStore(options_);
    if (store.ok()) store_ = *std::move(store);
    return store.status();
  }
  void Open() { ASSERT_EQ(TryOpen(), absl::OkStatus()); }

  TemporaryDirectory directory_;
  RocksDbOptions options_;
  std::unique_ptr<StateStore> store_;
};

TEST_F(RocksDbStoreTest, EverythingIsThereAfterARestart) {
  Open();
  StoredSession session = TestSession(1);
  session.meta.expires = absl::FromUnixSeconds(2'000'000'000);
  ASSERT_EQ(store_->Create(session), absl::OkStatus());
  ASSERT_EQ(store_->Acquire(session.id, 1, "b").status(), absl::OkStatus());
  SessionWrite write = AppendTo(session.id, 2, 0, Tokens(0, 1000));
  write.put_snapshots = {SnapshotAt(1000, std::string(1'600'000, 'x'))};
  ASSERT_EQ(WriteTo(*store_, write), absl::OkStatus());
  Open();
  const auto read = store_->Read(session.id);
  ASSERT_EQ(read.status(), absl::OkStatus());
  EXPECT_EQ(read->generation, 2);
  EXPECT_EQ(*store_->ReadTokens(session.id, 0, 1000), Tokens(0, 1000));
  EXPECT_EQ(*store_->ReadSnapshot(session.id, 1000), std::string(1'600'000, 'x'));
  EXPECT_EQ(store_->List("acme", std::nullopt, 10)->sessions.size(), 1);
  EXPECT_EQ(store_->SweepExpired(absl::FromUnixSeconds(2'000'000'000), 10)->size(), 1);
}

TEST_F(RocksDbStoreTest, DirectoryInUseIsUnavailable) {
  Open();
  const absl::Status refused = OpenRocksDbStore(options_).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(refused.message()),
              HasSubstr(options_.directory + " is in use by another process"));
}

TEST_F(RocksDbStoreTest, DirectoryThatCannotBeMadeIsUnavailable) {
  directory_.Write("file", "");
  options_.directory = directory_ / "file/store";
  const absl::Status refused = TryOpen();
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(refused.message()), HasSubstr(options_.directory + " cannot be opened"));
}

TEST_F(RocksDbStoreTest, SomebodyElsesDatabaseIsLeftAlone) {
  rocksdb::Options options;
  options.create_if_missing = true;
  rocksdb::DB* other = nullptr;
  ASSERT_TRUE(rocksdb::DB::Open(options, options_.directory, &other).ok());
  ASSERT_TRUE(other->Put({}, "key", "value").ok());
  delete other;
  EXPECT_EQ(TryOpen().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(RocksDbStoreTest, NewerFormatIsRefusedByName) {
  Open();
  store_.reset();
  std::vector<rocksdb::ColumnFamilyHandle*> families;
  rocksdb::DB* db = nullptr;
  ASSERT_TRUE(rocksdb::DB::Open({}, options_.directory,
                                {{"default", {}}, {"log", {}}, {"snapshots", {}}}, &families, &db)
                  .ok());
  ASSERT_TRUE(db->Put({}, "m/format", "ela sessions 2").ok());
  for (rocksdb::ColumnFamilyHandle* family : families) db->DestroyColumnFamilyHandle(family);
  delete db;
  const absl::Status refused = TryOpen();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("has format \"ela sessions 2\""));
}

// A full disk, at any byte: writes are refused as what they are, what was acknowledged reads on,
// and when there is space again the same store goes on.
TEST_F(RocksDbStoreTest, FullDiskRefusesAndRecovers) {
  RegisterFaultyFileSystem();
  options_.file_system = kFaultyFileSystem;
  options_.write_buffer_bytes = 256 << 10;
  Open();
  std::mt19937 random(7);
  std::map<uint32_t, int64_t> ends, snapshots;
  for (uint32_t s = 0; s < 4; ++s) {
    ASSERT_EQ(store_->Create(TestSession(s)), absl::OkStatus());
    ends[s] = 0;
  }
  for (int round = 0; round < 4; ++round) {
    Disk().bytes_left = 10'000 + random() % 500'000;
    int refused = 0;
    for (int i = 0; i < 60; ++i) {
      const uint32_t s = random() % 4;
      const int64_t end = ends[s] + 50;
      SessionWrite write = AppendTo(TestId(s), 1, ends[s], ScriptTokens(s, ends[s], end));
      write.put_snapshots = {SnapshotAt(end, ScriptSnapshot(s, end))};
      const absl::Status status = WriteTo(*store_, write);
      if (status.ok()) {
        ends[s] = end;
        snapshots[s] = end;
        continue;
      }
      ASSERT_TRUE(IsTransient(status)) << status;
      refused += absl::IsResourceExhausted(status);
      const auto tokens = store_->ReadTokens(TestId(s), 0, ends[s]);
      ASSERT_EQ(tokens.status(), absl::OkStatus());
      ASSERT_EQ(*tokens, ScriptTokens(s, 0, ends[s]));
    }
    ASSERT_GT(refused, 0);
    Disk().bytes_left = INT64_MAX;
    const absl::Time patience = absl::Now() + absl::Seconds(20);
    absl::Status back = absl::UnknownError("");
    while (!back.ok() && absl::Now() < patience) {
      back =
          WriteTo(*store_, AppendTo(TestId(0), 1, ends[0], ScriptTokens(0, ends[0], ends[0] + 1)));
    }
    ASSERT_EQ(back, absl::OkStatus());
    ++ends[0];
    if (round == 2) Open();
    for (const auto& [s, end] : ends) {
      ASSERT_EQ(*store_->ReadTokens(TestId(s), 0, end), ScriptTokens(s, 0, end));
      if (snapshots.count(s) == 0) continue;
      ASSERT_EQ(*store_->ReadSnapshot(TestId(s), snapshots[s]), ScriptSnapshot(s, snapshots[s]));
    }
  }
}

TEST_F(RocksDbStoreTest, DiskWhoseSyncFailsIsUnavailableAndRecovers) {
  RegisterFaultyFileSystem();
  options_.file_system = kFaultyFileSystem;
  Open();
  ASSERT_EQ(store_->Create(TestSession(0)), absl::OkStatus());
  ASSERT_EQ(WriteTo(*store_, AppendTo(TestId(0), 1, 0, Tokens(0, 10))), absl::OkStatus());
  for (int round = 0; round < 3; ++round) {
    const int64_t end = 10 + round;
    Disk().sync_fails = true;
    const SessionWrite write = AppendTo(TestId(0), 1, end, {static_cast<TokenId>(end)});
    EXPECT_EQ(WriteTo(*store_, write).code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(WriteTo(*store_, write).code(), absl::StatusCode::kUnavailable);
    Disk().sync_fails = false;
    const absl::Time patience = absl::Now() + absl::Seconds(20);
    absl::Status back = absl::UnknownError("");
    while (!back.ok() && absl::Now() < patience) back = WriteTo(*store_, write);
    ASSERT_EQ(back, absl::OkStatus());
    ASSERT_EQ(*store_->ReadTokens(TestId(0), 0, end + 1), Tokens(0, end + 1));
  }
}

TEST_F(RocksDbStoreTest, DamagedFilesAreDataLossAndNeverOtherBytes) {
  Open();
  ASSERT_EQ(store_->Create(TestSession(1)), absl::OkStatus());
  SessionWrite write = AppendTo(TestId(1), 1, 0, Tokens(0, 5000));
  write.put_snapshots = {SnapshotAt(5000, ScriptSnapshot(1, 5000))};
  ASSERT_EQ(WriteTo(*store_, write), absl::OkStatus());
  Open();  // moves everything into files
  store_.reset();
  const std::string intact = directory_ / "intact";
  std::filesystem::rename(options_.directory, intact);
  std::mt19937 random(3);
  int found = 0, num_files = 0;
  for (const auto& file : std::filesystem::directory_iterator(intact)) {
    const std::string name = file.path().filename();
    if (name.find("LOG") == 0 || name == "LOCK" || file.file_size() == 0) continue;
    ++num_files;
    for (int i = 0; i < 4; ++i) {
      store_.reset();
      std::filesystem::remove_all(options_.directory);
      std::filesystem::copy(intact, options_.directory);
      std::fstream damaged(options_.directory + "/" + name,
                           std::ios::in | std::ios::out | std::ios::binary);
      const auto at = static_cast<std::streamoff>(random() % file.file_size());
      damaged.seekg(at);
      const char byte = static_cast<char>(damaged.get());
      damaged.seekp(at);
      damaged.put(static_cast<char>(byte ^ (1 << random() % 8)));
      damaged.close();
      const absl::Status opened = TryOpen();
      if (!opened.ok()) {
        ++found;
        continue;
      }
      const auto tokens = store_->ReadTokens(TestId(1), 0, 5000);
      const auto snapshot = store_->ReadSnapshot(TestId(1), 5000);
      if (tokens.ok()) {
        EXPECT_EQ(*tokens, Tokens(0, 5000));
      }
      if (snapshot.ok()) {
        EXPECT_EQ(*snapshot, ScriptSnapshot(1, 5000));
      }
      found += !tokens.ok() || !snapshot.ok();
    }
  }
  EXPECT_GE(num_files, 4);
  EXPECT_GE(found, 8);  // some bytes carry nothing
}

// The process is killed at random points, again and again on one directory: every write that it had
// acknowledged is there, and nothing that nobody wrote.
TEST_F(RocksDbStoreTest, NothingAcknowledgedIsLostByKill9) {
  std::mt19937 random(11);
  std::vector<int64_t> ends(kScriptSessions, 0);
  for (int round = 0; round < 8; ++round) {
    Process child({ELA_STORE_CHILD, options_.directory, std::to_string(round)});
    // Groups are counted, not timed: the kill falls into whatever comes next.
    child.ReadOutputUntil("\ngroup " + std::to_string(1 + random() % 150) + "\n");
    child.Signal(SIGKILL);
    ASSERT_EQ(child.Wait(), 128 + SIGKILL) << child.errors();
    std::map<uint32_t, int64_t> snapshots;
    std::istringstream lines(child.output().substr(0, child.output().rfind('\n') + 1));
    std::string line;
    while (std::getline(lines, line)) {
      if (line.find("group") == 0) continue;
      uint32_t session = 0;
      long long end = 0, snapshot = 0;
      ASSERT_EQ(std::sscanf(line.c_str(), "ack %u %lld %lld", &session, &end, &snapshot), 3);
      ends[session] = end;
      if (snapshot >= 0) snapshots[session] = snapshot;
    }
    Open();
    for (uint32_t s = 0; s < kScriptSessions; ++s) {
      const auto session = store_->Read(TestId(s));
      ASSERT_EQ(session.status(), absl::OkStatus());
      ASSERT_GE(session->num_tokens, ends[s]) << "session " << s << " in round " << round;
      const int64_t end = session->num_tokens;
      ASSERT_EQ(*store_->ReadTokens(TestId(s), 0, end), ScriptTokens(s, 0, end));
      if (snapshots.count(s) > 0) {
        ASSERT_GE(session->snapshots.back().position, snapshots[s]);
      }
      for (const SnapshotInfo& snapshot : session->snapshots) {
        ASSERT_EQ(*store_->ReadSnapshot(TestId(s), snapshot.position),
                  ScriptSnapshot(s, snapshot.position));
      }
      ends[s] = end;
    }
    store_.reset();
  }
}

}  // namespace
}  // namespace ela
