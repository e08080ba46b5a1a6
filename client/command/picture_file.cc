#include "client/command/picture_file.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace ela::client {
namespace {

namespace fs = std::filesystem;

absl::Status CannotWrite(const std::string& path, const std::string& why) {
  return absl::UnknownError(absl::StrCat("cannot write ", path, ": ", why));
}

// 0, or the error number of the first step that failed.
int WriteAll(const std::string& path, const std::string& bytes) {
  std::FILE* const file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) return errno;
  int error = 0;
  if (std::fwrite(bytes.data(), 1, bytes.size(), file) != bytes.size()) error = errno;
  if (std::fclose(file) != 0 && error == 0) error = errno;
  return error;
}

}  // namespace

absl::StatusOr<std::string> ReadPicture(const std::string& path, uint64_t max_bytes) {
  const auto close = [](std::FILE* file) {
    if (file != stdin) std::fclose(file);
  };
  const std::unique_ptr<std::FILE, decltype(close)> file(
      path == "-" ? stdin : std::fopen(path.c_str(), "rb"), close);
  if (file == nullptr)
    return absl::NotFoundError(absl::StrCat("cannot open: ", std::strerror(errno)));
  std::string bytes;
  char buffer[1 << 16];
  while (const size_t size = std::fread(buffer, 1, sizeof(buffer), file.get())) {
    bytes.append(buffer, size);
    if (bytes.size() > max_bytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("larger than ", max_bytes, " bytes, the most that this server takes"));
    }
  }
  if (std::ferror(file.get()) != 0) {
    return absl::NotFoundError(absl::StrCat("cannot read: ", std::strerror(errno)));
  }
  return bytes;
}

absl::Status WritePicture(const std::string& path, const std::string& bytes) {
  std::error_code error;
  const fs::path folder = fs::path(path).parent_path();
  if (!folder.empty()) fs::create_directories(folder, error);
  if (error) return CannotWrite(path, error.message());
  // A link stays a link; a device or a pipe is written to as it is.
  const fs::path target = fs::exists(path, error) ? fs::canonical(path, error) : fs::path(path);
  const bool whole = !fs::exists(target, error) || fs::is_regular_file(target, error);
  const std::string written =
      whole ? absl::StrCat(target.string(), ".part-", getpid()) : target.string();
  if (const int number = WriteAll(written, bytes); number != 0) {
    if (whole) fs::remove(written, error);
    return CannotWrite(path, std::strerror(number));
  }
  if (!whole) return absl::OkStatus();
  fs::rename(written, target, error);
  if (!error) return absl::OkStatus();
  const std::string why = error.message();
  fs::remove(written, error);
  return CannotWrite(path, why);
}

}  // namespace ela::client
