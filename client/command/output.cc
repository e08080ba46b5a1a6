#include "client/command/output.h"

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace ela::client {
namespace {

// Of the first write that failed; stdio itself keeps only that one did.
int first_error = 0;

void Note(bool written) {
  if (!written && first_error == 0) first_error = errno != 0 ? errno : EIO;
}

}  // namespace

bool Print(absl::string_view text) {
  if (first_error != 0) return false;
  errno = 0;
  Note(std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0);
  return first_error == 0;
}

absl::Status OutputStatus() {
  errno = 0;
  Note(std::fflush(stdout) == 0 && std::ferror(stdout) == 0);
  if (first_error == 0) return absl::OkStatus();
  return absl::UnknownError(
      absl::StrCat("cannot write to standard output: ", std::strerror(first_error)));
}

}  // namespace ela::client
