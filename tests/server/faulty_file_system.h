// A file system for RocksDB that fills up or fails when a test says so. It writes what still fits,
// as a real one does.
#ifndef ELA_TESTS_SERVER_FAULTY_FILE_SYSTEM_H_
#define ELA_TESTS_SERVER_FAULTY_FILE_SYSTEM_H_

#include <atomic>
#include <cstdint>

namespace ela {

// The name for RocksDbOptions::file_system; the switches are the process's.
inline constexpr char kFaultyFileSystem[] = "ela-faulty";
void RegisterFaultyFileSystem();

struct DiskSwitches {
  std::atomic<int64_t> bytes_left{INT64_MAX};  // then "no space"
  std::atomic<bool> sync_fails{false};         // I/O error
};
DiskSwitches& Disk();

}  // namespace ela

#endif  // ELA_TESTS_SERVER_FAULTY_FILE_SYSTEM_H_
