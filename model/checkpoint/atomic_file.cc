#include "model/checkpoint/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace ela {
namespace {

constexpr size_t kMaxWriteBytes = size_t{1} << 30;  // Linux writes at most 2 GB at once

absl::Status ErrnoStatus(absl::string_view path, absl::string_view what) {
  const int error = errno;
  const std::string message = absl::StrCat(path, ": ", what, ": ", std::strerror(error));
  if (error == ENOSPC || error == EDQUOT) return absl::ResourceExhaustedError(message);
  return absl::UnavailableError(message);
}

absl::Status WriteAll(int file, const std::string& path, absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(file, bytes.data(), std::min(bytes.size(), kMaxWriteBytes));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoStatus(path, "cannot write");
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

// The rename itself is durable only once the directory is.
absl::Status SyncDirectoryOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const int handle = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (handle < 0) return ErrnoStatus(directory, "cannot open the directory");
  absl::Status status;
  // Some file systems cannot sync a directory and say EINVAL: then the rename is as durable as they
  // make it.
  if (fsync(handle) != 0 && errno != EINVAL) status = ErrnoStatus(directory, "cannot sync");
  close(handle);
  return status;
}

}  // namespace

absl::Status WriteFileAtomically(const std::string& path,
                                 absl::Span<const absl::string_view> parts) {
  const std::string temporary = path + ".tmp";
  const int file = open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file < 0) return ErrnoStatus(temporary, "cannot create");
  absl::Status status;
  for (absl::string_view part : parts) {
    if (status.ok()) status = WriteAll(file, temporary, part);
  }
  if (status.ok() && fsync(file) != 0) status = ErrnoStatus(temporary, "cannot sync");
  if (close(file) != 0 && status.ok()) status = ErrnoStatus(temporary, "cannot close");
  if (status.ok() && rename(temporary.c_str(), path.c_str()) != 0) {
    status = ErrnoStatus(path, "cannot be replaced");
  }
  if (!status.ok()) {
    unlink(temporary.c_str());
    return status;
  }
  return SyncDirectoryOf(path);
}

}  // namespace ela
