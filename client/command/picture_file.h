// Pictures as files: read within a limit, written whole or not at all.
#ifndef ELA_CLIENT_COMMAND_PICTURE_FILE_H_
#define ELA_CLIENT_COMMAND_PICTURE_FILE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace ela::client {

// "-" is standard input. Memory stays within max_bytes whatever the file is. Errors: kNotFound
// (also a folder, an unreadable file), kInvalidArgument (more than max_bytes); they name no path.
absl::StatusOr<std::string> ReadPicture(const std::string& path, uint64_t max_bytes);

// Makes missing folders. What was there before stays until the new file is complete.
// Errors: kUnknown with path and the system's reason; nothing is left behind.
absl::Status WritePicture(const std::string& path, const std::string& bytes);

}  // namespace ela::client

#endif  // ELA_CLIENT_COMMAND_PICTURE_FILE_H_
