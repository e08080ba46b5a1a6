#include "tests/server/faulty_file_system.h"

#include <rocksdb/file_system.h>
#include <rocksdb/utilities/object_registry.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

namespace ela {
namespace {

using rocksdb::FileOptions;
using rocksdb::FSWritableFile;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

class FaultyFile final : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  explicit FaultyFile(std::unique_ptr<FSWritableFile> file)
      : FSWritableFileOwnerWrapper(std::move(file)) {}

  using FSWritableFileOwnerWrapper::Append;
  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* debug) override {
    const int64_t size = static_cast<int64_t>(data.size());
    const int64_t left = Disk().bytes_left.fetch_sub(size);
    if (left >= size) return FSWritableFileOwnerWrapper::Append(data, options, debug);
    Disk().bytes_left += size - std::max<int64_t>(left, 0);
    if (left > 0) {
      const Slice fits(data.data(), static_cast<size_t>(left));
      FSWritableFileOwnerWrapper::Append(fits, options, debug).PermitUncheckedError();
    }
    return IOStatus::NoSpace("the test's disk is full");
  }
  IOStatus Append(const Slice& data, const IOOptions& options, const rocksdb::DataVerificationInfo&,
                  IODebugContext* debug) override {
    return Append(data, options, debug);
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* debug) override {
    if (Disk().sync_fails) return IOStatus::IOError("the test's disk failed");
    return FSWritableFileOwnerWrapper::Sync(options, debug);
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    if (Disk().sync_fails) return IOStatus::IOError("the test's disk failed");
    return FSWritableFileOwnerWrapper::Fsync(options, debug);
  }
};

class FaultyFileSystem final : public rocksdb::FileSystemWrapper {
 public:
  FaultyFileSystem() : FileSystemWrapper(rocksdb::FileSystem::Default()) {}

  const char* Name() const override { return kFaultyFileSystem; }
  IOStatus NewWritableFile(const std::string& name, const FileOptions& options,
                           std::unique_ptr<FSWritableFile>* result,
                           IODebugContext* debug) override {
    std::unique_ptr<FSWritableFile> file;
    IOStatus status = FileSystemWrapper::NewWritableFile(name, options, &file, debug);
    // RocksDB's own log of events would fill the disk on its own account.
    const bool events = name.find("/LOG") != std::string::npos;
    if (status.ok() && !events) {
      *result = std::make_unique<FaultyFile>(std::move(file));
    } else {
      *result = std::move(file);
    }
    return status;
  }
};

}  // namespace

DiskSwitches& Disk() {
  static DiskSwitches switches;
  return switches;
}

void RegisterFaultyFileSystem() {
  static const bool registered = [] {
    rocksdb::ObjectLibrary::Default()->AddFactory<rocksdb::FileSystem>(
        kFaultyFileSystem,
        [](const std::string&, std::unique_ptr<rocksdb::FileSystem>* guard, std::string*) {
          guard->reset(new FaultyFileSystem);
          return guard->get();
        });
    return true;
  }();
  (void)registered;
}

}  // namespace ela
